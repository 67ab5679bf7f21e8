"""What the tests of admission and polling share: the account, and time that passes by shifting."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from starlette.responses import PlainTextResponse, Response

from app.domain.task import State
from app.services.services import Services
from app.wiring import new_id
from tests.gateway import BODY
from tests.store.stage import put_task
from tests.upstream import Upstream, refused

Answer = Callable[[], Response]

MODEL: str = BODY["model"]
"""Of tasks that name no other."""


def says(code: int, message: str) -> Answer:
    """Refuse creates, or credit calls, with this envelope."""
    return lambda: refused(code, message)


def lost() -> Response:
    """Answer in a way that leaves open what became of the create."""
    return PlainTextResponse("<html>", 502)


# -- the account


async def account(sql: Any) -> dict[str, Any]:
    """The account's row."""
    return dict(await sql.fetchrow("SELECT * FROM kie_account"))


async def is_free(sql: Any) -> bool | None:
    """Tell whether nothing is left of any hold; None, for `eventually`: something is."""
    query = """
    SELECT (hold_reason, hold_detail, held_since, held_at, held_until, probed_at) IS NULL
        AND hold_tries = 0 AND failures = 0 FROM kie_account
    """
    return await sql.fetchval(query) or None


async def is_held(sql: Any) -> bool | None:
    return (await account(sql))["hold_reason"] is not None or None


async def pause_of(sql: Any) -> float:
    """Seconds from the moment when the account was held, or held again, to its next probe."""
    query = "SELECT extract(epoch FROM held_until - held_at)::float FROM kie_account"
    return round(float(await sql.fetchval(query)), 3)


async def until_probe(sql: Any) -> float:
    query = "SELECT extract(epoch FROM held_until - clock_timestamp())::float FROM kie_account"
    return float(await sql.fetchval(query))


# -- pairs


async def breaker(sql: Any, model: str = MODEL) -> dict[str, Any] | None:
    """What is known against the only client's pair with the model; None: nothing."""
    row = await sql.fetchrow("SELECT * FROM kie_breakers WHERE model = $1", model)
    return None if row is None else dict(row)


async def pair_pause_of(sql: Any, model: str = MODEL) -> float:
    """Seconds from the moment when the pair was held, or held again, to its next probe."""
    query = """
    SELECT extract(epoch FROM held_until - held_at)::float FROM kie_breakers WHERE model = $1
    """
    return round(float(await sql.fetchval(query, model)), 3)


# -- time passes


async def probe_is_due(sql: Any) -> None:
    """Let the wait of every hold pass, and a task's own after it was refused."""
    for table in ("kie_account", "kie_breakers"):
        await sql.execute(
            f"UPDATE {table} SET held_until = clock_timestamp()"  # noqa: S608  # our own names
            " WHERE held_until IS NOT NULL"
        )
    await sql.execute(
        "UPDATE tasks SET due_at = clock_timestamp() WHERE state = 'queued' AND due_at > now()"
    )


async def stays_held(sql: Any, seconds: float = 600) -> None:
    """Have no wait of a hold pass by itself, however busy the machine is: the least is a second."""
    for table in ("kie_account", "kie_breakers"):
        await sql.execute(
            f"UPDATE {table} SET held_until = held_until + make_interval(secs => $1)",  # noqa: S608  # ours
            seconds,
        )


async def slots_are_free(sql: Any) -> None:
    """Let a window pass since the last answers."""
    await sql.execute("UPDATE kie_slots SET free_at = clock_timestamp() WHERE task_id IS NULL")


async def due_now(sql: Any) -> None:
    """Let all that is owed be due."""
    await sql.execute("UPDATE tasks SET due_at = clock_timestamp() WHERE due_at IS NOT NULL")


# -- turns of the loops


async def turn(services: Services) -> float | None:
    """Take one turn of the loop that sends, and wait for what it has sent."""
    rest = await services.submitter.submit_due(50)
    await services.submitter.drain()
    return rest


async def ask(services: Services) -> float | None:
    """Take one turn of the loop that polls, and wait for its answers."""
    rest = await services.poller.poll_due()
    await services.poller.drain()
    return rest


# -- tasks


async def put_asked(
    sql: Any, client_id: UUID, kie_task_id: str, state: State = State.RUNNING
) -> UUID:
    """Store a task of that id at kie.ai about which a query is due."""
    bound = {"expires_at": 3600.0} if state is State.RUNNING else {"finished_at": -1.0}
    at = {"due_at": -1.0, "submitted_at": -1.0, **bound}
    return await put_task(sql, client_id, state, at=at, id=new_id(), kie_task_id=kie_task_id)


async def due_in(sql: Any, task_id: UUID | str) -> float | None:
    found = await sql.fetchval(
        "SELECT extract(epoch FROM due_at - clock_timestamp())::float FROM tasks WHERE id = $1",
        UUID(str(task_id)),
    )
    return None if found is None else float(found)


async def states(sql: Any) -> list[str]:
    """The states of all tasks, oldest first."""
    return [row["state"] for row in await sql.fetch("SELECT state FROM tasks ORDER BY id")]


async def state(sql: Any, task_id: str) -> str:
    return str(await sql.fetchval("SELECT state FROM tasks WHERE id = $1", UUID(task_id)))


async def has_creates(upstream: Upstream, count: int) -> bool | None:
    return len(upstream.creates) >= count or None
