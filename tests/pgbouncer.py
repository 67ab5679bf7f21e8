"""A PgBouncer of a test's own, in transaction mode before a server of its own."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tests.postgres import wait

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
NEEDED = "PgBouncer is not installed (Debian's package: pgbouncer)"

_CONFIGURATION = """\
[databases]
* = host={host} port={port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 8
server_check_delay = 1
logfile = {directory}/log
"""


class Pooler:
    """One process, started again on the same port."""

    def __init__(self, server: str, directory: Path) -> None:
        """`server`: the URL of a server on TCP."""
        parts = urlsplit(server)
        self.server = server
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
        self.dsn = f"postgresql://postgres@127.0.0.1:{self.port}{parts.path}"
        self._settings = directory / "pgbouncer.ini"
        self._settings.write_text(
            _CONFIGURATION.format(
                host=parts.hostname, port=parts.port, own=self.port, directory=directory
            )
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root
        self._process = subprocess.Popen(  # noqa: S603  # a program of Debian's, no shell
            [PROGRAM or "pgbouncer", "-q", self._settings],
            user=user,
            group=None if user is None else pwd.getpwnam(user).pw_gid,
            extra_groups=[] if user else None,
        )
        wait(self._listens, "PgBouncer listens")

    def stop(self) -> None:
        """End it at once, and every connection with it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()
            self._process = None

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


@contextlib.contextmanager
def pooling(server: str) -> Iterator[Pooler]:
    """Lend a pooler before the server, started."""
    directory = Path(tempfile.mkdtemp(prefix="kie-gateway-pgbouncer-"))
    directory.chmod(0o777)  # written by another user, and gone with the test
    pooler = Pooler(server, directory)
    try:
        pooler.start()
        yield pooler
    finally:
        pooler.stop()
        shutil.rmtree(directory, ignore_errors=True)
