"""Clients and their API keys: made once, shown once, kept as a hash."""

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from app.domain.audit import Action, Actor
from app.domain.client import USUAL_GRACE, checked_grace, checked_name, checked_weight, is_name
from app.domain.errors import InvalidRequestError, NotFoundError, UnauthenticatedError
from app.services.clients.vault import UnopenedSecretError, Vault
from app.store.account import queues
from app.store.clients import audit, clients
from app.store.engine import Connection, Database

_KEY = re.compile(r"kgw_[A-Za-z0-9_-]{43}")
"""256 random bits in base64url (RFC 4648 section 5) behind a prefix that scanners can find."""

HINT = 10
"""Characters of a key that lists show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A new key: the key itself and the signing secret are shown once and never again."""

    id: UUID
    client: str
    api_key: str
    signing_secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """A new signing secret: shown once and never again."""

    client: str
    signing_secret: str
    previous_secret_until: datetime | None
    """Until when the one before signs too; None: it does not."""


def _digest(api_key: str) -> bytes:
    return hashlib.sha256(api_key.encode()).digest()


class Keys:
    """Issues, checks and revokes keys."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        new_id: Callable[[], UUID],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._database = database
        self._vault = vault
        self._new_id = new_id
        self._random_bytes = random_bytes

    async def authenticate(self, api_key: str) -> UUID:
        """Return the key's client; raises `UnauthenticatedError` without saying why."""
        detail = "Send the header `Authorization: Bearer kgw_…` with a key of this gateway."
        if not _KEY.fullmatch(api_key):
            raise UnauthenticatedError(detail)
        async with self._database.read() as connection:
            client_id = await clients.client_by_key(connection, _digest(api_key))
        if client_id is None:
            raise UnauthenticatedError(detail)
        return client_id

    async def create(
        self, name: str, *, weight: int | None = None, actor: Actor = Actor.COMMAND_LINE
    ) -> Issued:
        """Issue a key, and create its client if the name is new; `weight` is the client's.

        Raises `InvalidRequestError` for a name that is not 1 to 64 letters, digits, `.`, `_`, `-`,
        and for a weight outside 1 to 100.
        """
        checked_name(name)
        if weight is not None:
            checked_weight(weight)
        api_key = "kgw_" + base64.urlsafe_b64encode(self._random_bytes(32)).rstrip(b"=").decode()
        secret = self._new_secret()
        client_id = self._new_id()
        sealed = self._vault.seal(secret)
        new = Issued(id=self._new_id(), client=name, api_key=api_key, signing_secret=secret)

        async def store(connection: Connection) -> Issued:
            owner, kept = await clients.ensure_client(
                connection, client_id=client_id, name=name, signing_secret=sealed
            )
            opened = self._opened(kept)  # first: a key that cannot be shown must not exist
            await _insert(connection, owner, new, actor)
            if weight is not None:
                await queues.weigh(connection, name, weight)
                await audit.note_weight(connection, name, weight, actor=actor)
            return replace(new, signing_secret=opened)

        return await self._database.run(store)

    async def rotate_secret(
        self, name: str, *, grace: float = USUAL_GRACE, actor: Actor = Actor.COMMAND_LINE
    ) -> Rotated:
        """Give the client a new signing secret; for `grace` seconds the one before signs too.

        One that cannot be opened any more is dropped at once: nothing could be signed with it. So
        is the one before the one before. Raises `NotFoundError`, and `InvalidRequestError` for a
        grace outside 0 to 30 days.
        """
        checked_grace(grace)
        secret = self._new_secret()
        sealed = self._vault.seal(secret)

        async def work(connection: Connection) -> datetime | None:
            found = await clients.lock_secret(connection, name) if is_name(name) else None
            if found is None:
                detail = "There is no such client; see `kie-gateway clients list`."
                raise NotFoundError(detail)
            before: bytes = found["signing_secret"]
            if before == sealed:  # done already, and the answer to the commit was lost
                until: datetime | None = found["previous_secret_until"]
                return until
            kept = before if grace > 0 and self._vault.opens(before) else None
            return await _rotate(connection, name, sealed, kept, grace, actor)

        until = await self._database.run(work)
        return Rotated(client=name, signing_secret=secret, previous_secret_until=until)

    async def list(self) -> list[dict[str, Any]]:
        async with self._database.read() as connection:
            return await clients.list_keys(connection)

    async def revoke(self, which: str, *, actor: Actor = Actor.COMMAND_LINE) -> int:
        """Revoke the living keys with this id or hint; return how many there were."""
        async with self._database.begin() as connection:
            revoked = await clients.revoke_keys(connection, which)
            for key in revoked:
                await audit.note(
                    connection,
                    Action.KEY_REVOKED,
                    actor=actor,
                    client=key["client"],
                    detail={"key_id": str(key["id"]), "hint": key["hint"]},
                )
        return len(revoked)

    async def living(self) -> int:
        async with self._database.read() as connection:
            return await clients.count_living_keys(connection)

    def _new_secret(self) -> str:
        return "whsec_" + base64.b64encode(self._random_bytes(32)).decode()

    def _opened(self, sealed: bytes) -> str:
        try:
            return self._vault.open(sealed)
        except UnopenedSecretError:
            detail = (
                "The client's signing secret was sealed with another GATEWAY_SECRET_KEYS entry. "
                "Put the old entry back behind the new one."
            )
            raise InvalidRequestError(detail) from None


async def _insert(connection: Connection, owner: UUID, new: Issued, actor: Actor) -> None:
    """Store a key of the client `owner`, with its audit entry."""
    hint = new.api_key[:HINT]
    await clients.insert_key(
        connection, key_id=new.id, client_id=owner, digest=_digest(new.api_key), hint=hint
    )
    about = {"key_id": str(new.id), "hint": hint}
    await audit.note(connection, Action.KEY_CREATED, actor=actor, client=new.client, detail=about)


async def _rotate(
    connection: Connection, name: str, sealed: bytes, kept: bytes | None, grace: float, actor: Actor
) -> datetime | None:
    """Store a secret, with its audit entry; returns until when the `kept` one signs too."""
    lasts = grace if kept is not None else 0
    about = {"grace": f"{lasts:g}"}
    await audit.note(connection, Action.SECRET_ROTATED, actor=actor, client=name, detail=about)
    return await clients.rotate_secret(connection, name, sealed, kept=kept, grace=lasts or None)
