"""The heartbeat: what this process remembers of the database, and what it says of itself.

It judges whether PostgreSQL has lost commits (see `domain.restore`), and finds processes that have
other settings. Until its first beat, and wherever the database is not the one that was accepted,
nothing is admitted.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from app.domain.audit import Action
from app.domain.errors import DatabaseUnavailableError
from app.domain.replicas import CLOCK_TOLERANCE, Fingerprints, differing
from app.domain.restore import (
    AWAITED,
    BEAT_EVERY,
    Change,
    Incarnation,
    Memory,
    Sight,
    Verdict,
    change,
    judge,
    memory,
)
from app.metrics import Metrics
from app.services.consequences import Consequences, Transact
from app.store.account import processes, witness
from app.store.account.admission import Locked
from app.store.account.witness import Readable, Seen
from app.store.clients import audit
from app.store.connections.engine import Connection, Database, Row
from app.store.signals import QUEUE

PATIENCE = 5.0
"""Seconds for which one beat is tried."""

AGAIN = 1.0
"""Seconds until the next beat after one that failed, or while the database is being judged."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Self:
    """What this process says of itself."""

    id: UUID
    version: str
    started_at: datetime
    fingerprints: Fingerprints


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What one beat saw, and what followed."""

    seen: Seen
    verdict: Verdict
    clock_ahead: float
    living: Sequence[Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a person is told of the server and of the processes on it."""

    unreadable: Sequence[str]
    """What the server does not say of its identity."""
    clock_ahead: float
    durability: Mapping[str, str]
    living: Sequence[Row]

    @property
    def differing(self) -> Sequence[str]:
        """The settings in which living processes differ."""
        return differing([row["fingerprints"] for row in self.living])


class Witness:
    """Remembers, judges, and is counted among the living."""

    def __init__(
        self,
        database: Database,
        run: Transact,
        me: Self,
        clock: Callable[[], datetime],
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._run = run
        self._me = me
        self._clock = clock
        self._metrics = metrics
        self._remembered = 0
        self._readable: Readable | None = None
        self._urgent = asyncio.Event()
        self._differing: tuple[str, ...] = ()
        self._clock_is_off = False

    # -- admission

    def vouches_for(self, locked: Locked) -> bool:
        """Tell whether tasks may be admitted: nothing is missing, and the database is known.

        Else the next beat judges, at once.
        """
        if locked.is_known and locked.counter >= self._remembered:
            self.remember(locked.counter)
            return True
        self._urgent.set()
        return False

    def remember(self, counter: int) -> None:
        """Remember a counter that is committed."""
        self._remembered = max(self._remembered, counter)

    # -- beats

    async def run(self, kind: str) -> None:
        """Beat until cancelled."""
        while True:
            self._urgent.clear()
            try:
                verdict = await self.beat(kind)
            except DatabaseUnavailableError:
                await asyncio.sleep(AGAIN)
            except Exception:
                self._readable = None  # what may be asked for may have changed
                raise
            else:
                await self._rest(verdict)

    async def _rest(self, verdict: Verdict) -> None:
        """Wait for the next beat; an admission that finds something amiss does not wait so long."""
        if verdict is Verdict.WAIT:
            await asyncio.sleep(AGAIN)
        elif verdict is Verdict.HOLD:
            await asyncio.sleep(BEAT_EVERY)  # a person has to look, and that takes longer
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_EVERY):
                    await self._urgent.wait()

    async def beat(self, kind: str) -> Verdict:
        """Look at the database, judge it, and leave word; raises `DatabaseUnavailableError`."""
        readable = await self.readable()
        found = await self._run(
            lambda connection, consequences: self._beat(connection, consequences, readable, kind),
            patience=PATIENCE,
        )
        if found.verdict in (Verdict.GO_ON, Verdict.ACCEPT):
            self.remember(found.seen.counter + 1)
        self._compare(found)
        return found.verdict

    async def _beat(
        self, connection: Connection, consequences: Consequences, readable: Readable, kind: str
    ) -> Beat:
        asked = self._clock()
        seen = await witness.look(connection, readable)
        ahead = _ahead(asked, self._clock(), seen)
        awaited, witnessed = await processes.others(connection, self._me.id, seen.found.name)
        sight = Sight(
            held=seen.is_held,
            change=change(seen.known, seen.found),
            memory=memory(self._remembered, seen.counter),
            awaited=awaited and seen.changed_for < AWAITED,
            witnessed=witnessed,
            expected=seen.is_expected,
        )
        verdict = judge(sight)
        await self._follow(connection, consequences, verdict, sight, seen)
        living = await processes.beat(
            connection,
            {
                "id": self._me.id,
                "kind": kind,
                "version": self._me.version,
                "started_at": self._me.started_at,
                "beat_at": seen.now,
                "looked_at": seen.found.name,
                "remembers": sight.memory is Memory.KEPT,
                "clock_ahead": ahead,
                "fingerprints": dict(self._me.fingerprints),
            },
        )
        return Beat(seen=seen, verdict=verdict, clock_ahead=ahead, living=living)

    async def _follow(
        self,
        connection: Connection,
        consequences: Consequences,
        verdict: Verdict,
        sight: Sight,
        seen: Seen,
    ) -> None:
        match verdict:
            case Verdict.GO_ON:
                await witness.tick(connection)
            case Verdict.WAIT:
                await witness.await_others(connection)
            case Verdict.ACCEPT:
                await witness.accept(connection, seen.found)
                if sight.change is not Change.FIRST:
                    await self._note(
                        connection, consequences, Action.DATABASE_ACCEPTED, sight, seen
                    )
                consequences.wake(QUEUE)
            case Verdict.HOLD if sight.held:
                pass
            case Verdict.HOLD:
                await witness.hold(connection, self._why(sight, seen))
                await self._note(connection, consequences, Action.DATABASE_HELD, sight, seen)

    def _why(self, sight: Sight, seen: Seen) -> str:
        if sight.memory is Memory.LOST:
            return (
                f"commits are lost: the counter is {seen.counter}, and a process saw "
                f"{self._remembered} committed"
            )
        return f"another database, and no process remembers what is in it: {_one(seen.found)}"

    async def _note(
        self,
        connection: Connection,
        consequences: Consequences,
        action: Action,
        sight: Sight,
        seen: Seen,
    ) -> None:
        """Say what was judged; of a mere restart without loss only in the log."""
        detail = spelled(seen) | {"counter": f"{seen.counter}, remembered {self._remembered}"}
        held = action is Action.DATABASE_HELD
        if held or sight.change is Change.MOVED:
            await audit.note(connection, action, detail=detail)
        say = log.error if held else log.warning
        consequences.count(
            lambda: say(
                "database.held" if held else "database.accepted", change=sight.change, **detail
            )
        )

    async def readable(self) -> Readable:
        """Return what the server says of its identity; asked once."""
        if self._readable is None:
            async with self._database.read() as connection:
                self._readable = await witness.readable(connection)
        return self._readable

    async def inspect(self) -> Inspection:
        """Look without a beat, for a person: at the server, its clock, and who is alive."""
        readable = await self.readable()
        async with self._database.read() as connection:
            asked = self._clock()
            seen = await witness.look(connection, readable, lock=False)
            return Inspection(
                unreadable=sorted(witness.ALL - readable),
                clock_ahead=_ahead(asked, self._clock(), seen),
                durability=await witness.durability(connection),
                living=await processes.living(connection),
            )

    async def leave(self) -> None:
        """Say that this process is gone, so that nobody waits for its word."""
        with suppress(DatabaseUnavailableError):
            async with self._database.begin() as connection:
                await processes.leave(connection, self._me.id)

    def _compare(self, found: Beat) -> None:
        """Say where the living processes, or the clocks, differ; once for each difference."""
        differ = differing([row["fingerprints"] for row in found.living])
        if differ != self._differing:
            log.warning("replicas.differ" if differ else "replicas.agree", settings=list(differ))
        self._differing = differ
        off = abs(found.clock_ahead) > CLOCK_TOLERANCE
        if off and not self._clock_is_off:
            log.warning("clock.differs", ahead_of_database=round(found.clock_ahead, 1))
        self._clock_is_off = off
        self._metrics.show_replicas(clock_ahead=found.clock_ahead, differing=differ)


def _ahead(asked: datetime, answered: datetime, seen: Seen) -> float:
    """Return the seconds by which our clock is ahead, as of the middle of the question."""
    return (asked + (answered - asked) / 2 - seen.now).total_seconds()


def spelled(seen: Seen) -> dict[str, str]:
    """Return what the log and the audit say of a change."""
    return {"before": _one(seen.known), "now": _one(seen.found)}


def _one(one: Incarnation | None) -> str:
    if one is None:
        return "nothing known"
    parts = {
        "system": one.system_identifier,
        "timeline": one.timeline,
        "database": one.database_oid,
        "server since": f"{one.server_started_at:%Y-%m-%dT%H:%M:%SZ}",
    }
    return ", ".join(f"{name} {part}" for name, part in parts.items() if part is not None)
