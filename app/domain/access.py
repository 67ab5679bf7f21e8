"""What a key allows: scopes of API keys, roles of admin keys, and why one is refused."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from app.domain.errors import bad_member
from app.domain.limits import Allowance

FIRST_ADMIN = "GATEWAY_ADMIN_KEY"
"""The name of the first admin key, which is a setting and no row."""


class Scope(StrEnum):
    """What an API key may be used for."""

    TASKS_READ = "tasks:read"
    TASKS_WRITE = "tasks:write"
    DELIVERIES = "deliveries"
    FILES = "files"
    USAGE = "usage"


def checked_scopes(scopes: Collection[Scope] | None) -> list[Scope] | None:
    """Return them in their order, each once; raises `InvalidRequestError` for none at all."""
    if scopes is None:
        return None
    if not scopes:
        where = "/scopes"
        raise bad_member(where, "should name a scope, or be null for all")
    return [scope for scope in Scope if scope in scopes]


class Role(StrEnum):
    """What an admin key may be used for; each role includes those before it."""

    READ = "read"
    OPERATE = "operate"
    """Pauses, stuck tasks, acts on many tasks."""
    KEYS = "keys"
    """Clients, API keys and admin keys."""

    def covers(self, needed: "Role") -> bool:
        """Tell whether this role includes the other one."""
        return _RANKS[self] >= _RANKS[needed]


_RANKS = {role: rank for rank, role in enumerate(Role)}


class Surface(StrEnum):
    """Where a key was refused."""

    API = "api"
    ADMIN = "admin"


class Reason(StrEnum):
    """Why a key was refused: counted and logged, and, but for the last three, never answered."""

    MALFORMED = "malformed"
    """None, or one that no key of this gateway looks like."""
    UNKNOWN = "unknown"
    REVOKED = "revoked"
    EXPIRED = "expired"
    DISABLED = "disabled"
    SCOPE = "scope"
    ROLE = "role"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls: a client, by one of its keys."""

    client_id: UUID
    key_id: UUID
    client: str
    """Its name, for the log."""
    allowance: Allowance
