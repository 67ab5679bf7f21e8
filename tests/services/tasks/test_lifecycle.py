"""The one door: what follows from a transaction is published once, and only after its commit."""

from typing import Any
from uuid import UUID

import pytest

from app.domain.errors import DatabaseUnavailableError
from app.domain.statement import CreateAnswer
from app.domain.submission import Accepted
from app.domain.task import State
from app.services.consequences import Consequences
from app.services.services import Services
from app.store.connections.engine import Connection
from tests.store.stage import Sql, put_client, put_task

TASK = UUID(int=7)


class Published:
    """What was announced and counted, in this process."""

    def __init__(self, services: Services) -> None:
        self.topics: list[str] = []
        self.counted: list[int] = []
        services.signals.tap(self.topics.append)


@pytest.fixture
def published(services: Services) -> Published:
    return Published(services)


async def test_what_follows_is_published_after_the_commit(
    services: Services, published: Published
) -> None:
    async def work(_: Connection, consequences: Consequences) -> str:
        consequences.wake(TASK, "queue", "queue")
        consequences.count(lambda: published.counted.append(1))
        assert (published.topics, published.counted) == ([], [])
        return "done"

    assert await services.lifecycle.run(work) == "done"
    assert sorted(published.topics) == sorted([TASK.hex, "queue"])
    assert published.counted == [1]


async def test_of_a_try_that_was_not_committed_nothing_is_published(
    services: Services, published: Published
) -> None:
    """The work runs again, and only its second run's wake-ups and counts are true."""
    tries: list[int] = []

    async def work(_: Connection, consequences: Consequences) -> None:
        tries.append(len(tries))
        consequences.wake(f"try-{tries[-1]}")
        consequences.count(lambda number=tries[-1]: published.counted.append(number))  # type: ignore[misc]
        if len(tries) < 3:
            raise ConnectionResetError

    await services.lifecycle.run(work)
    assert (published.topics, published.counted) == (["try-2"], [2])


async def test_of_work_that_is_given_up_nothing_is_published(
    services: Services, published: Published
) -> None:
    async def work(_: Connection, consequences: Consequences) -> None:
        consequences.wake("queue")
        raise ConnectionResetError

    with pytest.raises(DatabaseUnavailableError):
        await services.lifecycle.run(work, patience=0.1)
    assert published.topics == []


@pytest.mark.parametrize("state", [State.SUBMITTING, State.RUNNING, State.UNCONFIRMED])
async def test_an_accepted_id_is_compared_with_the_one_that_is_bound(
    services: Services, sql: Sql, state: State
) -> None:
    """A callback has bound the first; the answer to the create names a second, paid create."""
    client_id = await put_client(sql)
    task_id = await put_task(sql, client_id, state, attempt=1, kie_task_id="first")
    answer = CreateAnswer(
        task_id=task_id, attempt=1, tries=0, outcome=Accepted(kie_task_id="second")
    )

    async def work(connection: Connection, consequences: Consequences) -> Any:
        return await services.intake.apply(connection, consequences, answer)

    applied = await services.lifecycle.run(work)
    assert applied.judgement.second_id == "second"
    assert await sql.fetchval("SELECT kie_task_id FROM tasks") == "first"
    [entry] = await sql.fetch("SELECT action, detail FROM audit_entries")
    assert entry["action"] == "paid_twice"
    assert "second" in entry["detail"]
    assert b"kie_gateway_paid_twice_total 1.0" in await services.metrics_page.page()
