"""Many processes admit at once while tasks are canceled, answered and come to their ends."""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import cast
from uuid import UUID

import pytest

from app.domain.admission import Limits
from app.domain.move import Move
from app.domain.policy import Policy
from app.domain.submission import Unsent
from app.domain.task import State
from app.services.account.admission import Admission
from app.services.account.witness import Witness
from app.store import slots
from app.store.account import admission
from app.store.account.admission import ClaimedTask
from app.store.connections.engine import Connection, Database
from app.store.tasks import moves
from app.wiring import both_clocks
from tests.stage import eventually
from tests.store.stage import TAKEN_FOR, Sql, admit, limits, pass_time, put_client, put_queue

CLAIMERS = 10
CANCELERS = 3
WEIGHTS = (1, 1, 2, 4, 8)
PER_WEIGHT = 50
SPARE = 30
"""Tasks of each client beyond its share, to be canceled."""

HALF_A_WINDOW = 5.0
CAPPED = 100
"""Running tasks below which the seats are what is scarce, beside the slots."""

BUSY = "SELECT count(*) FROM kie_slots WHERE free_at > clock_timestamp()"
RUN = "SELECT count(*) FROM tasks WHERE state IN ('submitting', 'running')"


@dataclass
class Race:
    """Processes that share nothing but the database; time passes when all slots are in use."""

    database: Database
    given: Limits
    chance: random.Random
    claimed: list[ClaimedTask] = field(default_factory=list)
    canceled: list[UUID] = field(default_factory=list)
    busy: list[int] = field(default_factory=list)
    """Slots in use, seen by each admission before it let go of the lock."""
    running: list[int] = field(default_factory=list)
    ticking: asyncio.Lock = field(default_factory=asyncio.Lock)
    over: bool = False

    async def claimer(self) -> None:
        while not self.over:
            wait = self.chance.random() < 0.7  # else as a create, which goes on if it is not alone
            async with self.database.begin() as connection:
                locked = await admission.lock_account(connection, wait=wait)
                claimed = await self._admit(connection) if locked else []
            for one in claimed:
                await self._answer(one)
            if locked and not claimed:
                await self._tick()

    async def _admit(self, connection: Connection) -> Sequence[ClaimedTask]:
        claimed = await admission.admit(
            connection,
            limits=self.given,
            limit=self.chance.randint(1, 7),
            lease=30,
            taken_for=TAKEN_FOR,
            claim=uuid.uuid4(),
            plain=True,
        )
        self.busy.append((await connection.exec_driver_sql(BUSY)).scalar_one())
        self.running.append((await connection.exec_driver_sql(RUN)).scalar_one())
        self.claimed += claimed
        return claimed

    async def _answer(self, one: ClaimedTask) -> None:
        window = self.given.creates.window
        async with self.database.begin() as connection:
            started = Move(id=one.id, left=State.SUBMITTING, target=State.RUNNING)
            assert await moves.start(connection, started, kie_task_id=one.id.hex, kie_state=None)
            assert await slots.release(connection, one.held, window=window, answered_ago=0)

    async def _tick(self) -> None:
        """Let half a window pass, and some of what runs come to its end."""
        async with self.ticking:
            async with self.database.begin() as connection:
                await admission.lock_account(connection, wait=True)
                await connection.exec_driver_sql(
                    "UPDATE kie_slots SET free_at = free_at - make_interval(secs => $1)",
                    (HALF_A_WINDOW,),
                )
                await connection.exec_driver_sql("INSERT INTO epochs DEFAULT VALUES")
            async with self.database.begin() as connection:
                await connection.exec_driver_sql(
                    "UPDATE tasks SET state = 'succeeded', finished_at = clock_timestamp()"
                    " WHERE state = 'running' AND random() < 0.35"
                )
                left = "SELECT count(*) FROM tasks WHERE state = 'queued'"
                self.over = (await connection.exec_driver_sql(left)).scalar_one() == 0

    async def canceler(self) -> None:
        """Cancel the next task of some client, again and again, while claimers want it."""
        for _ in range(SPARE * len(WEIGHTS) // CANCELERS):
            async with self.database.begin() as connection:
                head = await connection.exec_driver_sql(
                    "SELECT id FROM tasks WHERE state = 'queued' AND client_id = ("
                    "SELECT id FROM clients ORDER BY random() LIMIT 1) ORDER BY priority DESC, id"
                    " LIMIT 1"
                )
                task_id = head.scalar_one_or_none()
                if task_id is None:
                    continue
                move = Move(id=task_id, left=State.QUEUED, target=State.CANCELED)
                if await moves.cancel(connection, move):
                    self.canceled.append(task_id)


async def put_all(sql: Sql) -> dict[UUID, int]:
    weights = {}
    first = 1
    for number, weight in enumerate(WEIGHTS):
        client = await put_client(sql, f"client {number}", weight=weight)
        tasks = weight * PER_WEIGHT + SPARE
        await put_queue(sql, client, tasks, first=first, priority=number)
        weights[client] = weight
        first += tasks
    return weights


@pytest.mark.long
@pytest.mark.parametrize(
    "given", [limits(creates=20, running=1000), limits(creates=20, running=25)]
)
async def test_many_admit_at_once_and_keep_every_limit(
    database: Database, sql: Sql, given: Limits
) -> None:
    await sql.execute("CREATE TABLE epochs (at timestamptz DEFAULT clock_timestamp())")
    try:
        weights = await put_all(sql)
        race = Race(database, given, random.Random(7))  # noqa: S311  # no secret
        async with asyncio.timeout(60):
            await asyncio.gather(
                *(race.claimer() for _ in range(CLAIMERS)),
                *(race.canceler() for _ in range(CANCELERS)),
            )
        await check_limits(sql, race)
        await check_tasks(sql, race)
        await check_shares(sql, weights, given.running)
    finally:
        await sql.execute("DROP TABLE epochs")


async def check_limits(sql: Sql, race: Race) -> None:
    """Count within every two halves of a window, which is more than any window sees."""
    slots = race.given.creates.calls
    assert max(race.busy) == slots  # used to the full
    assert max(race.running) <= race.given.running
    if race.given.running < CAPPED:
        assert max(race.running) == race.given.running
    counted = await sql.fetch(
        "SELECT (SELECT count(*) FROM epochs e WHERE e.at <= t.at) AS epoch, count(*) AS sent"
        " FROM task_events t WHERE to_state = 'submitting' GROUP BY 1 ORDER BY 1"
    )
    sent = {row["epoch"]: row["sent"] for row in counted}
    halves = [sent.get(epoch, 0) for epoch in range(max(sent) + 1)]
    assert max(before + after for before, after in pairwise(halves)) == slots


async def check_tasks(sql: Sql, race: Race) -> None:
    claimed = [one.id for one in race.claimed]
    assert max(Counter(claimed).values()) == 1
    assert len(set(race.canceled)) == len(race.canceled) > 0
    assert not set(claimed) & set(race.canceled)
    rows = await sql.fetch("SELECT id, state, attempt FROM tasks")
    assert {row["id"] for row in rows} == set(claimed) | set(race.canceled)
    for row in rows:
        assert (row["state"] == "canceled") is (row["id"] in race.canceled)
        assert row["attempt"] == (row["id"] not in race.canceled)
    moved = "SELECT count(*) FROM task_events WHERE to_state = 'submitting'"
    assert await sql.fetchval(moved) == len(claimed)


async def check_shares(sql: Sql, weights: dict[UUID, int], seats: int) -> None:
    """Within 0.2 points, or half a seat, for as long as all have work."""
    rows = await sql.fetch(
        "SELECT client_id FROM task_events WHERE to_state = 'submitting' ORDER BY id"
    )
    whole = (PER_WEIGHT - SPARE // 2) * sum(WEIGHTS)
    counted = Counter(row["client_id"] for row in rows[:whole])
    within = max(0.002, 0.5 / seats)
    for client, weight in weights.items():
        share = weight / sum(WEIGHTS)
        assert counted[client] / whole == pytest.approx(share, abs=within), (weight, counted)


async def test_a_late_record_and_an_admission_do_not_lock_each_other_out(
    database: Database, sql: Sql, client_id: UUID
) -> None:
    """The one wants the slot and then the account, the other has the account and takes the slot."""
    await put_queue(sql, client_id, 2)
    given = limits(creates=1)
    (late,) = await admit(database, given)
    await pass_time(sql, TAKEN_FOR + 1)
    never_asked = cast("Witness", None)
    learning = Admission(database, Policy(limits=given), lambda: 0.5, never_asked, both_clocks)

    async def record() -> None:
        async with database.begin() as connection:
            await learning.record_outcome(
                connection, late, Unsent(reason="refused"), answered_ago=60
            )

    async def waits() -> bool | None:
        """Tell whether the record has come as far as it can."""
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return await sql.fetchval(f"{waiting} AND datname = current_database()") == 1 or None

    async with database.begin() as connection:
        assert await admission.lock_account(connection, wait=True)
        recording = asyncio.create_task(record())
        await eventually(waits)
        claimed = await admission.admit(
            connection,
            limits=given,
            limit=5,
            lease=30,
            taken_for=TAKEN_FOR,
            claim=uuid.uuid4(),
            plain=True,
        )
        assert len(claimed) == 1
    await recording
