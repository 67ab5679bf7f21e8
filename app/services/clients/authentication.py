"""Who calls, and whether the key allows what is asked for."""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import NoReturn
from uuid import UUID

from app.domain.access import FIRST_ADMIN, Caller, Reason, Role, Scope, Surface
from app.domain.audit import Actor, Operator
from app.domain.errors import (
    ClientDisabledError,
    InsufficientRoleError,
    InsufficientScopeError,
    UnauthenticatedError,
)
from app.domain.limits import Count
from app.metrics import Metrics
from app.services.clients.known_keys import KnownKeys
from app.services.clients.limits import Known, Limits
from app.services.clients.refusals import (
    HINT,
    Backoff,
    KnownDigests,
    Refusals,
    RefusedDigests,
)
from app.services.clients.uses import Uses
from app.store.clients import admin_keys, clients
from app.store.clients.clients import FoundKey
from app.store.connections.engine import Database

API_KEY = "kgw_"
ADMIN_KEY = "kga_"
"""Prefixes that scanners can find; behind them are 256 random bits in base64url (RFC 4648)."""

_RANDOM = r"[A-Za-z0-9_-]{43}"
_API_KEY = re.compile(API_KEY + _RANDOM)
_ADMIN_KEY = re.compile(ADMIN_KEY + _RANDOM)

__all__ = [
    "ADMIN_KEY",
    "API_KEY",
    "HINT",
    "Authentication",
    "LivingAdminKey",
    "Sent",
    "digest",
    "random_text",
]

_SEND_KEY = "Send the header `Authorization: Bearer kgw_…` with a key of this gateway."
_SEND_ADMIN_KEY = (
    "Send the header `Authorization: Bearer …` with this gateway's GATEWAY_ADMIN_KEY, or with a "
    "key made by `kie-gateway admin-keys create`."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A request's key, empty where there is none, and where it came from."""

    key: str
    address: str | None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LivingAdminKey:
    """An admin key that opens something."""

    id: UUID | None
    """None: the first, which is a setting and no row."""
    name: str
    role: Role
    digest: bytes = field(repr=False)


def _first(digest: bytes | None) -> LivingAdminKey | None:
    if digest is None:
        return None
    return LivingAdminKey(id=None, name=FIRST_ADMIN, role=Role.KEYS, digest=digest)


def random_text(random_bytes: Callable[[int], bytes]) -> str:
    """Return what stands behind the prefix of a new key."""
    return base64.urlsafe_b64encode(random_bytes(32)).rstrip(b"=").decode()


def digest(key: str) -> bytes:
    """Hash a key: only this is kept and compared, so that no time reveals a length either."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


class Authentication:
    """Knows API keys and admin keys; whatever it refuses is counted and logged."""

    def __init__(
        self,
        database: Database,
        uses: Uses,
        limits: Limits,
        admin_key: str | None,
        metrics: Metrics,
        known_keys: KnownKeys,
    ) -> None:
        self._database = database
        self._uses = uses
        self._limits = limits
        self._admin_key = digest(admin_key) if admin_key else None
        self._refusals = Refusals(metrics)
        self._refused = RefusedDigests(metrics.now)
        self._good = KnownDigests()
        self._backoff = Backoff(metrics.now)
        self._known_keys = known_keys

    # -- callers

    def whose(self, authorization: str, address: str) -> Hashable:
        """Return for whom a request counts whose key is not checked yet.

        The client, where the key was looked up a moment ago; else see `KnownDigests`.
        """
        hashed = digest(authorization.removeprefix("Bearer "))
        found = self._known_keys.get(hashed)
        return found.caller.client_id if found else self._good.line(hashed, address)

    def count_refused(self, authorization: str) -> Count | None:
        """Count a request that is refused before its key is checked; None: nobody knows whose."""
        hashed = digest(authorization.removeprefix("Bearer "))
        over = self._limits.still_over(hashed)
        if over is not None:
            return over.count
        found = self._known_keys.get(hashed)
        return self._limits.count(found.caller, hashed) if found else None

    async def known(self, sent: Sent) -> Known:
        """Return whose key it is, and count the request; `allowed` says what follows.

        Raises `UnauthenticatedError` without saying why.
        """
        if not _API_KEY.fullmatch(sent.key):
            self._no_caller(sent, Reason.MALFORMED)
        hashed = digest(sent.key)
        over = self._limits.still_over(hashed)
        if over is not None:
            return over
        reason = self._refused.reason(hashed)
        if reason is not None:
            self._no_caller(sent, reason)
        found = self._known_keys.get(hashed) or await self._looked_up(sent, hashed)
        counted = self._limits.count(found.caller, hashed)
        return Known(counted, found.caller, disabled=found.disabled, scopes=found.scopes)

    async def _looked_up(self, sent: Sent, hashed: bytes) -> FoundKey:
        version = self._known_keys.version
        line = self._good.line(hashed, sent.address)
        async with self._database.look_up(line) as connection:
            found = await clients.find_key(connection, hashed)
        reason = _ended(found)
        if found is None or reason is not None:
            reason = reason or Reason.UNKNOWN
            self._refused.add(hashed, reason)
            self._no_caller(sent, reason)
        self._good.add(hashed)
        self._known_keys.keep(hashed, found, version)
        return found

    def allowed(self, known: Known, sent: Sent, scope: Scope) -> Caller:
        """Return who calls.

        Raises `RateLimitedError` for one request too many, `ClientDisabledError`, and
        `InsufficientScopeError` where the key is not for this.
        """
        known.count.require()
        self._require_allowed(sent, known, scope)
        self._uses.note_key(known.caller.key_id)
        return known.caller

    def _no_caller(self, sent: Sent, reason: Reason) -> NoReturn:
        self._note(Surface.API, reason, sent)
        raise UnauthenticatedError(_SEND_KEY)

    def _require_allowed(self, sent: Sent, known: Known, scope: Scope) -> None:
        if known.disabled:
            self._note(Surface.API, Reason.DISABLED, sent)
            detail = "An operator of the gateway has disabled your client. Ask your operators."
            raise ClientDisabledError(detail)
        if known.scopes is not None and scope not in known.scopes:
            self._note(Surface.API, Reason.SCOPE, sent)
            detail = (
                f"This needs a key with the scope {scope}. Use another key of your client, or ask "
                "your operators for one."
            )
            raise InsufficientScopeError(detail)

    # -- operators

    async def operator(self, sent: Sent, role: Role) -> Operator:
        """Return which operator's key it is.

        Raises `UnauthenticatedError`, `InsufficientRoleError`, and `RateLimitedError` for an
        address that sent many wrong keys, whatever it sends now.
        """
        found = await self.admin_key(sent)
        self.require_role(found, sent, role)
        return Operator(Actor.ADMIN_API, found.name, sent.address, sent.request_id)

    def require_role(self, found: LivingAdminKey, sent: Sent, role: Role) -> None:
        """Raise `InsufficientRoleError` where the key may not do this."""
        if not found.role.covers(role):
            self._note(Surface.ADMIN, Reason.ROLE, sent)
            detail = (
                f"This needs an admin key with the role {role}: `kie-gateway admin-keys create "
                f"NAME --role {role}`."
            )
            raise InsufficientRoleError(detail)

    async def admin_key(self, sent: Sent) -> LivingAdminKey:
        """Return which admin key it is; raises as `operator`, but for roles."""
        address = sent.address or ""
        self._backoff.check(address)
        found = await self._found_admin_key(sent)
        self._backoff.accepted(address)
        return found

    async def living_admin_key(self, key_id: UUID | None) -> LivingAdminKey | None:
        """Return an admin key by its id; None: it is revoked, or there is none.

        Without an id it is the setting's.
        """
        if key_id is None:
            return _first(self._admin_key)
        async with self._database.read() as connection:
            found = await admin_keys.find_living(connection, key_id)
        if found is None:
            return None
        self._uses.note_admin_key(key_id)
        return LivingAdminKey(
            id=key_id, name=found["name"], role=Role(found["role"]), digest=found["digest"]
        )

    async def has_admin_keys(self, address: str | None) -> bool:
        """Return whether anybody could sign in; `address` is whose request asks."""
        if self._admin_key is not None:
            return True
        async with self._database.look_up(("unknown", address)) as connection:
            return await admin_keys.any_living(connection)

    async def _found_admin_key(self, sent: Sent) -> LivingAdminKey:
        hashed = digest(sent.key)
        first = _first(self._admin_key)
        if first is not None and hmac.compare_digest(hashed, first.digest):
            return first
        if not _ADMIN_KEY.fullmatch(sent.key):
            self._no_operator(sent, Reason.MALFORMED)
        reason = self._refused.reason(hashed)
        if reason is not None:
            self._no_operator(sent, reason)
        async with self._database.read() as connection:
            found = await admin_keys.find(connection, hashed)
        if found is None or found["revoked"]:
            reason = Reason.UNKNOWN if found is None else Reason.REVOKED
            self._refused.add(hashed, reason)
            self._no_operator(sent, reason)
        self._uses.note_admin_key(found["id"])
        return LivingAdminKey(
            id=found["id"], name=found["name"], role=Role(found["role"]), digest=hashed
        )

    def _no_operator(self, sent: Sent, reason: Reason) -> NoReturn:
        if sent.key:  # to send none is no guess
            self._backoff.refused(sent.address or "")
        self._note(Surface.ADMIN, reason, sent)
        raise UnauthenticatedError(_SEND_ADMIN_KEY)

    def _note(self, surface: Surface, reason: Reason, sent: Sent) -> None:
        self._refusals.note(surface, reason, address=sent.address, key=sent.key)


def _ended(found: FoundKey | None) -> Reason | None:
    """Say what ended the key for good; None: nothing, or there is none."""
    if found is None:
        return None
    if found.revoked:
        return Reason.REVOKED
    return Reason.EXPIRED if found.expired else None
