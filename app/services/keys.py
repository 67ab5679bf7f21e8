"""Clients and their API keys: made once, shown once, kept as a hash."""

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from cryptography.fernet import InvalidToken, MultiFernet

from app.domain.audit import Action, Actor
from app.domain.errors import InvalidRequestError, UnauthenticatedError
from app.store import audit, clients, queues
from app.store.engine import Connection, Database

_KEY = re.compile(r"kgw_[A-Za-z0-9_-]{43}")
"""256 random bits in base64url (RFC 4648 section 5) behind a prefix that scanners can find."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a client may be called."""

HINT = 10
"""Characters of a key that lists show."""

MAX_WEIGHT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A new key: the key itself and the signing secret are shown once and never again."""

    id: UUID
    client: str
    api_key: str
    signing_secret: str


def checked_weight(weight: int) -> int:
    """Return the weight; raises `InvalidRequestError` for one outside 1 to `MAX_WEIGHT`."""
    if 1 <= weight <= MAX_WEIGHT:
        return weight
    detail = f"A weight is a whole number from 1 to {MAX_WEIGHT}."
    raise InvalidRequestError(detail)


def _digest(api_key: str) -> bytes:
    return hashlib.sha256(api_key.encode()).digest()


class Keys:
    """Issues, checks and revokes keys."""

    def __init__(
        self,
        database: Database,
        vault: MultiFernet,
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
        and for a weight outside 1 to `MAX_WEIGHT`.
        """
        if not NAME.fullmatch(name):
            detail = "A client's name is 1 to 64 letters, digits, dots, underscores or hyphens."
            raise InvalidRequestError(detail)
        if weight is not None:
            checked_weight(weight)
        api_key = "kgw_" + base64.urlsafe_b64encode(self._random_bytes(32)).rstrip(b"=").decode()
        secret = "whsec_" + base64.b64encode(self._random_bytes(32)).decode()
        client_id, key_id = self._new_id(), self._new_id()
        sealed = self._vault.encrypt(secret.encode())

        async def store(connection: Connection) -> str:
            owner, kept = await clients.ensure_client(
                connection, client_id=client_id, name=name, signing_secret=sealed
            )
            opened = self._opened(kept)  # first: a key that cannot be shown must not exist
            await clients.insert_key(
                connection,
                key_id=key_id,
                client_id=owner,
                digest=_digest(api_key),
                hint=api_key[:HINT],
            )
            about = {"key_id": str(key_id), "hint": api_key[:HINT]}
            await audit.note(connection, Action.KEY_CREATED, actor=actor, client=name, detail=about)
            if weight is not None:
                await queues.weigh(connection, name, weight)
                await audit.note_weight(connection, name, weight, actor=actor)
            return opened

        opened = await self._database.run(store)
        return Issued(id=key_id, client=name, api_key=api_key, signing_secret=opened)

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

    def _opened(self, sealed: bytes) -> str:
        try:
            return self._vault.decrypt(sealed).decode()
        except InvalidToken:
            detail = (
                "The client's signing secret was sealed with another GATEWAY_SECRET_KEYS entry. "
                "Put the old entry back behind the new one."
            )
            raise InvalidRequestError(detail) from None
