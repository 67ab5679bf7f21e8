"""What an erased task's metadata said goes from the sums, and every total stays as it was."""

from dataclasses import replace
from uuid import UUID

from app.services.services import Services
from tests.gateway import OPERATOR
from tests.services.spend.test_spend import DRAFT, client, end, usage
from tests.store.stage import Sql

TEAM = "metadata.team"

Sums = dict[object, tuple[object, object]]
"""Successes and credits, by a value."""


async def create(services: Services, client_id: UUID, metadata: dict[str, str]) -> UUID:
    made = await services.creates.create(client_id, replace(DRAFT, metadata=metadata), None)
    await services.submitter.drain()
    return made.id


async def by_team(services: Services, client_id: UUID) -> Sums:
    """Return what usage has by `team`; all of it by the word `total`."""
    total, *_ = await usage(services, client_id)
    rows = [("total", total)]
    rows += [(row[TEAM], row) for row in await usage(services, client_id, TEAM)]
    return {name: (row["tasks"]["succeeded"], row["credits"]) for name, row in rows}


async def kept(sql: Sql) -> set[str]:
    rows = await sql.fetch("SELECT value FROM usage_daily WHERE key LIKE 'metadata.%'")
    return {row["value"] for row in rows}


async def test_a_value_goes_with_its_last_task_and_totals_stay(
    services: Services, sql: Sql
) -> None:
    client_id = await client(services, sql)
    ann, ann_too, bob, open_yet = [
        await create(services, client_id, {"team": team, "order": str(n)})
        for n, team in enumerate(("ann", "ann", "bob", "cid"))
    ]
    for cost, task_id in enumerate((ann, ann_too, bob), start=1):
        await end(services, sql, task_id, cost)
    await services.sweeper.sweep()
    await end(services, sql, open_yet, 8)  # not folded yet
    whole: Sums = {"total": (4, 14), "ann": (2, 3), "bob": (1, 3), "cid": (1, 8)}
    assert await by_team(services, client_id) == whole

    await services.erasure.of_any_client(OPERATOR, ann)
    assert await by_team(services, client_id) == {**whole, "ann": (1, 2), None: (1, 1)}
    assert "0" not in await kept(sql)
    await services.erasure.of_any_client(OPERATOR, open_yet)
    await services.sweeper.sweep()
    left = {"total": (4, 14), "ann": (1, 2), "bob": (1, 3), None: (2, 9)}
    assert await by_team(services, client_id) == left
    await services.erasure.of_any_client(OPERATOR, ann_too)
    await services.erasure.of_any_client(OPERATOR, bob)
    assert await by_team(services, client_id) == {"total": (4, 14), None: (4, 14)}
    assert await kept(sql) == set()
    (total,) = await sql.fetch("SELECT succeeded, credits FROM usage_daily WHERE key = ''")
    assert tuple(total) == (4, 14)


async def test_what_was_corrected_on_a_later_day_goes_from_both_days(
    services: Services, sql: Sql
) -> None:
    """Its first end is taken out of the first day, and its credits of the day they came on."""
    client_id = await client(services, sql)
    gone, stays = [await create(services, client_id, {"team": "ann"}) for _ in range(2)]
    await end(services, sql, gone, None)
    await end(services, sql, stays, 5)
    await services.sweeper.sweep()
    for statement in (
        "UPDATE usage_daily SET day = day - 1",
        "UPDATE task_events SET at = at - interval '1 day'",
    ):
        await sql.execute(statement)
    await end(services, sql, gone, 4)  # filled, a day later
    await services.sweeper.sweep()
    assert await by_team(services, client_id) == {"total": (2, 9), "ann": (2, 9)}
    await services.erasure.of_any_client(OPERATOR, gone)
    assert await by_team(services, client_id) == {
        "total": (2, 9),
        "ann": (1, 5),
        None: (1, 4),
    }
    assert len(await sql.fetch("SELECT FROM usage_daily WHERE value = 'ann'")) == 1
    await services.erasure.of_any_client(OPERATOR, stays)
    assert await kept(sql) == set()
    assert (await by_team(services, client_id))["total"] == (2, 9)


async def test_among_too_many_models_the_right_row_is_changed(services: Services, sql: Sql) -> None:
    client_id = await client(services, sql)
    task_id = await create(services, client_id, {"team": "ann"})
    await end(services, sql, task_id, 4)
    await services.sweeper.sweep()
    await sql.execute("UPDATE usage_daily SET model = 'other'")
    await services.erasure.of_any_client(OPERATOR, task_id)
    assert await kept(sql) == set()
    assert (await by_team(services, client_id))["total"] == (1, 4)
