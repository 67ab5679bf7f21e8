"""Clients and their API keys: made once, shown once, kept as a hash."""

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from cryptography.fernet import InvalidToken, MultiFernet

from app.domain.errors import InvalidRequestError, UnauthenticatedError
from app.store import clients
from app.store.engine import Connection, Database

_KEY = re.compile(r"kgw_[A-Za-z0-9_-]{43}")
"""256 random bits in base64url (RFC 4648 section 5) behind a prefix that scanners can find."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
HINT = 10
"""Characters of a key that lists show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """What is shown once and never again."""

    client: str
    api_key: str
    signing_secret: str


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

    async def create(self, name: str) -> Issued:
        """Issue a key, and create its client if the name is new.

        Raises `InvalidRequestError` for a name that is not 1 to 64 letters, digits, `.`, `_`, `-`.
        """
        if not _NAME.fullmatch(name):
            detail = "A client's name is 1 to 64 letters, digits, dots, underscores or hyphens."
            raise InvalidRequestError(detail)
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
            return opened

        opened = await self._database.run(store)
        return Issued(client=name, api_key=api_key, signing_secret=opened)

    async def list(self) -> list[dict[str, Any]]:
        async with self._database.read() as connection:
            return await clients.list_keys(connection)

    async def revoke(self, which: str) -> int:
        """Revoke the living keys with this id or hint; return how many there were."""
        async with self._database.begin() as connection:
            return await clients.revoke_keys(connection, which)

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
