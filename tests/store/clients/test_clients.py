"""Clients and keys: found by digest while they live, and by nothing else."""

import asyncio
import uuid
from uuid import UUID

import pytest

from app.store.clients import clients
from app.store.connections.engine import Database
from tests.store.stage import Sql, digest, put_client


async def put_key(
    database: Database, client_id: UUID, secret: str, *, hint: str = "kgw_hint"
) -> UUID:
    key_id = uuid.uuid4()
    async with database.begin() as connection:
        new = clients.NewKey(id=key_id, client_id=client_id, digest=digest(secret), hint=hint)
        await clients.insert_key(connection, new)
    return key_id


async def whose(database: Database, secret: str) -> UUID | None:
    async with database.read() as connection:
        found = await clients.find_key(connection, digest(secret))
    return found.caller.client_id if found and not found.revoked else None


async def revoke(database: Database, which: str) -> int:
    async with database.begin() as connection:
        return len(await clients.revoke_keys(connection, which))


async def count(database: Database) -> int:
    async with database.read() as connection:
        return await clients.count_living_keys(connection)


async def test_a_key_leads_to_its_client(database: Database, sql: Sql, client_id: UUID) -> None:
    neighbour = await put_client(sql, "neighbour")
    for client, secret in ((client_id, "a"), (client_id, "b"), (neighbour, "c")):
        await put_key(database, client, secret)
    found = {secret: await whose(database, secret) for secret in "abcd"}
    assert found == {"a": client_id, "b": client_id, "c": neighbour, "d": None}


@pytest.mark.parametrize("by", ["id", "hint"])
async def test_a_revoked_key_leads_nowhere(database: Database, client_id: UUID, by: str) -> None:
    key_id = await put_key(database, client_id, "a", hint="kgw_aaaa")
    await put_key(database, client_id, "b", hint="kgw_bbbb")
    which = {"id": str(key_id), "hint": "kgw_aaaa"}[by]
    assert [await revoke(database, which), await revoke(database, which)] == [1, 0]
    assert [await whose(database, secret) for secret in "ab"] == [None, client_id]
    assert await count(database) == 1


async def test_revoking_what_is_not_there_revokes_nothing(
    database: Database, client_id: UUID
) -> None:
    await put_key(database, client_id, "a")
    for which in ("", "kgw", "%", str(uuid.uuid4()), "x" * 1000):
        assert await revoke(database, which) == 0
    assert await whose(database, "a") == client_id


async def test_a_key_is_stored_once(database: Database, client_id: UUID) -> None:
    key_id = uuid.uuid4()
    for secret in ("a", "b"):
        async with database.begin() as connection:
            new = clients.NewKey(id=key_id, client_id=client_id, digest=digest(secret), hint="h")
            await clients.insert_key(connection, new)
    assert [await whose(database, secret) for secret in "ab"] == [client_id, None]


async def test_a_name_is_one_client_however_often_it_is_created(
    database: Database, sql: Sql
) -> None:
    async def ensure(secret: bytes) -> tuple[UUID, bytes]:
        async with database.begin() as connection:
            return await clients.ensure_client(
                connection, client_id=uuid.uuid4(), name="one", signing_secret=secret
            )

    found = await asyncio.gather(*(ensure(bytes([number])) for number in range(10)))
    assert len(set(found)) == 1
    assert await sql.fetchval("SELECT count(*) FROM clients") == 1


async def test_keys_are_listed_by_client_without_their_digest(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    neighbour = await put_client(sql, "a neighbour")
    for client, secret in ((client_id, "a"), (neighbour, "b"), (client_id, "c")):
        await put_key(database, client, secret, hint=f"kgw_{secret}")
    await revoke(database, "kgw_a")
    async with database.read() as connection:
        rows = await clients.list_keys(connection)
    assert [(row["client"], row["hint"], row["revoked_at"] is None) for row in rows] == [
        ("a neighbour", "kgw_b", True),
        ("tests", "kgw_a", False),
        ("tests", "kgw_c", True),
    ]
    times = {"created_at", "expires_at", "last_used_at", "revoked_at"}
    assert set(rows[0]) == {"client", "id", "hint", "scopes", *times}
