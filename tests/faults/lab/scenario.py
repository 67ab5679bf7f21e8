"""One run: tasks are created, called back, asked about and settled, while something dies."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx
from httpx import codes
from standardwebhooks import WebhookVerificationError
from typing_extensions import override

from tests.faults.lab.audit import FINAL, Evidence, Finding, Heard, Task, Told, audit
from tests.faults.lab.crew import Crew
from tests.faults.lab.kie import Kie
from tests.faults.lab.noise import TASKS, Noise
from tests.faults.lab.patience import until
from tests.faults.lab.points import Point
from tests.faults.lab.tables import Tables
from tests.services.callers import Answer, Caller
from tests.services.callers import Heard as Request

BODY: Mapping[str, Any] = {"model": "google/nano-banana", "input": {"prompt": "a cat"}}
CLEAN = "clean"
"""The group of runs in which the messages are recorded."""
_AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """What a run puts together; no point: nothing is killed, no faults: kie.ai behaves."""

    group: str
    replicas: int = 1
    tasks: int = 1
    point: Point | None = None
    faults: tuple[str, ...] = ()
    rates: Mapping[str, Any] = field(default_factory=dict)
    """Faults by chance, as the simulator takes them."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """The account's, as the simulator takes them."""

    title: str = ""
    """Its name within its group; none: what it is made of."""

    @property
    def is_noisy(self) -> bool:
        """Whether a noisy client is beside: not where messages are counted up to a kill."""
        return self.group != CLEAN and self.point is None

    @property
    def what(self) -> str:
        parts = (*self.faults, *([str(self.point)] if self.point else []))
        return self.title or " x ".join(parts) or "nothing"

    @override
    def __str__(self) -> str:
        return f"{self.group}: {self.what}; replicas {self.replicas}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a run."""

    combination: Combination
    findings: Sequence[Finding]
    states: Mapping[str, int]
    billed: int
    unconfirmed: int
    """Tasks that were unconfirmed for a time."""
    strikes: int
    told: int
    """Deliveries that callers heard of."""
    repeated: int
    """How often they heard one again."""
    seen: Sequence[Point]
    seconds: float

    @property
    def missed(self) -> bool:
        """Whether the run never came to the point where it was to be killed."""
        return self.combination.point is not None and self.strikes == 0

    @override
    def __str__(self) -> str:
        ended = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items()))
        return (
            f"{self.combination}: {ended}, billed {self.billed}, unconfirmed for a time "
            f"{self.unconfirmed}, told {self.told}, again {self.repeated}, "
            f"findings {len(self.findings)}, {self.seconds:.1f} s"
        )


@dataclass(frozen=True, slots=True)
class Answered:
    """What a caller got: unix seconds, and what it took; 0 is no answer."""

    what: str
    status: int
    at: float
    seconds: float


class Callers:
    """Create tasks as real callers do: a POST that was not answered is repeated with its key.

    One without a key is repeated by nobody.
    """

    def __init__(
        self, http: httpx.AsyncClient, webhook_url: str, some_alive: asyncio.Event
    ) -> None:
        self._http = http
        self._body = {**BODY, "webhook_url": webhook_url}
        self._some_alive = some_alive
        self.keys: list[str] = []
        self.told: list[Told] = []
        self.denied: list[str] = []
        self.unseen: list[str] = []
        self.answers: list[Answered] = []

    async def create(self, key: str) -> None:
        """Give up where nobody answers in time; the audit will tell."""
        self.keys.append(key)
        with contextlib.suppress(TimeoutError):
            self.told.append(await until(lambda: self._answer(key)))

    async def create_once(self, call: str) -> None:
        """Create without a key; the call's name is in its metadata."""
        told = await self._answer(call, keyed=False)
        if told:
            self.keys.append(call)
            self.told.append(told)

    async def read(self) -> None:
        """Read the newest task that was told of."""
        if not self.told:
            return
        task_id = self.told[-1].task_id
        answer = await self._ask("read", "GET", f"/v1/tasks/{task_id}")
        if answer and answer.status_code == codes.NOT_FOUND:
            self.unseen.append(task_id)

    async def _answer(self, key: str, *, keyed: bool = True) -> Told | None:
        await self._some_alive.wait()
        body = {**self._body, "metadata": {"call": key}}
        headers = {"Idempotency-Key": key} if keyed else {}
        what = "create with a key" if keyed else "create"
        answer = await self._ask(what, "POST", "/v1/tasks", json=body, headers=headers)
        if answer and answer.is_success:
            return Told(key=key, task_id=answer.json()["id"], status=answer.status_code)
        if answer and not keyed:
            self.denied.append(key)
        return None

    async def _ask(self, what: str, method: str, path: str, **rest: Any) -> httpx.Response | None:
        at, answer = time.time(), None
        with contextlib.suppress(httpx.TransportError):
            answer = await self._http.request(method, path, **rest)
        status = answer.status_code if answer else 0
        self.answers.append(Answered(what, status, at, time.time() - at))
        return answer


@dataclass(frozen=True, slots=True)
class Hooks:
    """Where the callers are told, and the secrets that they verify it with."""

    caller: Caller
    secrets: tuple[str, ...] = field(repr=False)
    _refused: list[Request] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.caller.answer = self._answer

    def _answer(self, request: Request) -> Answer:
        """Verify at once, as a caller does: a signature is too old after five minutes."""
        for secret in self.secrets:
            with contextlib.suppress(WebhookVerificationError):
                if request.verified_by(secret):
                    return 200, {}
        self._refused.append(request)
        return 401, {}

    def heard(self, ids: Collection[str]) -> list[Heard]:
        """Return what was told of these tasks."""
        return [
            Heard(
                webhook_id=each.id,
                task_id=each.json["data"]["id"],
                event=each.event,
                body=each.body,
                verified=each not in self._refused,
            )
            for each in self.caller.heard
            if each.json["data"]["id"] in ids
        ]


class Scenario:
    """Plays runs with one crew, one simulator, one database and one webhook receiver."""

    def __init__(
        self,
        crew: Crew,
        kie: Kie,
        tables: Tables,
        http: httpx.AsyncClient,
        hooks: Hooks,
        noise: Noise,
    ) -> None:
        self.crew = crew
        self.kie = kie
        self.tables = tables
        self._http = http
        self._hooks = hooks
        self.noise = noise
        self._runs = 0

    async def run(self, combination: Combination) -> Result:
        """Play it to its end; what dies is replaced at once."""

        async def create(callers: Callers, prefix: str) -> None:
            keys = [f"{prefix}{number}" for number in range(combination.tasks)]
            await asyncio.gather(*(callers.create(key) for key in keys))

        return await self.play(combination, create)

    async def play(
        self, combination: Combination, load: Callable[[Callers, str], Awaitable[None]]
    ) -> Result:
        started = time.monotonic()
        await self.crew.fill(combination.replicas)
        await self.tables.let_an_hour_pass()
        tasks = combination.tasks + (TASKS if combination.is_noisy else 0)
        await self.kie.begin(combination.faults, tasks, combination.rates, combination.limits)
        self._runs += 1
        run = f"run {self._runs} "
        prefix = f"{run}task "
        self.noise.begin(f"{run}noise ", self.crew.webhook_url)
        self.crew.watch.begin(combination.point)
        self._hooks.caller.heard.clear()
        callers = Callers(self._http, self.crew.webhook_url, self.crew.some_alive)
        over = asyncio.Event()
        replacing = asyncio.create_task(self._replace(combination.replicas, over))
        try:
            async with self.noise.made() if combination.is_noisy else contextlib.nullcontext():
                await load(callers, prefix)
                with contextlib.suppress(TimeoutError):  # the audit will tell
                    await until(lambda: self._rests(prefix, noisy=combination.is_noisy))
            if combination.is_noisy:
                with contextlib.suppress(TimeoutError):
                    await until(lambda: self._rests(run))
        finally:
            over.set()
            self.crew.watch.struck.set()
            await replacing
        return await self._judged(combination, callers, run, time.monotonic() - started)

    async def _replace(self, replicas: int, over: asyncio.Event) -> None:
        """Replace whoever dies, until it is over."""
        struck = self.crew.watch.struck
        while not over.is_set():
            await struck.wait()
            struck.clear()
            for replica in [each for each in self.crew.replicas if not each.alive]:
                await self.crew.bury(replica)
            if not self.crew.living:
                await self.tables.free_all_leases()
            await self.crew.fill(replicas)

    async def _rests(self, prefix: str, *, noisy: bool = False) -> bool | None:
        """Hasten everything; tell whether every task rests, owed no look, and its caller knows.

        `noisy`: and whether the noisy client will create nothing new.
        """
        try:
            await self.tables.hasten()
            tasks = await self.tables.read(prefix)
            put_out = await self.tables.deliveries([task.id for task in tasks])
            lost = [task.id for task in tasks if task.state == "unconfirmed"]
            if lost:
                await self.tables.lapse((await self.kie.known()).hopeless(lost))
        except _AWAY:
            return None
        is_told = all(delivery.state != "pending" for delivery in put_out)
        is_done = self.noise.is_done or not noisy
        return (is_done and is_told and all(_rests(task) for task in tasks)) or None

    async def _judged(
        self, combination: Combination, callers: Callers, prefix: str, seconds: float
    ) -> Result:
        known = await self.kie.known()  # first: what it knows by now must stand in the tables
        tasks = await self.tables.read(prefix)
        ids = {task.id for task in tasks}
        deliveries = await self.tables.deliveries([*ids])
        heard = self._hooks.heard(ids)  # last: what counts as delivered must have been heard
        watch = self.crew.watch
        unread = {task.id for task in tasks if task.id not in watch.answered and known.unread}
        evidence = Evidence(
            keys=callers.keys,
            told=[*callers.told, *self.noise.told.values()],
            denied=callers.denied,
            unseen=callers.unseen,
            tasks=tasks,
            bills=known.bills,
            strikes=watch.strikes,
            answered=watch.answered,
            muddled=known.muddled | unread,
            refused_for_limits=known.refused_for_limits,
            deliveries=deliveries,
            heard=heard,
            kept=await self.tables.kept([*ids]),
        )
        told = {each.webhook_id for each in heard}
        return Result(
            combination=combination,
            findings=audit(evidence),
            states=Counter(task.state for task in tasks),
            billed=len(known.bills),
            unconfirmed=sum(_was_unconfirmed(task) for task in tasks),
            strikes=len(watch.strikes),
            told=len(told),
            repeated=len(heard) - len(told),
            seen=list(watch.seen),
            seconds=seconds,
        )


def _rests(task: Task) -> bool:
    return task.state in FINAL and (task.state == "expired" or not task.owes)


def _was_unconfirmed(task: Task) -> bool:
    return any(move.target == "unconfirmed" for move in task.moves)
