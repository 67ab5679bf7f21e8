"""`kie-gateway tasks cancel`, `requeue` and `fail` of many tasks, as an operator types them."""

from pathlib import Path

import pytest

from app.domain.task import State
from app.wiring import new_id
from tests.processes.conftest import Connection
from tests.processes.stage import Stage
from tests.store.stage import put_client, put_task

NO_KEY = {"KIE_GATEWAY_API_KEY": None, "GATEWAY_SECRET_KEYS": None}
REASON = ("--reason", "called off")


@pytest.mark.long
async def test_many_tasks_at_once(stage: Stage, sql: Connection) -> None:
    shop = await put_client(sql, "shop")
    old = {"due_at": -1.0, "created_at": -7200.0}
    first, *_ = [
        await put_task(sql, shop, State.QUEUED, at=old, id=new_id(), model="a") for _ in range(3)
    ]
    lost = str(await put_task(sql, shop, State.UNCONFIRMED, at=old, id=new_id(), attempt=1))

    keys, dry, everything, unsaid, caller, both, age, done, again = await stage.run_each(
        [
            ["keys", "list"],
            ["tasks", "cancel", "--client", "shop", "--older-than", "1h", "--dry-run"],
            ["tasks", "cancel"],
            ["tasks", "requeue", "--client", "shop"],
            ["tasks", "cancel", lost],
            ["tasks", "cancel", lost, "--client", "shop"],
            ["tasks", "cancel", "--older-than", "soon"],
            ["tasks", "cancel", "--state", "queued", "--json"],
            ["tasks", "cancel", "--id", str(first)],
        ],
        **NO_KEY,
    )

    assert keys.status == 0, keys
    assert (dry.status, dry.err) == (0, "")
    assert dry.out.splitlines()[1].split() == ["shop", "queued", "a", "3"]
    assert dry.out.splitlines()[2].startswith(f"the oldest: {first} ")
    assert dry.out.splitlines()[-1] == "3 would be canceled"
    assert everything.said("Say which tasks", status=2), everything
    assert unsaid.said("--may-pay-again", status=2), unsaid
    assert caller.said("KIE_GATEWAY_API_KEY", status=2), caller
    assert both.said("an operator names it by --id", status=2), both
    assert (age.status, "90s, 30m, 2h or 7d" in age.err) == (2, True), age
    assert (done.json["meant"], done.json["done"], done.json["remaining"]) == (3, 3, 0)
    assert done.err == "3 of 3\n"
    assert again.said("it would have to be queued", status=1), again
    assert await sql.fetchval("SELECT count(*) FROM tasks WHERE state = 'canceled'") == 3

    put_back, failed, twice = await stage.run_each(
        [
            ["tasks", "requeue", "--client", "shop", "--may-pay-again"],
            ["tasks", "fail", lost, *REASON],
            ["tasks", "fail", lost, *REASON],
        ],
        **NO_KEY,
    )
    assert (put_back.status, put_back.out) == (0, "1 queued again\n"), put_back
    assert (failed.status, failed.out) == (0, "1 failed\n"), failed
    assert twice.said("it would have to be queued or unconfirmed", status=1), twice
    actions = await sql.fetch("SELECT action FROM audit_entries ORDER BY id")
    assert [row["action"] for row in actions] == [
        *("tasks_canceled", "tasks_requeued", "tasks_failed")
    ]


@pytest.mark.long
async def test_who_sets_no_url_is_told_which_database_it_is(stage: Stage, room: Path) -> None:
    """And nothing else: no line of alembic's, whose migrations run before the answer."""
    given = {"GATEWAY_DATABASE_URL": None, "GATEWAY_DATA_DIR": str(room / "data"), **NO_KEY}
    new, there = await stage.run_each([["keys", "list", "--json"], ["stuck"]], **given)
    where = room / "data"
    unset = "GATEWAY_DATABASE_URL is not set: this is"
    assert (new.out, new.err) == ("[]\n", f"{unset} a new embedded database in {where}\n")
    assert there.out == "nothing is stuck\n"
    assert there.err == f"{unset} the embedded database in {where}\n"
