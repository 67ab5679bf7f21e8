"""A kie.ai in which every answer waits to be decided, and processes that can die: for any order."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast
from uuid import UUID

import aiohttp
import asyncpg
import httpx

from app.config import Settings
from app.domain.draft import Draft
from app.outbound.connections import session
from app.outbound.guard import Guard
from app.services.services import Services
from app.store.connections.engine import Pools
from app.store.signals import Signals
from app.wiring import Outside, build
from tests.database import emptied
from tests.stage import eventually
from tests.upstream import failed, running, succeeded

T = TypeVar("T")

DRAFT = Draft(
    model="a-model", input={}, metadata={}, webhook_url=None, priority=5, submit_within=None
)

SHIFTED: Mapping[str, tuple[str, ...]] = {
    "tasks": (
        *("created_at", "submit_by", "submitted_at", "finished_at", "due_at", "leased_until"),
        *("expires_at", "poll_asap_since", "held_since", "unreached_since"),
    ),
    "kie_slots": ("free_at", "taken_at"),
    "kie_account": (
        *("held_since", "held_at", "held_until", "probed_at", "throttled_at", "succeeded_at"),
        *("changed_at", "restored_at", "move_expected_until"),
    ),
    "kie_breakers": ("held_since", "held_at", "held_until", "updated_at"),
}
"""Every instant that a rule compares with the clock: time passes by shifting them."""

_PASS = "; ".join(
    f"UPDATE {table} SET "  # noqa: S608  # our own names
    + ", ".join(f"{name} = {name} - make_interval(secs => {{0}})" for name in names)
    for table, names in SHIFTED.items()
)


@dataclass
class Send:
    """A create that is under way: its answer is a test's to give."""

    task_id: UUID
    path: str
    """Where its callbacks go."""
    process: int
    answer: "asyncio.Future[httpx.Response]"
    taken: "Billed | None" = None
    """kie.ai has it, whatever the answer will be."""


@dataclass
class Billed:
    """A create that kie.ai took."""

    kie_task_id: str
    task_id: UUID
    path: str
    end: str = "running"

    @property
    def record(self) -> dict[str, Any]:
        make = {"running": running, "succeeded": succeeded, "failed": failed}
        envelope = make[self.end](self.kie_task_id)
        envelope["data"]["param"] = json.dumps({"callBackUrl": self.path})
        return envelope


@dataclass
class World:
    """kie.ai, the database, and one gateway process at a time."""

    settings: Settings
    dsn: str
    sends: list[Send] = field(default_factory=list)
    billed: list[Billed] = field(default_factory=list)
    silent: bool = False
    """Queries are not answered."""
    process: int = 0
    client_id: UUID = field(default_factory=lambda: UUID(int=1))
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def open(self) -> None:
        self.sql = await asyncpg.connect(self.dsn)
        await self.start()
        await self.services.keys.create("tests")
        self.client_id = await self.sql.fetchval("SELECT id FROM clients")

    async def close(self) -> None:
        await self.die(restart=False)
        await emptied(self.sql)
        await self.sql.close()

    async def start(self) -> None:
        """Start a process."""
        self.process += 1
        self._stack = AsyncExitStack()
        pools = Pools.of(self.dsn, 5)
        self._stack.push_async_callback(pools.dispose)
        http = cast(aiohttp.ClientSession, _Session(self, self.process))
        callers = await self._stack.enter_async_context(
            session(Guard(allow_loopback=False, blocked=()), connect=1.0)
        )
        self.services: Services = build(
            self.settings,
            pools,
            Signals(self.dsn),
            Outside(kie=http, callers=callers, uploading=callers, fetching=callers),
            time.monotonic,
        )

    async def die(self, *, restart: bool = True) -> None:
        """End the process where it stands: nothing that it was about to do is done."""
        work = [*self._under_way("submitter"), *self._under_way("poller")]
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await self._stack.aclose()
        for send in self.sends:
            send.answer.cancel()
        if restart:
            await self.start()

    async def passes(self, seconds: float) -> None:
        await self.sql.execute(_PASS.format(seconds))

    async def submit(self) -> None:
        await self.services.submitter.submit_due(50)
        await self.quiet()

    async def ask(self) -> None:
        await self.services.poller.poll_due()
        await self.quiet()

    async def create(self) -> None:
        await self.services.creates.create(self.client_id, DRAFT, None)
        await self.quiet()

    async def quiet(self) -> None:
        """Wait until all that is under way waits for an answer of kie.ai's."""

        async def look() -> bool | None:
            asking, sending = self._under_way("poller"), self._under_way("submitter")
            return (not asking and len(sending) == len(self.waiting())) or None

        await eventually(look)

    def waiting(self) -> list[Send]:
        return [
            send for send in self.sends if send.process == self.process and not send.answer.done()
        ]

    async def answer(self, send: Send, give: "Callable[[Send], httpx.Response]") -> None:
        """Answer a create."""
        try:
            send.answer.set_result(give(send))
        except aiohttp.ClientError as error:
            send.answer.set_exception(error)
        await self.quiet()

    def bill(self, send: Send) -> Billed:
        taken = Billed(f"{len(self.billed):032x}", send.task_id, send.path)
        self.billed.append(taken)
        send.taken = taken
        return taken

    async def call_back(self, taken: Billed, body: Mapping[str, Any]) -> None:
        await self.services.receiver.receive(taken.task_id, json.dumps(body).encode(), {})

    async def rows(self) -> list[dict[str, Any]]:
        found = await self.sql.fetch("SELECT * FROM tasks ORDER BY id")
        return [dict(row) for row in found]

    def _under_way(self, service: str) -> "list[asyncio.Task[None]]":
        return list(getattr(self.services, service)._in_flight._under_way)


class _Answer:
    """What KieClient reads of an answer; its body has yet to come, as over a network."""

    def __init__(self, answer: httpx.Response) -> None:
        self.status = answer.status_code
        self.headers: Mapping[str, str] = {}
        self.content = self
        self._body = answer.content

    async def iter_any(self) -> AsyncIterator[bytes]:
        yield self._body


class _Session:
    """kie.ai as one process reaches it."""

    def __init__(self, world: World, process: int) -> None:
        self._world = world
        self._process = process

    @asynccontextmanager
    async def request(
        self, method: str, url: str, *, data: bytes | None, params: Any, **_: object
    ) -> AsyncIterator[_Answer]:
        if method == "POST":
            yield _Answer(await self._create(data or b""))
        elif "chat/credit" in url:
            yield _Answer(httpx.Response(200, json={"code": 200, "msg": "success", "data": 10}))
        else:
            yield _Answer(self._record(params["taskId"]))

    async def _create(self, body: bytes) -> httpx.Response:
        url = json.loads(body)["callBackUrl"]
        task_id = UUID(url.split("/callbacks/kie/")[1].split("/")[0])
        answer: asyncio.Future[httpx.Response] = asyncio.get_running_loop().create_future()
        self._world.sends.append(Send(task_id, url, self._process, answer))
        return await answer

    def _record(self, kie_task_id: str) -> httpx.Response:
        if self._world.silent:
            raise TimeoutError(kie_task_id)
        found = [one for one in self._world.billed if one.kie_task_id == kie_task_id]
        return httpx.Response(200, json=found[0].record)


def run(loop: asyncio.AbstractEventLoop, work: Awaitable[T]) -> T:
    return loop.run_until_complete(asyncio.wait_for(work, 30))
