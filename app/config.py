"""The settings: environment variables read once, at process start, by `load()`.

Names, defaults and bounds stand in `Settings` and nowhere else; `docs/settings.md` is made from it
by `python -m app.config > docs/settings.md`. Secrets never appear in a repr or in an error.
"""

import difflib
import ipaddress
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, get_origin
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    FilePath,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from typing_extensions import override

PREFIX = "GATEWAY_"
KUBERNETES = re.compile(r"GATEWAY_(SERVICE_.*|PORT|PORT_.*)")
"""What Kubernetes sets in every pod beside a service called `gateway`: not ours, not misspelt."""


class SettingsError(ValueError):
    """The settings cannot be used; one readable line per problem, never a value of theirs."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class Address(NamedTuple):
    """Where to listen: `host:port`, an IPv6 host in brackets, port 0 for any free one."""

    host: str
    port: int

    @override
    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


# --- database URLs ------------------------------------------------------------------------------

SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
SSL_BY_DRIVER = {"true": "require", "1": "require", "false": "disable", "0": "disable"}
"""`ssl=`, as other drivers spell `sslmode=`."""

FOREIGN_PARAMETERS = re.compile(
    # libpq's: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
    r"channel_binding|client_encoding|connect_timeout|fallback_application_name|gssdelegation"
    r"|gssencmode|hostaddr|keepalives.*|load_balance_hosts|(min|max)_protocol_version|oauth_.*"
    r"|replication|require_auth|requirepeer|requiressl|scram_(client|server)_key|servicefile"
    r"|ssl(certmode|compression|crldir|keylogfile|sni)|tcp_user_timeout"
    # other drivers' and their pools', as consoles print them for Prisma, JDBC and SQLAlchemy
    r"|async_fallback|connection_limit|pgbouncer|pool_timeout|(prepared_)?statement_cache_size"
    r"|schema|socket_timeout|sslaccept|supa"
)
"""What asyncpg does not know it sends to the server as a setting, and the server then refuses."""

_DATABASE_SCHEME = re.compile(r"postgres(ql)?(\+\w+)?")
_DATABASE_HOST = re.compile(r"(\[[^\[\]]+\]|[^:\[\]]*)(:\d*)?")


def normalise_database_url(url: str) -> str:
    """Write the URL as `asyncpg.connect(dsn)` takes it: `postgresql://`, and only what it knows.

    Accepts what consoles print for libpq, SQLAlchemy and other drivers (see `FOREIGN_PARAMETERS`).
    Raises ValueError, without any part of the URL in its text.
    """
    parts = _split(url.strip())
    if not _DATABASE_SCHEME.fullmatch(parts.scheme):
        message = "is not a PostgreSQL URL; write postgresql://user:password@host:5432/database"
        raise ValueError(message)
    # The last @ ends the user's part, as everywhere but in asyncpg, which stops at the first.
    user, at, hosts = parts.netloc.rpartition("@")
    cut_short = parts.fragment or "@" in parts.path or re.match(r"[^=&]*@", parts.query)
    if cut_short or not all(_DATABASE_HOST.fullmatch(host) for host in hosts.split(",")):
        message = (
            "has no readable host and port; percent-encode / ? # : in the user name and password"
        )
        raise ValueError(message)
    account = ":".join(quote(unquote(part), safe="") for part in user.split(":", 1))
    query = urlencode(_parameters(parts.query), quote_via=quote, safe="/,")
    return f"postgresql://{account}{at}{hosts}{parts.path}{'?' if query else ''}{query}"


def _split(url: str) -> SplitResult:
    """Split as `urlsplit` does, whose own errors quote the URL, password and all."""
    try:
        return urlsplit(url)
    except ValueError:
        message = "is not a URL; percent-encode special characters in the user name and password"
        raise ValueError(message) from None


def _parameters(query: str) -> dict[str, str]:
    """Keep the parameters that asyncpg knows, and the settings of the server's."""
    given = dict(parse_qsl(query))
    ssl = given.pop("ssl", None)
    if ssl is not None:
        given.setdefault("sslmode", SSL_BY_DRIVER.get(ssl.lower(), ssl))
    if given.get("sslmode", "prefer") not in SSL_MODES:
        message = f"has an unknown sslmode; write one of {', '.join(sorted(SSL_MODES))}"
        raise ValueError(message)
    if given.get("sslrootcert") == "system":
        message = "has sslrootcert=system, which only libpq knows; name the file of certificates"
        raise ValueError(message)
    if not re.fullmatch(r"[\d,]*", given.get("port", "")):
        message = "has a port that is not a number; write for example ?port=5432"
        raise ValueError(message)
    return {name: value for name, value in given.items() if not FOREIGN_PARAMETERS.fullmatch(name)}


# --- readers of one value each ------------------------------------------------------------------


def _listed(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        items = json.loads(value)
    except ValueError:
        items = None
    if not isinstance(items, list):
        message = 'should be a JSON list; write for example ["first", "second"]'
        raise ValueError(message)  # noqa: TRY004 -- only a ValueError becomes a line of SettingsError
    return items


def _address(value: object) -> object:
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"(?:\[([^\[\]\s]+)\]|([^:\[\]\s/]+)):(\d{1,5})", value)
    if not found or int(found[3]) > 65535:  # noqa: PLR2004 -- the highest port there is
        message = "should be host:port; write for example 0.0.0.0:8000 or [::1]:8000"
        raise ValueError(message)
    return Address(found[1] or found[2], int(found[3]))


def _web_url(value: str) -> str:
    """Refuse what no path can be appended to, and drop the slash at the end."""
    parts = _split(value)
    if parts.scheme not in {"http", "https"} or not _has_host(parts):
        message = "should be an http or https URL; write for example https://gateway.example.com"
        raise ValueError(message)
    if "@" in parts.netloc or set(value) & set("?#\\") or any(map(str.isspace, value)):
        message = "should have no user, query, fragment or spaces; write scheme, host and path only"
        raise ValueError(message)
    return value.rstrip("/")


def _has_host(parts: SplitResult) -> bool:
    try:
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False


def _proxy_url(value: SecretStr) -> SecretStr:
    parts = _split(value.get_secret_value())
    if parts.scheme not in {"http", "https"} or not _has_host(parts):
        message = "should be an http or https URL; write http://user:password@proxy.internal:3128"
        raise ValueError(message)
    return value


def _database_url(value: SecretStr) -> SecretStr:
    return SecretStr(normalise_database_url(value.get_secret_value()))


def _strong(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < 16:  # noqa: PLR2004 -- stated in the message
        message = "should have at least 16 characters; make one by `kie-gateway secrets generate`"
        raise ValueError(message)
    return value


def _fits_a_header(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        message = "should be printable ASCII without spaces; look for quotes or a line break in it"
        raise ValueError(message)
    return value


def _rising(value: tuple[float, ...]) -> tuple[float, ...]:
    if not value or list(value) != sorted(value):
        message = "should be one or more waits, none shorter than the one before; reorder them"
        raise ValueError(message)
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


ListenAddress = Annotated[Address, BeforeValidator(_address)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
WebUrl = Annotated[str, AfterValidator(_web_url)]
Token = Annotated[SecretStr, AfterValidator(_fits_a_header)]
Seconds = Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)]
"""Up to a year, which PostgreSQL's intervals and asyncio's timers both bear."""
Wait = Annotated[float, Field(ge=0, le=31_536_000, allow_inf_nan=False)]

RESERVED: JsonDict = {"reserved": True}
"""Marks a setting that is read and checked, but that nothing uses in this version."""


class Settings(BaseSettings):
    """Every setting, checked; made by `load()`, or from keyword arguments alone in tests."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        enable_decoding=False,  # lists are read by `_listed`, so that all problems are told at once
        hide_input_in_errors=True,
    )

    database_url: DatabaseUrl | None = Field(
        None,
        description="PostgreSQL, as its console prints the URL; none: an embedded server, "
        "when the extra `embedded` is installed.",
    )
    database_listen_url: DatabaseUrl | None = Field(
        None,
        description="Direct URL for LISTEN, when `GATEWAY_DATABASE_URL` goes through PgBouncer; "
        "none: the same URL.",
    )
    database_pool_size: int = Field(10, ge=1, le=1000, description="Connections per process.")
    data_dir: Path = Field(
        Path(".kie-gateway"), description="Directory of the embedded PostgreSQL."
    )
    public_url: WebUrl | None = Field(
        None,
        description="Where kie.ai reaches this gateway, a path prefix included; "
        "none: no callbacks, tasks are settled by polling only.",
    )
    secret_keys: Annotated[
        tuple[Annotated[SecretStr, AfterValidator(_strong)], ...], BeforeValidator(_listed)
    ] = Field(
        (),
        description="Secrets of 16 or more characters: the first signs callback URLs and encrypts, "
        "all verify and decrypt; `demo` and `dev` make one, all else needs it.",
    )
    admin_key: Token | None = Field(
        None,
        json_schema_extra=RESERVED,
        description="Bearer key of the admin API; none: the admin API is off.",
    )
    kie_api_key: Token | None = Field(None, description="The account's API key at kie.ai.")
    kie_base_url: WebUrl = Field("https://api.kie.ai", description="kie.ai's API.")
    kie_upload_url: WebUrl = Field(
        "https://kieai.redpandaai.co",
        json_schema_extra=RESERVED,
        description="kie.ai's file upload API.",
    )
    kie_webhook_hmac_keys: Annotated[tuple[Token, ...], BeforeValidator(_listed)] = Field(
        (), description="kie.ai's webhook HMAC keys; none: callbacks are known by their URL alone."
    )
    kie_creates_per_10s: int = Field(
        20,
        ge=1,
        json_schema_extra=RESERVED,
        description="The account's limit of creates in any 10 seconds, over all replicas.",
    )
    kie_max_running: int = Field(
        100,
        ge=1,
        json_schema_extra=RESERVED,
        description="The account's limit of tasks running at once, over all replicas.",
    )
    kie_queries_per_second: float = Field(
        10, gt=0, le=1000, allow_inf_nan=False, description="Limit of queries to kie.ai per second."
    )
    kie_confirm: Annotated[Literal["before", "after", "off"], BeforeValidator(_lower)] = Field(
        "after",
        description="Whether kie.ai is asked about what a callback says: `before` it settles the "
        "task, `after`, or not at all (`off`).",
    )
    kie_timeout: Seconds = Field(30, description="Longest that one call to kie.ai may take.")
    submit_wait: Wait = Field(
        3, description="Longest that creating a task waits for kie.ai before it answers anyway."
    )
    submit_within: Seconds = Field(
        3600, description="How long a task may wait to be sent before it fails, unless it says."
    )
    task_expires_after: Seconds = Field(
        3600, description="How long a running task is asked about before it counts as expired."
    )
    unconfirmed_expires_after: Seconds = Field(
        3600, description="How long a task whose create was not answered may stay unconfirmed."
    )
    delivery_schedule: Annotated[
        tuple[Wait, ...], BeforeValidator(_listed), AfterValidator(_rising)
    ] = Field(
        (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400),
        json_schema_extra=RESERVED,
        description="Waits before each try of a webhook to a caller; ten tries over 75 hours.",
    )
    delivery_timeout: Seconds = Field(
        15, json_schema_extra=RESERVED, description="Longest that one such try may take."
    )
    delivery_allow_loopback: bool = Field(
        default=False,
        json_schema_extra=RESERVED,
        description="Whether callers' webhooks may go to loopback addresses.",
    )
    delivery_blocked_networks: Annotated[tuple[IPvAnyNetwork, ...], BeforeValidator(_listed)] = (
        Field(
            (),
            json_schema_extra=RESERVED,
            description="Networks that callers' webhooks may not go to, beside link-local ones.",
        )
    )
    max_body_bytes: int = Field(
        1_048_576, ge=1024, le=104_857_600, description="Largest request body that is read."
    )
    listen: ListenAddress = Field(
        Address("0.0.0.0", 8000),  # noqa: S104 -- a container is reached from outside itself
        description="Where the API listens.",
    )
    worker_listen: ListenAddress = Field(
        Address("0.0.0.0", 8001),  # noqa: S104 -- as above
        json_schema_extra=RESERVED,
        description="Where a worker process answers health checks and metrics.",
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_lower)
    ] = Field("info", description="The least severe level that is logged.")
    log_format: Annotated[Literal["auto", "console", "json"], BeforeValidator(_lower)] = Field(
        "auto", description="`auto` is `console` on a terminal, else `json`, one object per line."
    )
    ca_bundle: FilePath | None = Field(
        None, description="PEM file of certificates to trust towards kie.ai; none: the system's."
    )
    egress_proxy: Annotated[SecretStr, AfterValidator(_proxy_url)] | None = Field(
        None, description="HTTP proxy towards kie.ai."
    )
    retention_days: int = Field(
        90, ge=1, le=36_500, json_schema_extra=RESERVED, description="Days that tasks are kept."
    )

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Keyword arguments alone: `load()` is the one reader of the environment."""
        return (init_settings,)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        conflicts = {
            f"{PREFIX}SUBMIT_WAIT: is longer than {PREFIX}KIE_TIMEOUT, when kie.ai's answer is "
            "given up anyway; set it lower": self.submit_wait > self.kie_timeout,
            f"{PREFIX}WORKER_LISTEN: is the same address as {PREFIX}LISTEN; give each its own "
            "port": self.worker_listen == self.listen and self.listen.port != 0,
            f"{PREFIX}DATABASE_LISTEN_URL: is set without {PREFIX}DATABASE_URL, and the embedded "
            "server needs none; set both or neither": self.database_listen_url is not None
            and self.database_url is None,
        }
        problems = [problem for problem, present in conflicts.items() if present]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def warnings(self) -> list[str]:
        """Say what may be meant and is risky or slow: one sentence each, to be logged at start."""
        public = self.public_url
        concerns = {
            "polling only: GATEWAY_PUBLIC_URL is not set, so kie.ai sends no callbacks and results "
            "are noticed seconds later": public is None,
            "GATEWAY_PUBLIC_URL is http: callbacks and their tokens cross the network in the "
            "clear": public is not None and _in_the_clear(public),
            "GATEWAY_KIE_BASE_URL is http: the API key crosses the network in the "
            "clear": _in_the_clear(self.kie_base_url),
            "GATEWAY_KIE_CONFIRM is off and there are no GATEWAY_KIE_WEBHOOK_HMAC_KEYS: a callback "
            "is believed for its URL alone": public is not None
            and self.kie_confirm == "off"
            and not self.kie_webhook_hmac_keys,
        }
        return [concern for concern, present in concerns.items() if present]


def _in_the_clear(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https" or host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


# --- reading ------------------------------------------------------------------------------------


def load(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:  # noqa: ANN401 -- of any field's type
    """Read the settings from `environ` (the process's own when None); `overrides` win over it.

    Names are matched regardless of case and empty values count as unset. Raises SettingsError.
    """
    given = {
        name.upper(): value
        for name, value in (os.environ if environ is None else environ).items()
        if name.upper().startswith(PREFIX)
    }
    problems = [*_misspelt(given), *_take_files(given)]
    source = EnvSettingsSource(Settings)
    source.env_vars = {name.lower(): value for name, value in given.items() if value}
    settings = None
    try:
        settings = Settings(**{**source(), **overrides})
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        problems += [line for detail in details for line in _explain(detail)]
    # Raised out here, because a chained ValidationError would carry the values along.
    if settings is None or problems:
        raise SettingsError(problems)
    return settings


def _variable(field: str) -> str:
    return f"{PREFIX}{field.upper()}"


def _is_secret(field: FieldInfo) -> bool:
    """Whether the type says so, however deep in a list or an option."""
    return "SecretStr" in repr(field.annotation)


FILES = {
    f"{_variable(name)}_FILE": name
    for name, field in Settings.model_fields.items()
    if _is_secret(field)
}
"""Each secret may stand in a file instead: the variable that names the file, to the field."""
NAMES = [*map(_variable, Settings.model_fields), *FILES]


def _misspelt(given: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(given):
        if name not in NAMES and not KUBERNETES.fullmatch(name):
            (nearest,) = difflib.get_close_matches(name, NAMES, n=1, cutoff=0)
            yield f"{name}: is not a setting; did you mean {nearest}?"


def _take_files(given: dict[str, str]) -> Iterator[str]:
    """Put what the files hold under the secrets' own names, and tell what is wrong with them."""
    for file_name, field in FILES.items():
        path, name = given.get(file_name), _variable(field)
        if path and given.get(name):
            yield f"{file_name}: is set beside {name}; leave one of the two out"
        elif path:
            try:
                given[name] = _file_value(Path(path), Settings.model_fields[field])
            except (OSError, UnicodeError) as error:
                reason = getattr(error, "strerror", None) or "not UTF-8 text"
                yield f"{file_name}: cannot read {path} ({reason}); check the path and its rights"
            else:
                if not given[name]:
                    yield f"{file_name}: {path} is empty; fill it, or leave the setting out"


def _file_value(path: Path, field: FieldInfo) -> str:
    text = path.read_text(encoding="utf-8").strip()
    if not text or text.startswith("[") or get_origin(field.annotation) is not tuple:
        return text
    return json.dumps([line.strip() for line in text.splitlines() if line.strip()])


def _explain(detail: ErrorDetails) -> list[str]:
    """Say what is wrong; what to do. pydantic's texts, unlike its repr, quote no input."""
    message = detail["msg"].removeprefix("Value error, ")
    if not detail["loc"]:  # the model's own check names the settings itself
        return message.splitlines()
    field, *rest = detail["loc"]
    name = _variable(str(field)) + "".join(f"[{i}]" for i in rest if isinstance(i, int))
    if detail["type"] == "value_error":  # ours, which says both
        return [f"{name}: {message}"]
    what = re.sub(r"^(Input|Value|Path) ", "", message)
    known = Settings.model_fields.get(str(field))
    advice = f"leave it out (default: {_shown(known)})" if known else "remove it"
    return [f"{name}: {what}; correct it, or {advice}"]


# --- the page about them ------------------------------------------------------------------------

_PAGE = """\
# Settings

Everything is set by environment variables; no `.env` file is read. An empty variable counts as
unset. A name that begins with `GATEWAY_` and is none of these is refused at start, with the nearest
right one (`GATEWAY_SERVICE_*`, `GATEWAY_PORT` and `GATEWAY_PORT_*` are Kubernetes' and ignored).

- Durations are seconds, fractions allowed. Lists are JSON: `["first", "second"]`.
- A secret may stand in a file instead: `GATEWAY_KIE_API_KEY_FILE=/run/secrets/kie_api_key`. Space
  around the content is removed; a list is JSON or one entry per line. No log or error shows it.
- Database URLs are taken as consoles print them: `postgres://`, `postgresql://` or
  `postgresql+asyncpg://`, `?sslmode=` and the like included. Parameters that only other drivers
  know, such as `channel_binding`, are left out.

{table}
This page is made from the code: `python -m app.config > docs/settings.md`.
"""


def settings_page() -> str:
    return _PAGE.format(table=settings_table())


def settings_table() -> str:
    """Make the markdown table of all settings, in the order of `Settings`."""
    rows = [_row(name, field) for name, field in Settings.model_fields.items()]
    return "".join(["| setting | default | meaning |\n|---|---|---|\n", *rows])


def _row(name: str, field: FieldInfo) -> str:
    extra = field.json_schema_extra
    idle = " (not in effect yet)" if isinstance(extra, dict) and extra.get("reserved") else ""
    lock = " (secret)" if _is_secret(field) else ""
    return f"| `{_variable(name)}`{lock} | {_shown(field)} | {field.description}{idle} |\n"


def _shown(field: FieldInfo) -> str:
    default = field.default
    if default is None:
        return "none"
    if isinstance(default, (bool, list, tuple)) and not isinstance(default, Address):
        return f"`{json.dumps(default)}`"
    return f"`{default}`"


if __name__ == "__main__":
    sys.stdout.write(settings_page())
