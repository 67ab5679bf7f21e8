"""Which statements need each index of the tables that grow: what nobody needs is not kept.

An index costs its bytes for every task, and a write whenever a row comes or goes. So each names
the statements that would read all without it; `test_plans` holds both against PostgreSQL.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from app.domain.admission import QueueBounds
from app.domain.delivery import DeliveryState
from app.domain.paging import Chosen, FeedPlace, Filter, Place
from app.domain.task import State
from app.store.account import sizes
from app.store.connections.engine import Connection
from app.store.deliveries import attempts, history
from app.store.deliveries.attempts import Attempt
from app.store.spend import budgets, folding
from app.store.tasks import events, feed, raw, removal
from app.store.tasks.lists import list_tasks
from tests.store.explained import Work
from tests.store.stage import limits

TABLES = ("tasks", "callbacks", "task_events", "feed", "deliveries", "delivery_attempts")
"""Those whose rows are as many as tasks."""

CLIENT, ONE = UUID(int=3), UUID(int=7_003)
RARE = UUID(int=77)
"""A client with hardly anything among those of others."""
AGE = 90 * 86_400.0
PLACE = Place(created_at=datetime(2100, 1, 1, tzinfo=UTC), id=ONE)


def _listed(narrowed: Filter, after: Place | None = None) -> Work:
    return lambda connection: list_tasks(connection, CLIENT, narrowed, after=after, limit=50)


def _delivered(chosen: Chosen, of: UUID = CLIENT) -> Work:
    return lambda connection: history.read_page(connection, of, chosen, before=ONE, limit=50)


async def _settle(connection: Connection) -> None:
    tried = Attempt(
        delivery_id=ONE, number=1, seconds=1, status=200, error=None, address=None, answer=b""
    )
    await attempts.settle(connection, tried, DeliveryState.DELIVERED, wait=None)


MORE: Mapping[str, Work] = {
    "list": _listed(Filter()),
    "list, the next page": _listed(Filter(), PLACE),
    "list in a state": _listed(Filter(states=(State.RUNNING,)), PLACE),
    "list by a rare pair": _listed(Filter(metadata={"order": "A-7003"})),
    "history": lambda connection: events.read_history(connection, ONE, after=0, limit=50),
    "newest event": lambda connection: events.newest(connection, [ONE]),
    "feed": lambda connection: feed.read(connection, CLIENT, after=FeedPlace(), limit=50),
    "feed, numbering": lambda connection: feed.number(connection, ONE, lease=3, limit=100),
    "bounds of a queue": lambda connection: sizes.queued(
        connection, CLIENT, limits(), QueueBounds(tasks=100, bytes=10**6)
    ),
    "cost of a model unknown": lambda connection: budgets.has_unknown(
        connection, RARE, ONE, "m", since=None
    ),
    "book what older releases ended": lambda connection: folding.catch_up(connection, limit=100),
    "claim deliveries": lambda connection: attempts.claim_due(
        connection, room=100, per_host=10, lease=30
    ),
    "settle a delivery": _settle,
    "deliveries of one with few": _delivered(Chosen(), RARE),
    "deliveries in a state": _delivered(Chosen(state=DeliveryState.PENDING)),
    "deliveries of a task": _delivered(Chosen(task_id=ONE)),
    "deliveries to repeat": lambda connection: history.choose(
        connection, CLIENT, Chosen(state=DeliveryState.EXHAUSTED), after=None, limit=50
    ),
    "attempts": lambda connection: history.read_attempts(connection, [ONE]),
    "delete by age": lambda connection: removal.lock_old(connection, after=AGE, limit=100),
    "delete a task": lambda connection: removal.delete(connection, [ONE]),
    "empty callbacks": lambda connection: raw.empty_callbacks(connection, after=AGE, limit=100),
    "empty deliveries": lambda connection: raw.empty_deliveries(connection, after=AGE, limit=100),
}
"""Beside those that `test_plans` has."""

NEEDED: Mapping[str, tuple[str, ...]] = {
    "tasks_pkey": ("read_task", "lock_task", "move", "renew"),
    "tasks_idempotency_key": ("insert_task, known key",),
    "tasks_queue": ("admit",),
    "tasks_queue_by_model": ("admit beside a held pair",),
    "tasks_queue_newest": ("bounds of a queue",),
    "tasks_submit_by": ("expire queued",),
    "tasks_unreleased": ("over",),
    "tasks_leases": ("free_lost",),
    "tasks_expires": ("expire running", "expire unconfirmed"),
    "tasks_seats": ("admit", "claim_due_polls", "status"),
    "tasks_polls": ("claim_due_polls", "next_poll"),
    "tasks_parked": ("backlog",),
    "tasks_costs": ("insert_task, known key",),
    "tasks_unpriced": ("cost of a model unknown",),
    "tasks_unbooked": ("over", "book what older releases ended"),
    "tasks_finished": ("delete by age",),
    "tasks_listed": ("list", "list, the next page"),
    "tasks_listed_by_state": ("list in a state",),
    "tasks_metadata": ("list by a rare pair",),
    "tasks_kie_task_id": ("read_by_kie_id",),
    "tasks_result_urls": ("owns_result",),
    "callbacks_pkey": ("read_callbacks",),
    "callbacks_task": ("tally", "alleged_ids", "read_callbacks"),
    "callbacks_raw": ("empty callbacks",),
    "task_events_pkey": ("feed", "feed, numbering"),
    "task_events_task": ("history", "newest event"),
    "feed_pkey": ("feed",),
    "feed_event": ("delete a task",),
    "deliveries_pkey": ("settle a delivery",),
    "deliveries_first": ("claim deliveries", "backlog"),
    "deliveries_again": ("claim deliveries", "backlog"),
    "deliveries_leased": ("claim deliveries", "backlog"),
    "deliveries_task": ("deliveries of a task",),
    "deliveries_listed": ("deliveries of one with few",),
    "deliveries_listed_by_state": ("deliveries in a state",),
    "deliveries_origin": ("deliveries to repeat",),
    "deliveries_raw": ("empty deliveries",),
    "delivery_attempts_pkey": ("attempts",),
}
