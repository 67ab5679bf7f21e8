"""Refusing to start: one line that says what to do, and a status that tells whose fault it is."""

from urllib.parse import urlsplit

import asyncpg
import pytest
from pydantic import SecretStr

from app.config import Settings
from app.store import schema
from tests.processes.conftest import Connection, Start
from tests.processes.stage import Stage

NOWHERE = "postgresql://gateway:not-to-be-shown@127.0.0.1:9/gateway"
_LONG = pytest.mark.long
NEEDS_DATABASE = (
    ("serve",),
    pytest.param(("keys", "list"), marks=_LONG),
    pytest.param(("migrate",), marks=_LONG),
)
NEEDS_SCHEMA = (
    ("serve",),
    pytest.param(("worker",), marks=_LONG),
    pytest.param(("keys", "list"), marks=_LONG),
)


@pytest.mark.parametrize("command", NEEDS_SCHEMA)
async def test_an_unmigrated_database_is_refused(
    stage: Stage, scratch: str, command: tuple[str, ...]
) -> None:
    ended = await stage.run(*command, GATEWAY_DATABASE_URL=scratch)

    assert ended.said("run `kie-gateway migrate`", status=1), ended


@pytest.mark.long
async def test_migrate_twice(stage: Stage, scratch: str) -> None:
    first = await stage.run("migrate", GATEWAY_DATABASE_URL=scratch, GATEWAY_SECRET_KEYS=None)
    again = await stage.run("migrate", GATEWAY_DATABASE_URL=scratch)

    assert (first.status, again.status) == (0, 0), (first, again)
    assert first.err == ""
    assert first.out == again.out == f"the schema is at {schema.needed()}\n"


@pytest.mark.long
async def test_another_migrator_at_work(stage: Stage, scratch: str) -> None:
    other = await asyncpg.connect(scratch)
    await other.execute("BEGIN")
    await other.execute(f"SELECT pg_advisory_xact_lock({schema.LOCK})")

    ended = await stage.run("migrate", "--wait", "0.5", GATEWAY_DATABASE_URL=scratch)

    assert ended.said("another migrator was not done within 0.5 s", status=1), ended
    await other.close()


@pytest.mark.parametrize("command", NEEDS_DATABASE)
async def test_an_unreachable_database(stage: Stage, command: tuple[str, ...]) -> None:
    ended = await stage.run(*command, GATEWAY_DATABASE_URL=NOWHERE)

    assert ended.said("correct GATEWAY_DATABASE_URL", status=1), ended
    assert "not-to-be-shown" not in ended.err


@pytest.mark.long
async def test_a_database_that_does_not_exist(stage: Stage, dsn: str) -> None:
    url = dsn.replace(urlsplit(dsn).path, "/nowhere", 1)

    ended = await stage.run("migrate", GATEWAY_DATABASE_URL=url)

    assert ended.said('database "nowhere" does not exist', status=1), ended


@pytest.mark.parametrize(
    "command",
    [("serve",), pytest.param(("worker",), marks=pytest.mark.long)],
)
async def test_missing_secrets(stage: Stage, command: tuple[str, ...]) -> None:
    ended = await stage.run(*command, GATEWAY_SECRET_KEYS=None)

    assert ended.said("GATEWAY_SECRET_KEYS: is not set", status=2), ended
    assert "kie-gateway secrets generate" in ended.err


@pytest.mark.long
@pytest.mark.parametrize("command", [("serve",), ("worker",)])
async def test_a_server_that_forgets_is_refused(
    stage: Stage, command: tuple[str, ...], sql_connection: Connection
) -> None:
    if await sql_connection.fetchval("SHOW fsync") == "on":
        pytest.skip("the server that was given for the tests writes to disk")
    ended = await stage.run(*command, GATEWAY_ALLOW_UNSAFE_FSYNC=None)

    assert ended.said("GATEWAY_ALLOW_UNSAFE_FSYNC", status=1), ended


@pytest.mark.long
async def test_a_misspelt_setting(stage: Stage) -> None:
    ended = await stage.run("serve", GATEWAY_PUBLIC_ULR="https://gateway.test")

    assert ended.said("did you mean GATEWAY_PUBLIC_URL?", status=2), ended


@pytest.mark.long
async def test_a_port_in_use(stage: Stage, start: Start) -> None:
    serving = await start("serve", "--no-worker")
    port = (await serving.ready()).rpartition(":")[2]

    ended = await stage.run("serve", "--host", "127.0.0.1", "--port", port)

    assert ended.said(f"cannot listen on 127.0.0.1:{port}", status=1), ended


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--credits", "plenty"), "not an amount"),
        (("--failure-rate", "2"), "less than or equal to 1"),
        (("--host", "256.0.0.1"), "cannot listen"),
    ],
    ids=["credits", "failure rate", "host"],
)
async def test_the_simulator_refuses(stage: Stage, arguments: tuple[str, ...], text: str) -> None:
    ended = await stage.run("simulator", *arguments)

    assert ended.status in (1, 2)
    assert text in ended.err
    assert "Traceback" not in ended.err


async def test_secrets_generate(stage: Stage) -> None:
    first, second = [await stage.run("secrets", "generate") for _ in range(2)]

    assert first.status == second.status == 0
    assert first.out != second.out
    secret = first.out.strip()
    assert len(secret) >= 43  # 256 bits in base64url
    assert Settings(secret_keys=(SecretStr(secret),)).secret_keys
