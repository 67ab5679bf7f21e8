"""What the tests of whole processes stand on: our commands, started, stopped and killed by pid."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx
import psutil

from tests.gateway import SECRET
from tests.leash import LEASH
from tests.processes.forks import Forked, Forks
from tests.stage import eventually

PATIENCE = 60.0
"""Seconds that a process may take to start or to end while others keep the machine busy."""

KIE_API_KEY = "sk-not-to-be-shown"
LISTENING = re.compile(r"^(?=.*listening).*?(http://127\.0\.0\.1:\d+)", re.MULTILINE)
SECRETS = re.compile(
    r"(?:kgw_|whsec_)[\w+/=-]{12,}"  # keys and signing secrets
    r"|callbacks/kie/[\w-]+/(?!\[redacted\])[\w-]+"  # callback tokens
)
"""What no log may hold, whoever wrote it."""


def bare_environment() -> dict[str, str]:
    """Return this process's environment without any setting of ours, proxies left out."""
    ours = re.compile(r"(KIE_)?GATEWAY_|.*_PROXY$|COLUMNS$|FORCE_COLOR$", re.IGNORECASE)
    return {name: value for name, value in os.environ.items() if not ours.match(name)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A command that has run to its end."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def said(self, text: str, *, status: int) -> bool:
        """Tell whether it ended so with one clear line that has the text, and no traceback."""
        clear = "Traceback" not in self.err and len(self.err.strip().splitlines()) == 1
        return self.status == status and text in self.err and clear


@dataclass(frozen=True, slots=True)
class Running:
    """A process of ours under way, everything that it says in one file."""

    process: Process | Forked
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def said(self) -> str:
        return self.log.read_text()

    async def says(self, text: str) -> str:
        """Wait until the log has the text; returns the log."""

        async def look() -> str | None:
            said = self.said
            assert text in said or self.process.returncode is None, said
            return said if text in said else None

        return await eventually(look, PATIENCE)

    async def url(self) -> str:
        """Wait until it tells where it listens."""

        async def look() -> str | None:
            found = LISTENING.search(said := self.said)
            assert found or self.process.returncode is None, said
            return found[1] if found else None

        return await eventually(look, PATIENCE)

    async def ready(self) -> str:
        """Wait until it is fit for work; returns its URL."""
        url = await self.url()
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:

            async def look() -> bool | None:
                return (await http.get("/readyz")).is_success or None

            await eventually(look, PATIENCE)
        return url

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal and wait; returns the exit status."""
        if self.process.returncode is None:
            self.send(number)
        return await self.ended()

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()


FRESH = {"demo", "dev"}
"""Commands that import for themselves: what they start is looked for by what it was told."""

OF_TESTS = {
    "GATEWAY_ALLOW_UNSAFE_FSYNC": "true",  # as the tests' own server is
    "GATEWAY_CLIENT_REQUESTS_PER_SECOND": "100000",  # tests call as fast as they can
    "GATEWAY_CLIENT_STREAMS": "1000",
    "GATEWAY_CLIENT_WAITS": "1000",
}


@dataclass
class Stage:
    """Starts commands with the settings of these tests, and looks through their logs at the end."""

    directory: Path
    settings: Mapping[str, str]
    checkout: Path | None = None
    """Whose commands these are, run by the `.venv` in it where there is one; None: this one's."""
    forks: Forks | None = None
    """Starts all but `FRESH`; None: every process imports for itself."""
    secrets: set[str] = field(default_factory=lambda: {SECRET, KIE_API_KEY})
    """Values that no log may hold; tests add what they were given."""
    _started: int = 0

    @contextlib.asynccontextmanager
    async def running(self, *arguments: str, **changed: str | None) -> AsyncIterator[Running]:
        """Run a command for the length of the block; `changed` are settings, None leaves one out.

        Whatever still runs at the end is killed, so that a failing test leaves nothing behind.
        """
        self._started += 1
        log = self.directory / f"{self._started:03}-{arguments[0]}.log"
        with log.open("wb") as output, tempfile.TemporaryFile() as nothing:
            process = await self._process(
                "app.cli", arguments, self.environment(**changed), (nothing, output, output)
            )
        try:
            yield Running(process, log)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def run(self, *arguments: str, stdin: str = "", **changed: str | None) -> Ended:
        """Run a command to its end. What it says to stderr is looked through like a log."""
        return await self._run("app.cli", *arguments, stdin=stdin, **changed)

    async def run_each(
        self, commands: Sequence[Sequence[str]], **changed: str | None
    ) -> list[Ended]:
        """Run commands one after the other in one process."""
        given = json.dumps(commands)
        done = await self._run("tests.processes.several", stdin=given, **changed)
        assert done.status == 0, done
        ended = [Ended(**each) for each in done.json]
        self._keep("several", "".join(each.err for each in ended))
        return ended

    async def _run(self, module: str, *arguments: str, stdin: str, **changed: str | None) -> Ended:
        environment = self.environment(**{"GATEWAY_LOG_LEVEL": None, **changed})
        with contextlib.ExitStack() as closing:
            given, out, err = (closing.enter_context(tempfile.TemporaryFile()) for _ in range(3))
            given.write(stdin.encode())
            given.seek(0)
            process = await self._process(module, arguments, environment, (given, out, err))
            try:
                async with asyncio.timeout(PATIENCE):
                    status = await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            for written in (out, err):
                written.seek(0)
            said, complained = out.read().decode(), err.read().decode()
        self._keep(arguments[0] if arguments else module, complained)
        return Ended(status=status, out=said, err=complained)

    @property
    def _python(self) -> str:
        own = self.checkout / ".venv" / "bin" / "python" if self.checkout else None
        return str(own) if own and own.exists() else sys.executable

    async def _process(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        streams: tuple[IO[bytes], IO[bytes], IO[bytes]],
    ) -> Process | Forked:
        if self.forks and self.checkout is None and not FRESH.intersection(arguments[:1]):
            return await self.forks.start(module, arguments, environment, streams)
        given, out, err = streams
        process = await asyncio.create_subprocess_exec(
            *(self._python, "-m", module, *arguments),
            cwd=self.checkout,
            env=environment,
            stdin=given,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        LEASH.hold(process.pid)
        return process

    def _keep(self, name: str, err: str) -> None:
        self._started += 1
        (self.directory / f"{self._started:03}-{name}.log").write_text(err)

    def environment(self, **changed: str | None) -> dict[str, str]:
        given = {**bare_environment(), **OF_TESTS, **self.settings, **changed}
        if self.checkout is not None:
            given["PYTHONPATH"] = str(self.checkout)
        return {name: value for name, value in given.items() if value is not None}

    def leaks(self) -> list[str]:
        """Return every line of every log that holds a secret."""
        return [
            f"{log.name}: {line}"
            for log in sorted(self.directory.rglob("*.log"))
            for line in log.read_text(errors="replace").splitlines()
            if SECRETS.search(line) or any(secret in line for secret in self.secrets)
        ]


def left_behind(directory: Path) -> dict[int, str]:
    """Return the processes, pid to command, that work in the directory or were told of it."""
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        with contextlib.suppress(psutil.Error):
            known = (*(process.info["cmdline"] or ()), *process.environ().values(), process.cwd())
            if process.pid != os.getpid() and any(str(directory) in text for text in known):
                found[process.pid] = " ".join(process.info["cmdline"])
    return found


async def nothing_left(directory: Path) -> None:
    """Wait until no process works in the directory any more."""

    async def look() -> bool | None:
        return None if left_behind(directory) else True

    await eventually(look, PATIENCE)
