"""Clients and their API keys: made once, shown once, kept as a hash."""

import base64
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from app.domain.access import Scope, checked_scopes
from app.domain.audit import SOMEBODY, Action, Operator
from app.domain.client import USUAL_GRACE, checked_grace, checked_name, checked_weight, is_name
from app.domain.errors import InvalidRequestError, NotFoundError, bad_member, client_erased
from app.services.clients.authentication import API_KEY, HINT, digest, random_text
from app.services.clients.vault import UnopenedSecretError, Vault
from app.store.account import queues
from app.store.clients import audit, clients, erasure
from app.store.connections.engine import Connection, Database
from app.store.signals import KEYS, announce_now


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A new key: the key itself and the signing secret are shown once and never again."""

    id: UUID
    client: str
    api_key: str
    signing_secret: str
    scopes: Sequence[Scope] | None
    """What it may be used for; None: everything."""
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """A new signing secret: shown once and never again."""

    client: str
    signing_secret: str
    previous_secret_until: datetime | None
    """Until when the one before signs too; None: it does not."""


class Keys:
    """Issues and revokes keys."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        new_id: Callable[[], UUID],
        random_bytes: Callable[[int], bytes],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """Call `changed` once a key that was good is good no more."""
        self._changed = changed
        self._database = database
        self._vault = vault
        self._new_id = new_id
        self._random_bytes = random_bytes

    async def create(
        self,
        name: str,
        *,
        weight: int | None = None,
        scopes: Collection[Scope] | None = None,
        expires_at: datetime | None = None,
        operator: Operator = SOMEBODY,
    ) -> Issued:
        """Issue a key, and create its client if the name is new; `weight` is the client's.

        `scopes`: None for all. Raises `InvalidRequestError` for a name that is not 1 to 64
        letters, digits, `.`, `_`, `-`, for a weight outside 1 to 100, for no scope at all and for
        an end that is past.
        """
        checked_name(name)
        if weight is not None:
            checked_weight(weight)
        secret = self._new_secret()
        client_id = self._new_id()
        sealed = self._vault.seal(secret)
        new = Issued(
            id=self._new_id(),
            client=name,
            api_key=API_KEY + random_text(self._random_bytes),
            signing_secret=secret,
            scopes=checked_scopes(scopes),
            expires_at=expires_at,
        )

        async def store(connection: Connection) -> Issued:
            if await erasure.is_marked(connection, name):
                raise client_erased(name)
            owner, kept = await clients.ensure_client(
                connection, client_id=client_id, name=name, signing_secret=sealed
            )
            opened = self._opened(kept)  # first: a key that cannot be shown must not exist
            await _insert(connection, owner, new, operator)
            if weight is not None:
                await queues.weigh(connection, name, weight)
                await audit.note_weight(connection, name, weight, operator=operator)
            return replace(new, signing_secret=opened)

        return await self._database.run(store)

    async def rotate_secret(
        self, name: str, *, grace: float = USUAL_GRACE, operator: Operator = SOMEBODY
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
            if found is not None and await erasure.is_marked(connection, name):
                raise client_erased(name)
            if found is None:
                detail = "There is no such client; see `kie-gateway clients list`."
                raise NotFoundError(detail)
            before: bytes = found["signing_secret"]
            if before == sealed:  # done already, and the answer to the commit was lost
                until: datetime | None = found["previous_secret_until"]
                return until
            kept = before if grace > 0 and self._vault.opens(before) else None
            return await _rotate(connection, name, sealed, kept, grace, operator)

        until = await self._database.run(work)
        return Rotated(client=name, signing_secret=secret, previous_secret_until=until)

    async def list(self) -> list[dict[str, Any]]:
        async with self._database.read() as connection:
            return await clients.list_keys(connection)

    async def revoke(self, which: str, *, operator: Operator = SOMEBODY) -> int:
        """Revoke the living keys with this id or hint; return how many there were."""
        async with self._database.begin() as connection:
            revoked = await clients.revoke_keys(connection, which)
            for key in revoked:
                await audit.note(
                    connection,
                    Action.KEY_REVOKED,
                    operator=operator,
                    client=key["client"],
                    detail={"key_id": str(key["id"]), "hint": key["hint"]},
                )
        self._changed()
        await announce_now(self._database, KEYS)
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


async def _insert(connection: Connection, owner: UUID, new: Issued, operator: Operator) -> None:
    """Store a key of the client `owner`, with its audit entry."""
    if new.expires_at is not None and await clients.is_past(connection, new.expires_at):
        where = "/expires_at"
        raise bad_member(where, "should be in the future")
    key = clients.NewKey(
        id=new.id,
        client_id=owner,
        digest=digest(new.api_key),
        hint=new.api_key[:HINT],
        scopes=new.scopes,
        expires_at=new.expires_at,
    )
    await clients.insert_key(connection, key)
    about = {"key_id": str(new.id), "hint": key.hint}
    if new.scopes is not None:
        about["scopes"] = " ".join(new.scopes)
    if new.expires_at is not None:
        about["expires_at"] = new.expires_at.isoformat(timespec="seconds")
    await audit.note(
        connection, Action.KEY_CREATED, operator=operator, client=new.client, detail=about
    )


async def _rotate(
    connection: Connection,
    name: str,
    sealed: bytes,
    kept: bytes | None,
    grace: float,
    operator: Operator,
) -> datetime | None:
    """Store a secret, with its audit entry; returns until when the `kept` one signs too."""
    lasts = grace if kept is not None else 0
    about = {"grace": f"{lasts:g}"}
    await audit.note(
        connection, Action.SECRET_ROTATED, operator=operator, client=name, detail=about
    )
    return await clients.rotate_secret(connection, name, sealed, kept=kept, grace=lasts or None)
