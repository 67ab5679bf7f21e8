"""The hot paths as pieces of work for `benchmarks.growth`: each with the rows that it is about."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from app.domain.delivery import DeliveryState
from app.domain.evidence import Verdict
from app.domain.keeping import raw
from app.domain.move import Move
from app.domain.paging import Chosen, FeedPlace, Filter, Place
from app.domain.report import Progress, Report
from app.domain.task import Source, State
from app.domain.usage import Wanted
from app.store.account import admission, bounds, condition, forecast
from app.store.backlog import read_backlog
from app.store.connections.engine import Connection
from app.store.deliveries import attempts, history, outbox
from app.store.deliveries.attempts import Attempt
from app.store.deliveries.outbox import NewDelivery
from app.store.spend import usage
from app.store.tasks import callbacks, events, feed, moves, polls, rows, storing
from app.store.tasks.lists import list_tasks
from app.wiring import new_id
from benchmarks.scene import Connection as Sql
from tests.store.explained import Work
from tests.store.stage import limits, new_callback, new_task

WIDE = limits(creates=20, running=10_000)
URL = "https://hooks.example/1"
PAGE = 50

OPEN = """
INSERT INTO tasks (id, client_id, state, model, input, input_bytes, metadata, priority, fingerprint,
                   kie_task_id, submit_by, submitted_at, due_at, expires_at, attempt)
SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n % 10), 32, '0')::uuid,
       CASE WHEN n % 10 = 0 THEN 'running' ELSE 'queued' END, 'vendor/model-' || n % 20,
       json_build_object('prompt', repeat(md5('open ' || n), 16)), 540,
       jsonb_build_object('order', 'O-' || n), 5, '\\x00',
       CASE WHEN n % 10 = 0 THEN md5('open ' || n) END, now() + interval '1 day',
       CASE WHEN n % 10 = 0 THEN now() END,
       CASE WHEN n % 10 = 0 THEN now() + make_interval(secs => n - 500)
            ELSE now() - interval '1 second' END,
       CASE WHEN n % 10 = 0 THEN now() + interval '1 day' END,
       CASE WHEN n % 10 = 0 THEN 1 ELSE 0 END
FROM generate_series(1, 1000) n
"""
PENDING = """
INSERT INTO deliveries (id, client_id, task_id, event, url, host, body, state, due_at)
SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n % 10), 32, '0')::uuid,
       lpad(to_hex(n), 32, '0')::uuid, 'task.running', 'https://hooks.example/' || n % 10,
       'hooks.example', convert_to(repeat(md5('d' || n), 30), 'UTF8'), 'pending',
       now() - interval '1 second'
FROM generate_series(1, 200) n
"""
QUEUED_OF_ONE = """
INSERT INTO tasks (id, client_id, state, model, input, input_bytes, metadata, priority, fingerprint,
                   submit_by, due_at)
SELECT lpad(to_hex(1000000 + n), 32, '0')::uuid, lpad(to_hex(1), 32, '0')::uuid, 'queued',
       'vendor/model-' || n % 20, json_build_object('prompt', repeat(md5('open ' || n), 16)), 540,
       '{}', 9, '\\x00', now() + interval '1 day', now() - interval '1 second'
FROM generate_series(1, $1::int) n
"""
SETTLED = "SELECT id, created_at, kie_task_id FROM tasks WHERE kie_task_id = md5('kie ' || $1::int)"
OF_QUEUE = (
    *("create: insert", "create: its place in the queue", "admission: claim of 20"),
    *("callback: keep, settle, notify", "sweep: look", "metrics: backlog"),
    *("status of the account", "list: first page"),
)
"""The paths that might read a queue."""
RUNNING, QUEUED = UUID(int=500), UUID(int=501)
"""Of the open ones."""
CLIENT = UUID(int=1)


async def open_some(sql: Sql) -> None:
    """Put beside the finished tasks what is under way: as much, however many have finished."""
    await sql.execute(OPEN)
    await sql.execute(PENDING)
    await sql.execute("VACUUM (ANALYZE) tasks, deliveries")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Rows in the middle of what was seeded, of `CLIENT`."""

    task: UUID
    created_at: datetime
    kie_task_id: str
    order: str
    result_url: str
    delivery: UUID
    position: int

    @property
    def place(self) -> Place:
        return Place(created_at=self.created_at, id=self.task)


async def known(sql: Sql, tasks: int) -> Known:
    number = tasks // 20 * 10 + 1  # of CLIENT, as every tenth
    row = await sql.fetchrow(SETTLED, number)
    assert row is not None
    task = row["id"]
    return Known(
        task=task,
        created_at=row["created_at"],
        kie_task_id=row["kie_task_id"],
        order=f"A-{number}",
        result_url=await sql.fetchval("SELECT result_urls[1] FROM tasks WHERE id = $1", task),
        delivery=await sql.fetchval("SELECT id FROM deliveries WHERE task_id = $1", task),
        position=await sql.fetchval("SELECT min(id) FROM task_events WHERE task_id = $1", task),
    )


async def _create(connection: Connection) -> None:
    draft = {"input": {"prompt": "a cat " * 80}, "metadata": {"order": "new"}}
    new = new_task(CLIENT, id=new_id(), idempotency_key="new", model="vendor/model-1", **draft)
    await storing.insert_task(connection, new)


async def _admit(connection: Connection) -> None:
    locked = await admission.lock_account(connection, wait=True)
    assert locked
    found = await admission.admit(
        connection,
        limits=WIDE,
        limit=20,
        lease=30,
        taken_for=70,
        claim=uuid.UUID(int=1),
        plain=locked.is_plain,
    )
    assert found


async def _settle(connection: Connection) -> None:
    """Do what a believed callback does: lock, keep, settle, put a delivery into the outbox."""
    assert await rows.lock_task(connection, RUNNING)
    urls = ("https://tempfile.example/r/a.png", "https://tempfile.example/r/b.png")
    report = Report(progress=Progress.SUCCEEDED, kie_task_ids=("a",), result_urls=urls)
    statement = new_callback(RUNNING, id=new_id(), content=report)
    await callbacks.insert_first(connection, statement, Verdict.APPLIED, raw(b"x" * 1000, ()))
    move = Move(id=RUNNING, left=State.RUNNING, target=State.SUCCEEDED)
    assert await moves.settle(connection, move, report, Source.CALLBACK)
    await outbox.to_notify(connection, [RUNNING])
    owed = NewDelivery(
        id=new_id(),
        client_id=CLIENT,
        task_id=RUNNING,
        event="task.succeeded",
        url=URL,
        host="hooks.example",
        body=b"x" * 1000,
        state=DeliveryState.PENDING,
    )
    await outbox.put(connection, [owed])


async def _claim_deliveries(connection: Connection) -> None:
    assert (await attempts.claim_due(connection, room=50, per_host=10, lease=30)).due


async def _settle_delivery(connection: Connection) -> None:
    tried = Attempt(
        delivery_id=UUID(int=100),
        number=1,
        seconds=0.1,
        status=200,
        error=None,
        address="192.0.2.1",
        answer=b"ok",
    )
    assert await attempts.settle(connection, tried, DeliveryState.DELIVERED, wait=None)


async def _claim_questions(connection: Connection) -> None:
    assert await polls.claim_due(connection, queries=10, lease=30, taken_for=60)


def hot_paths(about: Known) -> Mapping[str, Work]:
    """Return each hot path by its name, in the order of a task's life."""

    def listed(narrowed: Filter, after: Place | None = None) -> Work:
        return lambda connection: list_tasks(connection, CLIENT, narrowed, after=after, limit=PAGE)

    def delivered(chosen: Chosen) -> Work:
        return lambda connection: history.read_page(
            connection, CLIENT, chosen, before=None, limit=PAGE
        )

    month = Wanted(
        first=(about.created_at - timedelta(days=30)).date(),
        last=(about.created_at + timedelta(days=30)).date(),
        by=("day",),
        limit=100,
    )
    return {
        "create: insert": _create,
        "create: its place in the queue": lambda c: forecast.forecast(c, CLIENT, [QUEUED], WIDE),
        "admission: claim of 20": _admit,
        "callback: keep, settle, notify": _settle,
        "deliveries: claim": _claim_deliveries,
        "deliveries: settle": _settle_delivery,
        "questions: claim": _claim_questions,
        "GET by id": lambda c: rows.read_task(c, client_id=CLIENT, task_id=about.task),
        "GET by kie.ai's id": lambda c: rows.read_by_kie_id(
            c, client_id=CLIENT, kie_task_id=about.kie_task_id
        ),
        "owner of a result": lambda c: rows.owns_result(c, client_id=CLIENT, url=about.result_url),
        "list: first page": listed(Filter()),
        "list: from the middle": listed(Filter(), about.place),
        "list: failed, from the middle": listed(Filter(states=[State.FAILED]), about.place),
        "list: by an order's number": listed(Filter(metadata={"order": about.order})),
        "callbacks of a task": lambda c: callbacks.read_callbacks(
            c, about.task, limit=PAGE, weight=10**6
        ),
        "history of a task": lambda c: events.read_history(c, about.task, after=0, limit=PAGE),
        "deliveries: first page": delivered(Chosen()),
        "deliveries: exhausted": delivered(Chosen(state=DeliveryState.EXHAUSTED)),
        "deliveries of a task": delivered(Chosen(task_id=about.task)),
        "feed: from the middle": lambda c: feed.read(
            c, CLIENT, after=FeedPlace(position=about.position), limit=PAGE
        ),
        "feed: numbering": lambda c: feed.number(c, uuid.UUID(int=1), lease=3, limit=1000),
        "sweep: look": bounds.over,
        "metrics: backlog": lambda c: read_backlog(c, WIDE),
        "status of the account": lambda c: condition.status(c, WIDE),
        "usage of two months": lambda c: usage.read_usage(c, month, CLIENT),
    }
