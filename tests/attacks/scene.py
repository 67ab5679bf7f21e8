"""A gateway under attack, and those who look on: `/livez`, a well-behaved client, its memory."""

import asyncio
import contextlib
import json
import re
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
from httpx import codes

from tests.attacks.attack import Attack, Target, pause
from tests.leash import LEASH
from tests.postgres import Server, servers
from tests.processes.nginx import free_ports
from tests.processes.stage import OF_TESTS, Stage
from tests.stage import eventually

BODY = {"model": "google/nano-banana", "input": {"prompt": "a cat"}}
ROOT = Path(__file__).parents[2]
QUIET = 4.0
"""Seconds of quiet before each attack: what its figures are compared with."""
PATIENCE = 10.0
"""Seconds after which an answer counts as none."""
LATE = 2.0
"""Seconds of waiting that count, although the webhook has not come when the attack is over."""
LONGEST = 90.0
"""Seconds that an attack may take."""
ADMIN_KEY = "adm-7Qd3VvWq0bY2kZs9"
SECRET = "nR4xT8uJ2mW6cL0pF5sH"


@dataclass(slots=True)
class Seen:
    """What the lookers-on saw in one stretch of time; durations in seconds."""

    livez: list[float] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)
    creates: list[float] = field(default_factory=list)
    webhooks: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    late: dict[str, float] = field(default_factory=dict)
    """By the gateway's loops: by how much longer than its period one took to come round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What came of an attack."""

    name: str
    answered: str
    seconds: float
    livez_worst: float
    read_p95: float
    read_p95_quiet: float
    webhook_p95: float
    webhook_p95_quiet: float
    errors: int
    memory: float
    """Megabytes by which the process grew."""
    database: float
    """Megabytes by which the database grew."""
    rows: int
    """Callbacks, tasks and deliveries that came to be, of everybody."""
    queries: int
    """Questions to kie.ai in that time, of everybody."""
    loops_late: float | None = None
    """Seconds by which the latest of the gateway's own loops was late; None: was not measured."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def p95(values: Sequence[float]) -> float:
    if not values:
        return float("inf")
    return quantiles(values, n=20)[-1] if len(values) > 1 else values[0]


@dataclass(kw_only=True)
class Scene:
    """The processes, the well-behaved client, and where they are."""

    server: Server
    gateway: psutil.Process
    target: Target
    victim: httpx.AsyncClient
    hook: str
    """Where the victim is notified."""
    heard: dict[str, float]
    """When the victim was notified of its tasks."""
    task_id: str
    """A task of the victim's that it reads."""

    @contextlib.asynccontextmanager
    async def looked_at(self) -> AsyncIterator[Seen]:
        """Have everybody look on for the length of the block."""
        seen = Seen()
        lookers = [
            *(self._livez(seen), self._reads(seen), self._creates(seen)),
            self._loops(seen),
        ]
        looking = [asyncio.create_task(looker) for looker in lookers]
        try:
            yield seen
        finally:
            for one in looking:
                one.cancel()
            await asyncio.gather(*looking, return_exceptions=True)

    async def _livez(self, seen: Seen) -> None:
        while True:
            started = time.monotonic()
            if not await _answers(self.target.url):
                seen.errors.append("/livez")
            seen.livez.append(time.monotonic() - started)
            await pause(0.1)

    async def _loops(self, seen: Seen) -> None:
        async with httpx.AsyncClient(
            base_url=self.target.url, timeout=PATIENCE, trust_env=False
        ) as http:
            while True:
                answer = None
                started = time.monotonic()
                with contextlib.suppress(httpx.HTTPError):
                    answer = await http.get("/metrics")
                waited = time.monotonic() - started
                silent = _SILENT.findall(answer.text if answer else "")
                for loop, seconds in silent:
                    late = float(seconds) - PERIODS.get(loop, 5.0)
                    seen.late[loop] = max(seen.late.get(loop, 0.0), late)
                if not silent:  # who does not even say is as late, at least
                    seen.late["metrics"] = max(seen.late.get("metrics", 0.0), waited)
                await pause(1)

    async def _reads(self, seen: Seen) -> None:
        while True:
            await self._timed(seen.reads, seen, self.victim.get(f"/v1/tasks/{self.task_id}"))
            await pause(0.05)

    async def _creates(self, seen: Seen) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._create(seen))
                await pause(0.5)

    async def _create(self, seen: Seen) -> None:
        body = {**BODY, "webhook_url": self.hook}
        answer = await self._timed(seen.creates, seen, self.victim.post("/v1/tasks", json=body))
        if answer is None:
            return
        created, task_id = time.monotonic(), answer.json()["id"]
        try:
            heard = await eventually(lambda: _looked_up(self.heard, task_id), LONGEST)
        except asyncio.CancelledError:
            waited = time.monotonic() - created
            if waited > LATE:  # so long at least
                seen.webhooks.append(waited)
            raise
        seen.webhooks.append(heard - created)

    async def _timed(
        self, into: list[float], seen: Seen, request: Awaitable[httpx.Response]
    ) -> httpx.Response | None:
        started = time.monotonic()
        answer = None
        with contextlib.suppress(httpx.HTTPError):
            answer = await request
        into.append(time.monotonic() - started)
        if answer is not None and answer.is_success:
            return answer
        seen.errors.append("none" if answer is None else str(answer.status_code))
        return None


PERIODS = {"submit": 1.0, "poll": 1.0, "deliver": 1.0, "number": 1.0}
"""Seconds between a loop's turns (app/worker.py); the others have five."""
_SILENT = re.compile(r'^kie_gateway_loop_silent_seconds\{loop="(\w+)"\} (\S+)', re.MULTILINE)


async def _looked_up(heard: Mapping[str, float], task_id: str) -> float | None:
    return heard.get(task_id)


async def _answers(url: str) -> bool:
    """Ask for `/livez` on a connection of its own."""
    parts = urlsplit(url)
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            try:
                writer.write(b"GET /livez HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    return False


# -- from the beginning to the figures


async def play(attack: Attack, checkout: Path) -> Figures:
    """Make the attack on the gateway of a checkout; raises `AssertionError` where it cannot be."""
    with servers() as make, tempfile.TemporaryDirectory(prefix="kie-gateway-attack-") as place:
        LEASH.hold_directory(Path(place))
        server = await asyncio.to_thread(make.new, fsync="on")
        async with _staged(attack, server, checkout, Path(place)) as scene:
            return await _measured(attack, scene)


async def _measured(attack: Attack, scene: Scene) -> Figures:
    facts = await attack.prepare(scene.target)
    target = Target(**{**scene.target.as_json(), "facts": dict(facts)})
    async with scene.looked_at() as quiet:
        await pause(QUIET)
    before = await _counts(scene)
    memory = scene.gateway.memory_info().rss
    started = time.monotonic()
    async with scene.looked_at() as seen, _highest(scene.gateway) as peak:
        answered = await _attacked(attack, target)
        seconds = time.monotonic() - started
        await pause(max(0.0, QUIET - seconds))  # what is short may be felt later
    after = await _counts(scene)
    return Figures(
        name=attack.name,
        answered=answered,
        seconds=seconds,
        livez_worst=max(seen.livez),
        read_p95=p95(seen.reads),
        read_p95_quiet=p95(quiet.reads),
        webhook_p95=p95(seen.webhooks),
        webhook_p95_quiet=p95(quiet.webhooks),
        errors=len(seen.errors),
        memory=(max(peak) - memory) / 1e6,
        database=(after["bytes"] - before["bytes"]) / 1e6,
        rows=after["rows"] - before["rows"],
        queries=after["queries"] - before["queries"],
        loops_late=max(seen.late.values(), default=None),
    )


async def _attacked(attack: Attack, target: Target) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.attacks.attacker", attack.name),
        cwd=ROOT,
        stdin=PIPE,
        stdout=PIPE,
        start_new_session=True,
    )
    LEASH.hold(process.pid)
    try:
        async with asyncio.timeout(LONGEST):
            out, _ = await process.communicate(json.dumps(target.as_json()).encode())
    except TimeoutError:
        return f"not done in {LONGEST:g} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, "the attacker broke down"
    return out.decode().strip()


@contextlib.asynccontextmanager
async def _highest(process: psutil.Process) -> AsyncIterator[list[int]]:
    """Lend what the process's memory was, each 50 ms."""
    found = [process.memory_info().rss]

    async def look() -> None:
        while True:
            found.append(process.memory_info().rss)
            await pause(0.05)

    looking = asyncio.create_task(look())
    try:
        yield found
    finally:
        looking.cancel()


_ROWS = (
    "SELECT (SELECT count(*) FROM callbacks) + (SELECT count(*) FROM tasks)"
    " + (SELECT count(*) FROM deliveries)"
)
_BYTES = "SELECT pg_database_size(current_database())"


async def _counts(scene: Scene) -> dict[str, int]:
    async with httpx.AsyncClient(base_url=scene.target.kie, trust_env=False) as kie:
        queries = len((await kie.get("/simulator/queries")).json()["data"])
    return {
        "rows": await asyncio.to_thread(scene.server.fetch, _ROWS),
        "bytes": await asyncio.to_thread(scene.server.fetch, _BYTES),
        "queries": queries,
    }


# -- the processes


AS_SHIPPED: Mapping[str, str | None] = dict.fromkeys(OF_TESTS)
"""What the tests of processes set is left out: limits are as shipped, and the server is safe."""


@contextlib.asynccontextmanager
async def _staged(
    attack: Attack, server: Server, checkout: Path, place: Path
) -> AsyncIterator[Scene]:
    async with contextlib.AsyncExitStack() as ending:
        heard: dict[str, float] = {}
        hook = await ending.enter_async_context(_hooked(heard))
        simulated = Stage(place, {}).running(*_SIMULATOR)
        simulator = await (await ending.enter_async_context(simulated)).url()
        (port,) = free_ports(1)
        stage = Stage(place, _settings(attack, server.dsn, simulator, port), checkout)
        await _ran(stage, "migrate")
        served = stage.running("serve", "--host", "127.0.0.1", "--port", str(port), **AS_SHIPPED)
        gateway = await ending.enter_async_context(served)
        url = await gateway.ready()
        noisy, quiet = [
            json.loads(await _ran(stage, "keys", "create", name, "--json"))["api_key"]
            for name in ("noisy", "victim")
        ]
        victim = await ending.enter_async_context(
            httpx.AsyncClient(
                base_url=url,
                headers={"Authorization": f"Bearer {quiet}"},
                timeout=PATIENCE,
                trust_env=False,
            )
        )
        created = await victim.post("/v1/tasks", json=BODY)
        assert created.status_code == codes.CREATED, created.text
        yield Scene(
            server=server,
            gateway=psutil.Process(gateway.pid),
            target=Target(
                url=url,
                kie=simulator,
                admin_key=ADMIN_KEY,
                api_key=noisy,
                dsn=server.dsn,
                hook=hook,
            ),
            victim=victim,
            hook=hook,
            heard=heard,
            task_id=created.json()["id"],
        )


def _settings(attack: Attack, dsn: str, simulator: str, port: int) -> dict[str, str]:
    return {
        "GATEWAY_DATABASE_URL": dsn,
        "GATEWAY_SECRET_KEYS": json.dumps([SECRET]),
        "GATEWAY_ADMIN_KEY": ADMIN_KEY,
        "GATEWAY_KIE_API_KEY": "sk-simulator",
        "GATEWAY_KIE_BASE_URL": simulator,
        "GATEWAY_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "GATEWAY_KIE_CREATES_PER_10S": "1000",
        "GATEWAY_KIE_MAX_RUNNING": "1000",
        "GATEWAY_DELIVERY_ALLOW_LOOPBACK": "true",
        **attack.settings,
    }


_SIMULATOR = ("simulator", "--host", "127.0.0.1", "--port", "0", "--duration", "0.5")


async def _ran(stage: Stage, *arguments: str) -> str:
    ended = await stage.run(*arguments, stdin="", **AS_SHIPPED)
    assert ended.status == 0, ended.err
    return ended.out


@contextlib.asynccontextmanager
async def _hooked(heard: dict[str, float]) -> AsyncIterator[str]:
    """Receive the victim's webhooks, and note when each task's came first.

    At the path `/after-N` somebody else is notified, and answers after N seconds.
    """

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ValueError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                body = json.loads(await reader.readexactly(length))
                after = head.split(b" ", 2)[1].partition(b"/after-")[2]
                if after:
                    await pause(float(after))
                heard.setdefault(body["data"]["id"], time.monotonic())
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    listener = await asyncio.start_server(receive, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/hook"
    finally:
        listener.close()
