"""Writing pages: the templates, what they may use, and the headers of every page."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from app.console import charts, words
from app.console.assets import url_of
from app.console.words import NOTHING

POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'"
)
"""Nothing inline, nothing of another host."""

HEADERS: Mapping[str, str] = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
"""Beside what every answer says (app/api/browsers.py)."""

_TEMPLATES = Path(__file__).parent / "templates"


def instant(at: datetime | None) -> str:
    """Write an instant to the second, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if at else ""


def machine(at: datetime) -> str:
    """Write an instant for the attribute of a `time` element."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def ago(at: datetime | None) -> str:
    """Say how long ago something was, or in how long it will be."""
    return "" if at is None else words.since((datetime.now(UTC) - at).total_seconds())  # noqa: TID251  # shown, never stored


def number(value: Decimal | float | None) -> str:
    """Write a number without exponent and without needless zeros."""
    if value is None:
        return NOTHING
    text = f"{value:,.4f}" if isinstance(value, float) else f"{value:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(part: float | None) -> str:
    """Write a share."""
    return NOTHING if part is None else f"{part:.1%}"


def size(count: int | None) -> str:
    """Write a number of bytes."""
    if count is None:
        return NOTHING
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:  # noqa: PLR2004  # as the units say
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def pretty(text: str) -> str:
    """Indent a JSON document for reading; leave anything else as it is."""
    try:
        return json.dumps(
            json.loads(text, parse_float=Decimal), indent=2, ensure_ascii=False, default=str
        )
    except (ValueError, RecursionError):
        return text


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: tuple[Callable[..., Any], ...] = (
        *(instant, machine, ago, number, percent, size, pretty),
        *(words.duration, words.state, words.hold, words.plain),
    )
    made.filters |= {each.__name__: each for each in filters}
    made.globals |= {"asset": url_of, "chart": charts, "done": words.DONE, "sections": SECTIONS}
    return made


SECTIONS = (
    ("/console", "Now"),
    ("/console/needs-you", "Needs you"),
    ("/console/tasks", "Tasks"),
    ("/console/deliveries", "Deliveries"),
    ("/console/models", "Models"),
    ("/console/usage", "Usage"),
    ("/console/clients", "Clients and keys"),
    ("/console/audit", "Audit"),
)
"""The pages that every page leads to."""

_ENVIRONMENT = _environment()


def page(template: str, status: int = 200, **content: Any) -> Response:  # noqa: ANN401  # a template's
    """Write a page."""
    text = _ENVIRONMENT.get_template(template).render(content)
    return Response(text, status_code=status, media_type="text/html", headers=HEADERS)
