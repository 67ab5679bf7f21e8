"""Readers of one value each: what a setting may be, and what to write instead."""

import json
import re
from decimal import Decimal
from typing import Annotated, NamedTuple
from urllib.parse import SplitResult

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from typing_extensions import override

from app.config.database_url import normalise_database_url, split
from app.config.strength import ENOUGH, bits


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


def listed(value: object) -> object:
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
    parts = split(value)
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


def without_api_path(value: str) -> str:
    """Drop the `/api/v1` that people copy along: it stands in every path that is added."""
    return value.removesuffix("/api/v1").rstrip("/")


def proxied(value: SecretStr) -> SecretStr:
    parts = split(value.get_secret_value())
    if parts.scheme not in {"http", "https"} or not _has_host(parts):
        message = "should be an http or https URL; write http://user:password@proxy.internal:3128"
        raise ValueError(message)
    return value


def _database_url(value: SecretStr) -> SecretStr:
    return SecretStr(normalise_database_url(value.get_secret_value()))


LONGEST_JUDGED = 1024
"""Characters: a longer secret is a key file's, and judging takes time."""


def strong(value: SecretStr) -> SecretStr:
    secret = value.get_secret_value()
    if len(secret) < 16:  # noqa: PLR2004 -- stated in the message
        message = "should have at least 16 characters; make one by `kie-gateway secrets generate`"
        raise ValueError(message)
    if len(secret) <= LONGEST_JUDGED and bits(secret) < ENOUGH:
        message = (
            "is easy to guess (words, repeats, or characters in their order); make one by "
            "`kie-gateway secrets generate`"
        )
        raise ValueError(message)
    return value


def _fits_a_header(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        message = "should be printable ASCII without spaces; look for quotes or a line break in it"
        raise ValueError(message)
    return value


SHORTEST_KEPT = 4
"""Days: a delivery may be tried again for 75 hours."""


def kept_days(value: int) -> int:
    if 0 < value < SHORTEST_KEPT:
        message = (
            f"should be at least {SHORTEST_KEPT} days, since deliveries are tried for 75 hours, or "
            "0 for no bound of its own"
        )
        raise ValueError(message)
    return value


def rising(value: tuple[float, ...]) -> tuple[float, ...]:
    if not value or list(value) != sorted(value):
        message = "should be one or more waits, none shorter than the one before; reorder them"
        raise ValueError(message)
    return value


def lowered(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


KeptDays = Annotated[int, Field(ge=0, le=36_500), AfterValidator(kept_days)]
ListenAddress = Annotated[Address, BeforeValidator(_address)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
WebUrl = Annotated[str, AfterValidator(_web_url)]
Token = Annotated[SecretStr, AfterValidator(_fits_a_header)]
Seconds = Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)]
"""Up to a year, which PostgreSQL's intervals and asyncio's timers both bear."""
Wait = Annotated[float, Field(ge=0, le=31_536_000, allow_inf_nan=False)]

UnknownCost = Annotated[
    Decimal | None,
    Field(
        ge=0,
        le=10**9,
        description="Credits that a task reserves of its client's budget while no cost of its "
        "model was seen yet. Without it, a client with a hard budget may have one task of such a "
        "model under way.",
    ),
]
