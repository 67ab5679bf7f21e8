"""The owner owns, the application works, the receiver takes callbacks: none can do more."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from app.store import releases, schema
from app.store.roles import Role, Roles, RolesError, ensure, grant, scram, script
from app.store.schema import Progress
from tests.migrations import following

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
FORBIDDEN = (
    (Role.APP, "DELETE FROM audit_entries"),
    (Role.APP, "UPDATE audit_entries SET client = 'another'"),
    (Role.APP, "TRUNCATE audit_entries"),
    (Role.APP, "ALTER TABLE tasks ADD COLUMN mine text"),
    (Role.APP, "DROP TABLE tasks"),
    (Role.APP, "CREATE TABLE mine (id int)"),
    (Role.APP, "UPDATE alembic_version SET version_num = 'another'"),
    (Role.APP, "ALTER TABLE audit_entries DISABLE TRIGGER ALL"),
    (Role.RECEIVER, "SELECT digest FROM api_keys"),
    (Role.RECEIVER, "SELECT signing_secret FROM clients"),
    (Role.RECEIVER, "SELECT previous_secret FROM clients"),
    (Role.RECEIVER, "UPDATE clients SET webhook_url = 'https://evil.example'"),
    (Role.RECEIVER, "DELETE FROM tasks"),
    (Role.RECEIVER, "DELETE FROM callbacks"),
    (Role.RECEIVER, "SELECT answer FROM delivery_attempts"),
    (Role.RECEIVER, "UPDATE deliveries SET url = 'https://evil.example'"),
    (Role.RECEIVER, "DELETE FROM audit_entries"),
    (Role.RECEIVER, "CREATE TABLE mine (id int)"),
)
"""What takes more than a role has."""
A_TABLE = "CREATE TABLE of_a_later_release (id int); ALTER TABLE tasks ADD COLUMN later text"


@pytest_asyncio.fixture
async def roles(fresh: str) -> AsyncIterator[Roles]:
    """Make roles of one test's own: they belong to the whole server."""
    names = Roles(f"r_{uuid4().hex[:12]}")
    await ensure(fresh, names, {})
    await grant(fresh, names)
    yield names
    connection = await asyncpg.connect(fresh)
    for role in Role:
        await connection.execute(f"DROP OWNED BY {names.name(role)} CASCADE")
        await connection.execute(f"DROP ROLE {names.name(role)}")
    await connection.close()


@pytest_asyncio.fixture
async def connection(fresh: str, roles: Roles) -> AsyncIterator["Connection"]:  # noqa: ARG001  # there already
    opened = await asyncpg.connect(fresh)
    yield opened
    await opened.close()


async def _refused(connection: "Connection", roles: Roles, role: Role, statement: str) -> bool:
    await connection.execute(f"SET ROLE {roles.name(role)}")
    try:
        async with connection.transaction():
            await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return True
    finally:
        await connection.execute("RESET ROLE")
    return False


async def test_what_a_role_may_not_do(connection: "Connection", roles: Roles) -> None:
    done = [each for each in FORBIDDEN if not await _refused(connection, roles, *each)]

    assert done == []


async def test_what_they_may_do(connection: "Connection", roles: Roles) -> None:
    assert not await _refused(connection, roles, Role.APP, "DELETE FROM tasks")
    assert not await _refused(connection, roles, Role.APP, "SELECT signing_secret FROM clients")
    assert not await _refused(connection, roles, Role.RECEIVER, "SELECT webhook_url FROM clients")
    assert not await _refused(connection, roles, Role.RECEIVER, "UPDATE tasks SET version = 2")


async def test_the_owner_owns_every_table_and_no_other_role_does(
    connection: "Connection", roles: Roles
) -> None:
    owners = await connection.fetch(
        "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
    )

    assert [row["tableowner"] for row in owners] == [roles.owner]


async def test_a_later_migration_is_the_owners_and_the_application_may_use_it(
    fresh: str,
    connection: "Connection",
    roles: Roles,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = following(tmp_path, ("9998_a_table", "0.1.0", A_TABLE))
    monkeypatch.setattr(releases, "MIGRATIONS", folder)

    await asyncio.to_thread(schema.upgrade, fresh, Progress(owner=roles.owner))

    owner = await connection.fetchval(
        "SELECT tableowner FROM pg_tables WHERE tablename = 'of_a_later_release'"
    )
    assert owner == roles.owner
    new = "INSERT INTO of_a_later_release VALUES (1)"
    assert not await _refused(connection, roles, Role.APP, new)
    assert await _refused(connection, roles, Role.RECEIVER, new)


async def test_who_may_not_create_roles_is_told_what_to_run(
    fresh: str, connection: "Connection", roles: Roles
) -> None:
    await connection.execute(f"ALTER ROLE {roles.name(Role.APP)} LOGIN")
    as_app = fresh.replace("//postgres", f"//{roles.name(Role.APP)}", 1)
    assert as_app != fresh

    with pytest.raises(RolesError, match="migrate --print-roles"):
        await ensure(as_app, Roles(f"{roles.prefix}_more"), {})


async def test_to_repeat_it_changes_nothing(
    fresh: str, connection: "Connection", roles: Roles
) -> None:
    rights = "SELECT relname, relacl::text FROM pg_class WHERE relkind = 'r' ORDER BY relname"
    before = await connection.fetch(rights)

    await ensure(fresh, roles, {})
    await grant(fresh, roles)

    after = await connection.fetch(rights)
    assert [set(str(row["relacl"]).split(",")) for row in after] == [
        set(str(row["relacl"]).split(",")) for row in before
    ]


async def test_postgresql_takes_the_verifier_for_the_password(
    connection: "Connection", roles: Roles
) -> None:
    verifier = scram("what nobody knows")
    turns, salt = verifier.split("$")[1].split(":")
    salted = hashlib.pbkdf2_hmac("sha256", b"what nobody knows", base64.b64decode(salt), int(turns))
    server = base64.b64encode(hmac.digest(salted, b"Server Key", "sha256")).decode()

    await connection.execute(f"ALTER ROLE {roles.owner} PASSWORD '{verifier}'")

    stored = await connection.fetchval(
        "SELECT rolpassword FROM pg_authid WHERE rolname = $1", roles.owner
    )
    assert stored == verifier  # one that it cannot read it would hash once more
    assert verifier.endswith(f":{server}")


@pytest.mark.parametrize("prefix", ["", "Upper", "with-dash", "a;b", "1st", "a" * 49])
def test_a_prefix_that_would_need_quotes_is_refused(prefix: str) -> None:
    with pytest.raises(RolesError, match="small letters"):
        Roles(prefix)


def test_the_script_holds_no_password_and_names_all_roles() -> None:
    written = script(Roles("mine"))

    assert all(f"CREATE ROLE mine_{role}" in written for role in Role)
    assert "SCRAM" not in written
