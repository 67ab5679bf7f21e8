"""Servers of a test's own: killed, stopped for a while, copied, put back, followed and promoted.

They listen on 127.0.0.1, each on a port of its own that it keeps whatever happens to its data:

    with postgres.servers() as make:
        primary = make.new()
        backup = primary.backup()
        standby = make.standby(primary)

The wheel's programs are used unless `programs` names others. As root they run as the user of the
embedded server. Everything blocks.
"""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from app import embedded
from tests.database import execute, fetch
from tests.leash import LEASH

DATABASE = embedded.DATABASE
DEBIAN = Path("/usr/lib/postgresql/15/bin")
START = 60.0
"""Seconds, enough for the recovery after a crash."""
INITDB_OPTIONS = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale")
QUICK = {"fsync": "off", "full_page_writes": "off", "max_connections": "200"}
"""They need not outlive the machine. A backup has its full pages all the same."""


class Server:
    """One server over one data directory."""

    def __init__(self, data: Path, programs: Path, account: embedded.Account | None) -> None:
        self.data = data
        self.port = _free_port()
        self._programs = programs
        self._account = account

    @property
    def dsn(self) -> str:
        return self.url(DATABASE)

    def url(self, database: str) -> str:
        """Return the URL of a database on this server."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def execute(self, *statements: str) -> None:
        execute(self.dsn, *statements)

    def fetch(self, query: str, *arguments: object) -> Any:
        """Return the first value of the first row."""
        return fetch(self.dsn, query, *arguments)

    @property
    def _pid_file(self) -> Path:
        return self.data / "postmaster.pid"

    @property
    def _log(self) -> Path:
        return self.data.with_name(f"{self.data.name}.log")

    def _last_words(self) -> str:
        return self._log.read_text()[-1000:] if self._log.exists() else ""

    # -- up and down

    def start(self) -> None:
        options = ("-c", "listen_addresses=127.0.0.1", "-k", "", "-p", str(self.port))
        wait = ("-w", "-t", f"{START:.0f}", "-l", str(self._log))
        self.run("pg_ctl", "start", *wait, "-o", shlex.join(options))
        for postmaster in self.processes()[:1]:
            LEASH.hold(postmaster.pid, signal.SIGQUIT)

    def stop(self, mode: str = "fast") -> None:
        """Shut down; `immediate` is a crash as far as the data are concerned."""
        if self.processes():
            self.run("pg_ctl", "stop", "-w", "-m", mode)

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """End all of its processes at once, as the loss of its machine does."""
        self.signal(signal.SIGKILL)
        wait(lambda: not self.processes(), "its processes end")
        # A zombie counts as alive for the next start; its own parents do not.
        lines = (self._pid_file.read_text() if self._pid_file.exists() else "").splitlines()
        if lines:
            self._pid_file.write_text("\n".join([str(os.getpid()), *lines[1:], ""]))

    def signal(self, number: int) -> None:
        """Send a signal to all of its processes: SIGSTOP lets it stand still, SIGCONT go on."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def processes(self) -> list[psutil.Process]:
        try:
            pid = int(self._pid_file.read_text().split()[0])
            postmaster = psutil.Process(pid)
            if postmaster.status() == psutil.STATUS_ZOMBIE or postmaster.name() != "postgres":
                return []
            return [postmaster, *postmaster.children(recursive=True)]
        except (FileNotFoundError, psutil.NoSuchProcess):
            return []

    # -- copies

    def backup(self) -> Path:
        """Copy the data directory while the server works; returns the copy."""
        copy = self.data.with_name(f"backup{time.monotonic_ns()}")
        self._copy_to(copy)
        return copy

    def put_back(self, backup: Path, *, new_timeline: bool = False) -> None:
        """Replace the data by a backup's, as of its end, and start.

        `new_timeline`: as a recovery from an archive does it. Without, the timeline is the old one.
        """
        self.stop("immediate")
        shutil.rmtree(self.data)
        shutil.copytree(backup, self.data)
        if new_timeline:
            (self.data / "recovery.signal").touch()
            with (self.data / "postgresql.auto.conf").open("a") as settings:
                settings.write("restore_command = 'false'\nrecovery_target_timeline = 'current'\n")
        self.own()
        self.start()
        self.await_writable()

    def follow(self, primary: "Server") -> None:
        """Become the streaming standby of a primary; its name there is `standby`."""
        primary._copy_to(self.data, "-R", "-C", "-S", f"standby_{self.port}")
        self.start()

    def promote(self) -> None:
        self.run("pg_ctl", "promote", "-w")
        self.await_writable()

    def await_writable(self) -> None:
        wait(lambda: not self.fetch("SELECT pg_is_in_recovery()"), "it can be written to")

    def _copy_to(self, target: Path, *options: str) -> None:
        source = f"host=127.0.0.1 port={self.port} user=postgres application_name=standby"
        made = ("-D", str(target), "-d", source, "-X", "stream", "-c", "fast", "--no-sync")
        self.run("pg_basebackup", *made, *options, at_data=False)

    def own(self) -> None:
        """Give the files to the user that runs the server."""
        self.data.chmod(0o700)
        if self._account:
            for path in (self.data, *self.data.rglob("*")):
                os.chown(path, *self._account, follow_symlinks=False)

    def run(self, program: str, *arguments: str, at_data: bool = True) -> str:
        """Run one of PostgreSQL's programs as the server's user; returns what it prints."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        user, group = self._account or (None, None)
        done = subprocess.run(  # noqa: S603  # PostgreSQL's programs, no shell
            [self._programs / program, *(("-D", str(self.data)) if at_data else ()), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            check=False,
            text=True,
            cwd="/",
            env=ours | {"LC_ALL": "C"},
            user=user,
            group=group,
            extra_groups=[] if self._account else None,
        )
        assert done.returncode == 0, f"{program}: {done.stdout} {self._last_words()}"
        return done.stdout


class Servers:
    """Makes servers in one directory, and remembers them."""

    def __init__(self, directory: Path, programs: Path) -> None:
        self.made: list[Server] = []
        self.directory = directory
        self._programs = programs
        self._account = embedded._system_account() if os.geteuid() == 0 else None
        if self._account:
            os.chown(directory, *self._account)

    def new(self, **settings: str) -> Server:
        """Start a server with an empty database; `settings` as in postgresql.conf."""
        return self._started(self._server(), settings)

    def new_at(self, place: Path, **settings: str) -> Server:
        """Start one over a data directory elsewhere, yet to be made where its user may write."""
        return self._started(self._server(place), settings)

    def _started(self, server: Server, settings: Mapping[str, str]) -> Server:
        server.run("initdb", *INITDB_OPTIONS, "--no-sync")
        with (server.data / "postgresql.auto.conf").open("a") as file:
            file.writelines(
                f"{name} = '{value}'\n" for name, value in {**QUICK, **settings}.items()
            )
        server.start()
        execute(server.url("postgres"), f"CREATE DATABASE {DATABASE}")
        return server

    def standby(self, primary: Server) -> Server:
        """Start a streaming standby of the primary."""
        server = self._server()
        server.follow(primary)
        return server

    def _server(self, at: Path | None = None) -> Server:
        place = at or self.directory / f"server{len(self.made)}"
        self.made.append(Server(place, self._programs, self._account))
        return self.made[-1]


@contextmanager
def servers(programs: Path | None = None) -> Iterator[Servers]:
    """Lend servers that end with the block, and their data with them."""
    # Not among pytest's own directories, where other users have no right to go.
    directory = Path(tempfile.mkdtemp(prefix="kie-gateway-servers-"))
    LEASH.hold_directory(directory)
    found = embedded._programs()
    made = Servers(directory, programs or found[max(found)])
    try:
        yield made
    finally:
        for server in made.made:
            server.kill()
        shutil.rmtree(directory, ignore_errors=True)


def wait(condition: Callable[[], object], what: str) -> None:
    """Block until something is so; raises `AssertionError` after a minute."""
    deadline = time.monotonic() + START
    while True:
        try:
            if condition():
                return
        except (OSError, asyncpg.PostgresError):
            pass
        assert time.monotonic() < deadline, f"not within {START:.0f} s: {what}"
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
