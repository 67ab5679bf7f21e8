"""Usage and budgets: what is reserved, settled, refused, announced, and put right."""

import asyncio
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from app.domain.draft import Draft
from app.domain.errors import BudgetExceededError, ModelCostUnknownError
from app.domain.spend import Budget, Mode, Period, held
from app.domain.task import FINAL, State
from app.domain.usage import wanted
from app.services.services import Services
from app.services.spend.usage import ALL_GROUPS
from tests.fixtures.gateway import Wire
from tests.gateway import OPERATOR
from tests.store.stage import Sql, put_task
from tests.upstream import failed, succeeded

DRAFT = Draft(
    model="a-model",
    input={},
    metadata={"team": "=cmd()", "order": "7"},
    webhook_url=None,
    priority=5,
    submit_within=None,
)


async def client(services: Services, sql: Sql, name: str = "shop") -> UUID:
    await services.keys.create(name, operator=OPERATOR)
    found = await sql.fetchval("SELECT id FROM clients WHERE name = $1", name)
    assert isinstance(found, UUID)
    return found


async def bound(
    services: Services, credits_: float, period: Period = Period.DAY, mode: Mode = Mode.HARD
) -> None:
    budget = Budget(period=period, credits=Decimal(str(credits_)), mode=mode)
    await services.budgets.set(OPERATOR, "shop", budget)


async def create(services: Services, client_id: UUID, key: str | None = None) -> UUID:
    made = await services.creates.create(client_id, DRAFT, key)
    await services.submitter.drain()
    return made.id


async def end(services: Services, sql: Sql, task_id: UUID, cost: float | None = 4) -> None:
    """Have kie.ai report a success that cost so much; None: it does not say."""
    kie_task_id = await sql.fetchval("SELECT kie_task_id FROM tasks WHERE id = $1", task_id)
    body = json.dumps(succeeded(kie_task_id, consumeCredits=cost)).encode()
    await services.receiver.receive(task_id, body, {})


async def stands(services: Services, client_id: UUID) -> tuple[object, object]:
    """Return what is spent and what is reserved of the first budget."""
    shown = (await services.budgets.own(client_id))[0]
    return shown["spent"], shown["reserved"]


async def usage(services: Services, client_id: UUID, *by: str) -> list[dict[str, Any]]:
    asked = wanted(services.usage.today(), first=None, last=None, by=by, allowed=ALL_GROUPS)
    page = await services.usage.of_client(client_id, asked)
    return [dict(row) for row in page.rows]


async def test_a_create_reserves_what_its_model_has_cost_at_most(
    services: Services, sql: Sql
) -> None:
    """And settles with what it costs: the difference may be spent by others."""
    client_id = await client(services, sql)
    await bound(services, 10)
    await end(services, sql, await create(services, client_id), 6)
    assert await stands(services, client_id) == (6, 0)
    with pytest.raises(BudgetExceededError, match="6 are spent") as refused:
        await create(services, client_id)
    assert 0 < (refused.value.retry_after or 0) <= 86400
    assert refused.value.figures["remaining"] == 4
    assert await sql.fetchval("SELECT count(*) FROM tasks") == 1
    await bound(services, 12)
    second = await create(services, client_id)
    assert await stands(services, client_id) == (6, 6)
    await end(services, sql, second, 2.5)
    await services.sweeper.sweep()
    assert await sql.fetchval("SELECT count(*) FROM usage_entries") == 0
    assert await stands(services, client_id) == (Decimal("8.5"), 0)


async def test_a_repeat_under_its_key_is_no_spending(services: Services, sql: Sql) -> None:
    client_id = await client(services, sql)
    await bound(services, 4)
    first = await create(services, client_id, "a-key")
    await end(services, sql, first, 4)
    assert await create(services, client_id, "a-key") == first
    with pytest.raises(BudgetExceededError):
        await create(services, client_id, "another")


async def test_of_a_model_of_unknown_cost_one_task_is_under_way(
    services: Services, wire: Wire, sql: Sql
) -> None:
    client_id = await client(services, sql)
    await bound(services, 100)
    first = await create(services, client_id)
    with pytest.raises(ModelCostUnknownError):
        await create(services, client_id)
    rich = await wire(budget_unknown_model_cost=Decimal(30))
    with pytest.raises(ModelCostUnknownError):  # what is under way may cost anything
        await create(services, client_id)
    await create(rich, client_id)
    assert await stands(services, client_id) == (0, 30)
    await end(services, sql, first, 5)
    await create(services, client_id)
    assert await stands(services, client_id) == (5, 35)


@pytest.mark.parametrize(
    ("state", "keeps"),
    [
        (State.QUEUED, True),
        (State.UNCONFIRMED, True),
        (State.EXPIRED, True),
        (State.CANCELED, False),
        (State.FAILED, False),
    ],
)
async def test_what_may_have_been_paid_keeps_its_reserve(
    services: Services,
    sql: Sql,
    state: State,
    keeps: bool,  # noqa: FBT001  # a column
) -> None:
    client_id = await client(services, sql)
    await end(services, sql, await create(services, client_id), 4)
    await bound(services, 8)
    await services.pauses.pause(OPERATOR, client=None, note=None)
    task_id = await create(services, client_id)
    if state is State.CANCELED:
        await services.commands.cancel(client_id, task_id)
    elif state is State.FAILED:
        await sql.execute("UPDATE tasks SET submit_by = now() - interval '1 s'")
    elif state is not State.QUEUED:
        await sql.execute(
            "UPDATE tasks SET state = 'submitting', attempt = 1, due_at = NULL,"
            " leased_until = now() - interval '1 s' WHERE id = $1",
            task_id,
        )
    await services.sweeper.sweep()
    if state is State.EXPIRED:
        await sql.execute("UPDATE tasks SET expires_at = now() WHERE state = 'unconfirmed'")
        await services.sweeper.sweep()
    assert await sql.fetchval("SELECT state FROM tasks WHERE id = $1", task_id) == state
    assert await stands(services, client_id) == (4, 4 if keeps else 0)
    assert await services.sweeper._books.reconcile() == 0


async def test_a_success_without_credits_keeps_its_reserve_until_they_are_known(
    services: Services, sql: Sql
) -> None:
    """What becomes known later counts on the day on which it became known."""
    client_id = await client(services, sql)
    await end(services, sql, await create(services, client_id), 4)
    await bound(services, 100)
    task_id = await create(services, client_id)
    await end(services, sql, task_id, None)
    assert await stands(services, client_id) == (4, 4)
    await services.sweeper.sweep()
    await sql.execute("UPDATE usage_daily SET day = day - 1")
    await end(services, sql, task_id, 7)
    assert await stands(services, client_id) == (11, 0)
    before, after = await usage(services, client_id, "day")
    assert (before["tasks"]["succeeded"], before["credits"]) == (2, 4)
    assert (after["tasks"]["succeeded"], after["credits"]) == (0, 7)
    await services.sweeper.sweep()
    assert await usage(services, client_id, "day") == [before, after]


async def test_a_price_that_rises_is_booked_and_counted(services: Services, sql: Sql) -> None:
    client_id = await client(services, sql)
    await end(services, sql, await create(services, client_id), 4)
    await bound(services, 12)
    under_way = [await create(services, client_id) for _ in range(2)]
    for task_id in under_way:
        await end(services, sql, task_id, 8)
    await services.sweeper.sweep()
    assert await stands(services, client_id) == (20, 0)
    page = (await services.metrics_page.page()).decode()
    assert "kie_gateway_budget_overshoot_total 2.0" in page
    assert "kie_gateway_budget_overshoot_credits_total 8.0" in page
    with pytest.raises(BudgetExceededError):
        await create(services, client_id)


async def test_a_budget_counts_what_was_before_it(services: Services, sql: Sql) -> None:
    client_id = await client(services, sql)
    await end(services, sql, await create(services, client_id), 4)
    await create(services, client_id)
    await bound(services, 10, Period.MONTH)
    assert await stands(services, client_id) == (4, 4)
    with pytest.raises(BudgetExceededError):
        await create(services, client_id)
    await bound(services, 10, Period.MONTH, Mode.WARN)
    await create(services, client_id)


async def test_parallel_creates_are_never_more_than_the_budget_covers(
    services: Services, wire: Wire, sql: Sql
) -> None:
    """Over two processes: each counts what the others have reserved."""
    client_id = await client(services, sql)
    await end(services, sql, await create(services, client_id), 4)
    await bound(services, 4 + 7 * 4)
    other = await wire()
    creates = [
        (services, other)[number % 2].creates.create(client_id, DRAFT, None) for number in range(20)
    ]
    made = await asyncio.gather(*creates, return_exceptions=True)
    refused = [one for one in made if isinstance(one, BudgetExceededError)]
    assert (len(refused), len(made) - len(refused)) == (13, 7)
    assert await sql.fetchval("SELECT count(*) FROM tasks") == 8
    assert await stands(services, client_id) == (4, 28)
    await services.submitter.drain()
    await other.submitter.drain()


async def test_a_settlement_waits_for_no_create(services: Services, sql: Sql) -> None:
    """Who creates has the budgets' lock, and settling takes none of them."""
    client_id = await client(services, sql)
    await bound(services, 100)
    task_id = await create(services, client_id)
    async with sql.transaction():
        await sql.execute("SELECT FROM budgets FOR UPDATE")
        async with asyncio.timeout(5):
            await end(services, sql, task_id, 4)
            assert await services.sweeper._books._transact(services.sweeper._books._fold)
    assert await stands(services, client_id) == (4, 0)


async def test_thresholds_are_announced_once(services: Services, sql: Sql) -> None:
    client_id = await client(services, sql)
    await sql.execute(
        "UPDATE clients SET webhook_url = 'https://hooks.test/kie',"
        " webhook_events = '{budget.threshold}'"
    )
    await bound(services, 10, Period.MONTH)
    await end(services, sql, await create(services, client_id), 9.5)
    for _ in range(2):
        await services.sweeper.sweep()
    bodies = [json.loads(row["body"]) for row in await sql.fetch("SELECT body FROM deliveries")]
    assert [body["data"]["threshold"] for body in bodies] == [80, 95]
    assert {body["type"] for body in bodies} == {"budget.threshold"}
    assert bodies[0]["data"]["spent"] == 9.5
    assert bodies[0]["data"]["renews_at"].endswith("T00:00:00Z")
    page = (await services.metrics_page.page()).decode()
    assert 'kie_gateway_budget_thresholds_total{period="month"} 2.0' in page


async def test_who_does_not_subscribe_hears_of_no_budget(services: Services, sql: Sql) -> None:
    client_id = await client(services, sql)
    await sql.execute("UPDATE clients SET webhook_url = 'https://hooks.test/kie'")
    await bound(services, 4)
    await end(services, sql, await create(services, client_id), 4)
    await services.sweeper.sweep()
    assert await sql.fetchval("SELECT count(*) FROM deliveries WHERE task_id IS NULL") == 0
    assert await sql.fetchval("SELECT announced FROM budgets") == [80, 95, 100]


async def test_a_wrong_reserve_is_found_and_put_right(services: Services, sql: Sql) -> None:
    client_id = await client(services, sql)
    await end(services, sql, await create(services, client_id), 4)
    await bound(services, 100)
    await create(services, client_id)
    await services.sweeper.sweep()
    await sql.execute("UPDATE spend_daily SET reserved = reserved + 50")
    assert await services.sweeper._books.reconcile() == 1
    assert await stands(services, client_id) == (4, 4)
    assert await services.sweeper._books.reconcile() == 0
    page = (await services.metrics_page.page()).decode()
    assert "kie_gateway_reserves_fixed_total 1.0" in page


async def test_what_an_older_release_ended_is_booked_later(services: Services, sql: Sql) -> None:
    client_id = await client(services, sql)
    await put_task(
        sql, client_id, State.SUCCEEDED, credits_consumed=Decimal("4.5"), model="old-model"
    )
    assert (await usage(services, client_id, "model")) == []
    await services.sweeper.sweep()
    [row] = await usage(services, client_id, "model")
    assert (row["model"], row["credits"], row["tasks"]["succeeded"]) == ("old-model", 4.5, 1)
    await services.sweeper.sweep()
    assert await usage(services, client_id, "model") == [row]


async def test_usage_is_the_same_before_and_after_it_is_folded(
    services: Services, sql: Sql
) -> None:
    client_id, other = await client(services, sql), await client(services, sql, "other")
    for cost in (4, 2.25):
        await end(services, sql, await create(services, client_id), cost)
    lost = await create(services, client_id)
    kie_task_id = await sql.fetchval("SELECT kie_task_id FROM tasks WHERE id = $1", lost)
    await services.receiver.receive(lost, json.dumps(failed(kie_task_id)).encode(), {})
    await services.creates.create(other, replace(DRAFT, metadata={}), None)
    await services.submitter.drain()
    for folded in (False, True):
        if folded:
            await services.sweeper.sweep()
        [team] = await usage(services, client_id, "metadata.team")
        assert team["metadata.team"] == "=cmd()"
        assert (team["credits"], team["tasks"]["succeeded"]) == (6.25, 2)
        [nothing] = await usage(services, client_id, "metadata.nothing")
        assert (nothing["metadata.nothing"], nothing["credits"]) == (None, 6.25)
        classes = {row["fail_class"]: row for row in await usage(services, client_id, "fail_class")}
        assert classes["provider"]["tasks"]["failed"] == 1
        assert classes[None]["tasks"] == {"succeeded": 2, "failed": 0, "canceled": 0, "expired": 0}
        assert await usage(services, other, "day") == []
    everything = wanted(
        services.usage.today(), first=None, last=None, by=["client"], allowed=ALL_GROUPS
    )
    page = await services.usage.of_all(everything, None)
    assert [row["client"] for row in page.rows] == ["shop"]


async def test_pages_of_usage_are_the_whole(services: Services, sql: Sql) -> None:
    client_id = await client(services, sql)
    for number in range(5):
        await put_task(sql, client_id, State.SUCCEEDED, model=f"m{number}", booked=None)
    await services.sweeper.sweep()
    asked = wanted(
        services.usage.today(), first=None, last=None, by=["day", "model"], allowed=ALL_GROUPS
    )
    asked = replace(asked, limit=2)
    models = []
    while True:
        page = await services.usage.of_client(client_id, asked)
        models += [row["model"] for row in page.rows]
        assert page.total["tasks"]["succeeded"] == 5
        if page.last is None:
            break
        asked = replace(asked, after=page.last)
    assert models == [f"m{number}" for number in range(5)]


async def test_the_statement_and_the_rule_agree_on_what_is_held(
    services: Services, sql: Sql
) -> None:
    """In every state, priced or not, with a reserve or without: by the row's own history."""
    client_id = await client(services, sql)
    await bound(services, 1000)
    total = Decimal(0)
    for state in State:
        for reserved in (None, Decimal(3)):
            for cost in (None, Decimal(2)):
                await put_task(
                    sql,
                    client_id,
                    state,
                    reserved=reserved,
                    credits_consumed=cost if state in FINAL else None,
                    booked=True if state in FINAL else None,
                )
                total += held(state, reserved, cost if state in FINAL else None)
    assert await services.sweeper._books.reconcile() == 1  # nothing was booked of these
    assert (await stands(services, client_id))[1] == total
