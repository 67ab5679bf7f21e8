"""One drill: two processes work for callers, something happens to the database, all is audited.

The load, the simulator, the lines and the audit are the fault lab's. What is measured is measured
before the lab hastens anything: the gateway has had nobody's help by then.
"""

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

import httpx

from tests import postgres
from tests.faults.database.events import Event
from tests.faults.database.grounds import Ground
from tests.faults.lab.lab import Lab, laboratory
from tests.faults.lab.outages import PATIENT, RATES
from tests.faults.lab.patience import passed
from tests.faults.lab.points import Strike
from tests.faults.lab.scenario import Answered, Callers, Combination, Result
from tests.stage import eventually

BOUND = 60.0
"""Seconds within which work has to go on by itself: promise 10."""
GROUP = "events of the database"
REPLICAS = 2
WARM, COOL = 3.0, 3.0
"""Seconds of load before the event, and after work has gone on."""
PAUSE = 0.3
"""Seconds between two calls of a caller."""
KEYED, KEYLESS, READING = 5, 5, 2
"""Callers of each kind."""
SLOW = 3.0
"""Seconds; an answer that took as long was held up."""
PROBE = 0.25
"""Seconds between two looks at `/readyz`."""
PATIENCE_OF_A_PROBE = 3.0
DEFECTS = tuple(
    f'"event": "{event}"'
    for event in (
        *("loop.broken", "poll.broken", "errand.broken", "request.broken"),
        *("outcome.dropped", "task.paid_twice"),
    )
)
"""What the log says of errors that nobody expected."""


@dataclass(kw_only=True)
class Seen:
    """What is seen from outside, from the beginning of the event until work goes on.

    What was asked in that time counts, whenever it was answered.
    """

    answers: Sequence[Answered] = ()
    readiness: Counter[str] = field(default_factory=Counter)
    """Statuses of `/readyz`, of all processes; `silent` is none in 3 s."""
    skew: float = 0.0
    """Seconds by which a process's own `Date` was off."""
    paused: float = 0.0
    """Seconds of the event, at one time, in which no create reached kie.ai."""
    resumed: float | None = None
    """Seconds from the end of the event until the next create reached kie.ai."""
    ready: float | None = None
    """Seconds from the end until every process was ready."""

    @property
    def statuses(self) -> Mapping[str, Counter[int]]:
        """Count the answers by what was asked and by status; 0 is none."""
        found: dict[str, Counter[int]] = {}
        for each in self.answers:
            found.setdefault(each.what, Counter())[each.status] += 1
        return found

    @property
    def slowest(self) -> float:
        return max((each.seconds for each in self.answers), default=0.0)

    @property
    def is_felt(self) -> bool:
        """Whether the event was to be noticed at all."""
        refused = any(each.status not in {200, 201} for each in self.answers)
        unready = set(self.readiness) - {"200"}
        held_up = max(self.slowest, self.paused) >= SLOW
        return refused or bool(unready) or held_up or self.skew >= BOUND


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    event: Event
    seen: Seen
    result: Result
    logged: Sequence[str]
    """Lines of logs that should not be there: they hold a secret, or tell of a defect."""


async def drill(event: Event, seed: int = 0) -> Outcome:
    """Play an event; raises `NotHereError` where the machine lacks what it takes."""
    seen = Seen()
    with postgres.servers() as make:
        async with event.stand(make) as ground, _laboratory(ground, seed) as lab:
            ground.crew = lab.scenario.crew
            combination = Combination(
                group=GROUP, replicas=REPLICAS, rates=RATES, title=event.title
            )
            result = await lab.scenario.play(combination, _load(event, ground, lab, seen))
            logged = await asyncio.to_thread(_logged, lab)
    return Outcome(event=event, seen=seen, result=result, logged=logged)


def _logged(lab: Lab) -> list[str]:
    lines = (
        line
        for log in sorted(lab.stage.directory.glob("*.log"))
        for line in log.read_text(errors="replace").splitlines()
    )
    return [*lab.stage.leaks(), *(line for line in lines if any(each in line for each in DEFECTS))]


def _laboratory(ground: Ground, seed: int) -> contextlib.AbstractAsyncContextManager[Lab]:
    return laboratory(ground.dsn, seed=seed, via=ground.via, **{**PATIENT, **ground.settings})


Load = Callable[[Callers, str], Awaitable[None]]


def _load(event: Event, ground: Ground, lab: Lab, seen: Seen) -> Load:
    async def load(callers: Callers, prefix: str) -> None:
        async with _calling(callers, prefix):
            await passed(WARM)
            begun = time.time()
            async with _probing(ground, seen) as probes:
                async with event.trouble(ground):
                    await passed(event.seconds)
                ended = time.time()
                _note(event, ground, begun, ended)
                seen.paused = await lab.scenario.kie.longest_pause(begun, ended)
                with contextlib.suppress(TimeoutError):
                    seen.resumed = await _resumed(lab, ended)
                    seen.ready = await _ready(probes, ended)
            resumed = time.time()
            await passed(COOL)
        asked = (each for each in callers.answers if each.at <= resumed)
        seen.answers = [each for each in asked if each.at + each.seconds >= begun]

    return load


@contextlib.asynccontextmanager
async def _calling(callers: Callers, prefix: str) -> AsyncIterator[None]:
    """Call for the length of the block, and let the last calls end."""
    over = asyncio.Event()

    async def call(name: str, ask: Callable[[str], Awaitable[None]]) -> None:
        for number in itertools.count():
            await ask(f"{prefix}{name}-{number}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PAUSE):
                    await over.wait()
            if over.is_set():
                return

    kinds = (
        ("keyed", KEYED, callers.create),
        ("keyless", KEYLESS, callers.create_once),
        ("reading", READING, lambda _: callers.read()),
    )
    calling = [
        asyncio.create_task(call(f"{name}{number}", ask))
        for name, count, ask in kinds
        for number in range(count)
    ]
    try:
        yield
    finally:
        over.set()
        await asyncio.gather(*calling)


@dataclass
class Probes:
    """When each process was last seen otherwise than ready; unix seconds."""

    unready_at: dict[str, float] = field(default_factory=dict)
    ready_at: dict[str, float] = field(default_factory=dict)


@contextlib.asynccontextmanager
async def _probing(ground: Ground, seen: Seen) -> AsyncIterator[Probes]:
    """Look at the readiness of each process for the length of the block."""
    probes = Probes()

    async def probe(http: httpx.AsyncClient) -> None:
        status = "silent"
        with contextlib.suppress(httpx.TransportError):
            answer = await http.get("/readyz")
            status = str(answer.status_code)
            off = parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time()
            seen.skew = max(seen.skew, abs(off))
        seen.readiness[status] += 1
        found = probes.ready_at if status == "200" else probes.unready_at
        found[str(http.base_url)] = time.time()

    async def watch(address: tuple[str, int]) -> None:
        base = f"http://{address[0]}:{address[1]}"
        async with httpx.AsyncClient(
            base_url=base, trust_env=False, timeout=PATIENCE_OF_A_PROBE
        ) as http:
            while True:
                await probe(http)
                await passed(PROBE)

    watching = [asyncio.create_task(watch(each.address)) for each in ground.members.living]
    try:
        yield probes
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)


async def _resumed(lab: Lab, ended: float) -> float:
    """Return the seconds until kie.ai was sent a create."""

    async def look() -> float | None:
        return await lab.scenario.kie.next_create(ended)

    return await eventually(look, BOUND) - ended


async def _ready(probes: Probes, ended: float) -> float:
    """Return the seconds until the last process was ready, and stayed so."""

    async def look() -> float | None:
        unready = probes.unready_at
        now = [probes.ready_at.get(each, 0) > unready.get(each, 0) for each in probes.ready_at]
        if len(now) < REPLICAS or not all(now) or min(probes.ready_at.values()) < ended:
            return None
        return max([ended, *unready.values()])

    return await eventually(look, BOUND) - ended


def _note(event: Event, ground: Ground, begun: float, ended: float) -> None:
    """Tell the audit: in this time, an outcome may have become unknown.

    Not for a process that had an answer in hand, unless it could not record it within its lease.
    """
    strikes = ground.members.watch.strikes
    strikes.append(Strike(at=begun, until=ended))
    if event.outlasts_leases:
        strikes += [
            Strike(at=begun, until=ended, pid=replica.pid, is_death=False)
            for replica in ground.members.living
        ]
