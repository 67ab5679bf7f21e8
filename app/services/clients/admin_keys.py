"""Operators' keys: made once, shown once, kept as a hash, each with a name and a role."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.domain.access import FIRST_ADMIN, Role
from app.domain.audit import Action, Operator
from app.domain.client import is_name
from app.domain.errors import NotFoundError, bad_member
from app.services.clients.authentication import ADMIN_KEY, HINT, digest, random_text
from app.store.clients import admin_keys, audit
from app.store.connections.engine import Connection, Database

_NAME = "/name"


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedAdminKey:
    """A new key, shown once and never again."""

    id: UUID
    name: str
    role: Role
    admin_key: str = field(repr=False)


class AdminKeys:
    """Issues and revokes the keys of operators; `operator` is who said so."""

    def __init__(
        self,
        database: Database,
        new_id: Callable[[], UUID],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._database = database
        self._new_id = new_id
        self._random_bytes = random_bytes

    async def create(self, operator: Operator, name: str, role: Role) -> IssuedAdminKey:
        """Issue a key; raises `InvalidRequestError` for a name that is none, or taken for good."""
        if not is_name(name):
            trouble = "should be 1 to 64 letters, digits, dots, underscores or hyphens"
            raise bad_member(_NAME, trouble)
        key = ADMIN_KEY + random_text(self._random_bytes)
        new = IssuedAdminKey(id=self._new_id(), name=name, role=role, admin_key=key)

        async def store(connection: Connection) -> None:
            is_new = name != FIRST_ADMIN and await admin_keys.insert_key(
                connection,
                key_id=new.id,
                name=name,
                role=role,
                digest=digest(key),
                hint=key[:HINT],
            )
            if not is_new:
                raise bad_member(_NAME, "is, or was, another admin key's: the audit names it")
            about = {"name": name, "role": role.value, "hint": key[:HINT]}
            await audit.note(connection, Action.ADMIN_KEY_CREATED, operator=operator, detail=about)

        await self._database.run(store)
        return new

    async def list(self) -> list[dict[str, Any]]:
        """Return all but GATEWAY_ADMIN_KEY, revoked ones too."""
        async with self._database.read() as connection:
            return await admin_keys.list_all(connection)

    async def revoke(self, operator: Operator, name: str) -> None:
        """Revoke a key at once and for good; raises `NotFoundError`."""
        async with self._database.begin() as connection:
            hint = await admin_keys.revoke(connection, name) if is_name(name) else None
            if hint is None:
                detail = (
                    "There is no active admin key of this name; `kie-gateway admin-keys list` "
                    "shows all."
                )
                raise NotFoundError(detail)
            about = {"name": name, "hint": hint}
            await audit.note(connection, Action.ADMIN_KEY_REVOKED, operator=operator, detail=about)
