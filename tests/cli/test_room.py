"""What the doctor says of the server: each trouble with its remedy, by what was seen."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from app.cli.operators import room
from app.cli.operators.room import CHECKS, room_of
from app.config import Settings
from app.store.connections.server import Room

SETTINGS = Settings(database_url=SecretStr("postgresql://h/d"), database_pool_size=10)
WELL = Room(
    version="15.4",
    version_number=150004,
    is_standby=False,
    is_read_only=False,
    connections=97,
    connections_left=44,
    jit=False,
    jit_source="session",
    database_size=12 * room.MB,
    tablespace_size=None,
    data_directory=None,
    is_local=False,
)


def _found(**seen: Any) -> dict[str, tuple[str, str | None]]:
    given = replace(WELL, **seen)
    findings = [check(given, SETTINGS) for check in CHECKS]
    return {found.name: (found.said, found.remedy) for found in findings}


def test_all_is_well_and_what_cannot_be_known_is_said() -> None:
    found = _found()
    assert list(found) == ["version", "writes", "connections", "JIT", "disk"]
    assert {remedy for _, remedy in found.values()} == {None}
    said = found["connections"][0]
    assert said == "44 of 97 are left; a process takes up to 11: room for 4 more"
    assert found["disk"][0].startswith("the database takes 12 MB; what is free cannot be asked")
    assert _found(jit_source="database user")["JIT"] == ("off, by the database user", None)


@pytest.mark.parametrize(
    ("name", "seen", "says", "remedy"),
    [
        ("version", {"version": "14.9", "version_number": 140009}, "too old", "15 or newer"),
        ("writes", {"is_standby": True, "is_read_only": True}, "standby", "the primary"),
        ("writes", {"is_read_only": True}, "read-only", "default_transaction_read_only"),
        ("connections", {"connections_left": 10}, "10 of 97", "GATEWAY_DATABASE_POOL_SIZE"),
        ("JIT", {"jit": True}, "is on", "kie-gateway migrate"),
    ],
)
def test_a_trouble(name: str, seen: dict[str, Any], says: str, remedy: str) -> None:
    found = _found(**seen)
    said, do = found.pop(name)
    assert says in said
    assert do is not None
    assert remedy in do
    assert {other for _, other in found.values()} == {None}


@pytest.mark.parametrize(("free", "full"), [(50, False), (5, True)])
def test_the_disk_of_a_server_in_this_machine(
    free: int,
    full: bool,  # noqa: FBT001  # a column of the table
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usage = type("Usage", (), {"free": free * room.MB, "total": 100 * room.MB})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    here = {"is_local": True, "data_directory": str(tmp_path)}
    assert "cannot be asked" in _found(**here)["disk"][0]  # a pooler's socket
    (tmp_path / "PG_VERSION").touch()
    said, remedy = _found(**here)["disk"]
    assert f"{free} MB are free ({free}%)" in said
    assert (remedy is not None) is full


async def test_a_role_without_rights_and_with_limits(dsn: str, sql: Any) -> None:
    """It sees its own limit, no directory, and how full the server is all the same."""
    name = await sql.fetchval("SELECT current_database()")
    most = await sql.fetchval("SELECT current_setting('max_connections')::int")
    role = f"{name}_plain"
    await sql.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 7")
    try:
        found = await room_of(dsn.replace("postgres@", f"{role}@", 1), SETTINGS)
        by_name = {one.name: one for one in found}
        said = by_name["connections"].said
        assert said.startswith("6 of ")
        assert int(said.split()[2]) < most
        assert by_name["connections"].remedy is not None
        assert "cannot be asked" in by_name["disk"].said
        assert by_name["JIT"].said == "off: each session of ours sees to it"
        await sql.execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")
        found = await room_of(dsn.replace("postgres@", f"{role}@", 1), SETTINGS)
        assert {one.name: one.said for one in found}["writes"] == "sessions are read-only"
    finally:
        await sql.execute(f"DROP ROLE {role}")
