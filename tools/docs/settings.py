"""The page about the settings, made from the code."""

from pydantic.fields import FieldInfo

from app.config.archive import ArchiveSettings
from app.config.fields import is_secret, shown
from app.config.settings import Settings, variable

_PAGE = """\
# Settings

Everything is set by environment variables; no `.env` file is read. An empty variable counts as
unset. A name that begins with `GATEWAY_` and is none of these is refused at start, with the nearest
right one (`GATEWAY_SERVICE_*`, `GATEWAY_PORT` and `GATEWAY_PORT_*` are Kubernetes' and ignored).

- Durations are seconds, fractions allowed. Lists are JSON: `["first", "second"]`.
- A secret can be read from a file: `GATEWAY_KIE_API_KEY_FILE=/run/secrets/kie_api_key`. Space
  around the content is removed; a list is JSON or one entry per line. No log or error shows it.
- Database URLs are accepted as consoles print them: `postgres://`, `postgresql://` or
  `postgresql+asyncpg://`, `?sslmode=` and the like included. Parameters that only other drivers
  know, such as `channel_binding`, are left out.
- Traces are set by OpenTelemetry's own variables (`OTEL_…`): [deploying.md](deploying.md#traces).

{table}
This page is made from the code: `make docs`.
"""


def settings_page() -> str:
    return _PAGE.format(table=settings_table())


def settings_table() -> str:
    """Make the markdown table of all settings; the archive's are at its end."""
    fields = Settings.model_fields
    names = [name for name in fields if name not in ArchiveSettings.model_fields]
    rows = [_row(name, fields[name]) for name in (*names, *ArchiveSettings.model_fields)]
    return "".join(["| setting | default | meaning |\n|---|---|---|\n", *rows])


def _row(name: str, field: FieldInfo) -> str:
    lock = " (secret)" if is_secret(field) else ""
    return f"| `{variable(name)}`{lock} | {shown(field)} | {field.description} |\n"
