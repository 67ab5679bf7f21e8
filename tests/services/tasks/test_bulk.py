"""An operator's acts on many tasks: which are meant, what follows, and what the audit says."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest

from app.domain.audit import Actor, Operator
from app.domain.bulk import Act, Order, Selection
from app.domain.errors import GatewayError, PaidTwiceRiskError
from app.domain.task import State
from app.services.services import Services
from app.services.tasks import bulk
from app.wiring import new_id
from tests.gateway import OPERATOR, Gateway
from tests.services.stage import ask, due_in, lost
from tests.store.stage import around, events, put_client, put_task, task
from tests.upstream import Upstream, succeeded

URL = "https://hooks.example.net/"
ADMIN = Operator(Actor.ADMIN_API, "ann", "10.0.0.7", "r-1")
OF_SHOP = Selection(client="shop")
REASON = "the campaign was called off"
OLD = {"created_at": -7200.0}
DUE = {"due_at": -1.0}


async def _put(
    sql: Any, client_id: UUID, state: State, at: Mapping[str, float] | None = None, **columns: Any
) -> UUID:
    own = {"id": new_id(), "webhook_url": URL, **columns}
    return await put_task(sql, client_id, state, at=DUE | dict(at or {}), **own)


async def _audit(sql: Any) -> list[tuple[str, str, str | None, dict[str, str]]]:
    rows = await sql.fetch(
        "SELECT action, actor, client, detail || jsonb_build_object("
        "'batches', batches::text, 'done', done::text) AS detail"
        " FROM audit_entries JOIN bulk_runs ON bulk_runs.id::text = detail->>'run'"
        " ORDER BY audit_entries.id"
    )
    entries = [
        (row["action"], row["actor"], row["client"], json.loads(row["detail"])) for row in rows
    ]
    for *_, detail in entries:
        assert UUID(detail.pop("run")).version == 7  # RFC 9562
    return entries


async def _told(sql: Any) -> dict[UUID, str]:
    rows = await sql.fetch("SELECT task_id, event FROM deliveries")
    assert len({row["task_id"] for row in rows}) == len(rows)
    return {row["task_id"]: row["event"] for row in rows}


async def _in_state(sql: Any, state: str) -> set[UUID]:
    return {row["id"] for row in await sql.fetch("SELECT id FROM tasks WHERE state = $1", state)}


async def test_what_is_meant_is_canceled_in_batches_and_nothing_else(
    services: Services, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "BATCH", 2)
    shop, other = await put_client(sql, "shop"), await put_client(sql, "other")
    meant = [await _put(sql, shop, State.QUEUED, OLD, model="a") for _ in range(5)]
    await _put(sql, shop, State.QUEUED, model="a")  # too young
    await _put(sql, shop, State.QUEUED, OLD, model="b")
    await _put(sql, other, State.QUEUED, OLD, model="a")
    for state in (State.SUBMITTING, State.UNCONFIRMED, State.RUNNING, State.FAILED):
        await _put(sql, shop, state, OLD, model="a")
    await sql.execute(
        "UPDATE tasks SET due_at = NULL WHERE id = $1", await _put(sql, shop, State.QUEUED, OLD)
    )
    order = Order(act=Act.CANCEL, selection=Selection(client="shop", model="a", older_than=3600))

    seen = await services.bulk.preview(order)
    assert (seen.total, list(seen.first_ids)) == (5, meant)
    assert seen.groups == [{"client": "shop", "state": "queued", "model": "a", "tasks": 5}]
    assert await _in_state(sql, "canceled") == set()
    assert await _audit(sql) == []

    progress: list[tuple[int, int]] = []
    run = await services.bulk.run(
        OPERATOR, order, progress=lambda done, total: progress.append((done, total))
    )

    assert (run.done, run.remaining) == (5, 0)
    assert progress == [(2, 5), (4, 5), (5, 5)]
    assert await _in_state(sql, "canceled") == set(meant)
    assert await _told(sql) == dict.fromkeys(meant, "task.canceled")
    assert await events(sql, meant[0]) == [("queued", "canceled", 0, "canceled by an operator")]
    counted = {"client": "shop", "model": "a", "older_than": "3600", "meant": "5"}
    done = {"batches": "3", "done": "5"}
    assert await _audit(sql) == [("tasks_canceled", "command_line", "shop", counted | done)]
    again = await services.bulk.run(OPERATOR, order)
    assert (again.done, again.remaining) == (0, 0)
    assert len(await _audit(sql)) == 1


async def test_a_failed_task_says_who_failed_it_and_why(services: Services, sql: Any) -> None:
    shop = await put_client(sql, "shop")
    queued = await _put(sql, shop, State.QUEUED)
    unconfirmed = await _put(sql, shop, State.UNCONFIRMED, {"submitted_at": -60.0}, attempt=1)
    running = await _put(sql, shop, State.RUNNING)
    order = Order(act=Act.FAIL, selection=OF_SHOP, reason=REASON)

    run = await services.bulk.run(ADMIN, order)

    assert (run.done, run.remaining) == (2, 0)
    for task_id in (queued, unconfirmed):
        row = await task(sql, task_id)
        failure = [row[f"fail_{name}"] for name in ("code", "message", "source", "class")]
        assert failure == ["failed_by_operator", REASON, "gateway", "gateway"]
        assert (row["state"], row["retryable"]) == ("failed", None)
        assert (row["finished_at"], row["expires_at"]) == (around(0), None)
        assert (await events(sql, task_id))[-1][3] == "failed by an operator"
    assert await due_in(sql, queued) is None
    assert await due_in(sql, unconfirmed) == around(7200)
    assert await _in_state(sql, "running") == {running}
    assert await _told(sql) == dict.fromkeys([queued, unconfirmed], "task.failed")
    said = {"client": "shop", "reason": REASON, "meant": "2", "batches": "1", "done": "2"}
    assert await _audit(sql) == [("tasks_failed", "admin_api", "shop", said)]


async def test_kie_ai_has_the_last_word_on_what_an_operator_failed(
    gateway: Gateway, services: Services, upstream: Upstream
) -> None:
    upstream.answers(lost)
    created = await gateway.create()
    order = Order(act=Act.FAIL, selection=Selection(ids=(UUID(created["id"]),)), reason=REASON)
    assert (await services.bulk.run(OPERATOR, order)).done == 1
    assert (await gateway.task(created["id"]))["fail_message"] == REASON

    upstream.has("told-by-callback", succeeded("told-by-callback"))
    await gateway.call_back(upstream.callback_path, succeeded("told-by-callback"))
    await ask(services)

    after = await gateway.task(created["id"])
    assert (after["state"], after["fail_code"], after["fail_class"]) == ("succeeded", None, None)


async def test_only_what_was_not_seen_at_kie_ai_is_sent_again(services: Services, sql: Any) -> None:
    shop = await put_client(sql, "shop")
    lost_ones = [await _put(sql, shop, State.UNCONFIRMED, attempt=1) for _ in range(2)]
    bound = await _put(sql, shop, State.UNCONFIRMED, attempt=1, kie_task_id="k")
    order = Order(act=Act.REQUEUE, selection=OF_SHOP)
    assert (await services.bulk.preview(order)).total == 2

    with pytest.raises(PaidTwiceRiskError):
        await services.bulk.run(OPERATOR, order)
    assert await _in_state(sql, "unconfirmed") == {*lost_ones, bound}

    accepted = Order(act=Act.REQUEUE, selection=OF_SHOP, may_pay_again=True)
    run = await services.bulk.run(OPERATOR, accepted, limit=1)
    assert (run.done, run.remaining) == (1, 1)
    assert await _in_state(sql, "queued") == {lost_ones[0]}
    assert (await services.bulk.run(OPERATOR, accepted)).done == 1
    assert await _in_state(sql, "unconfirmed") == {bound}
    assert [detail["may_pay_again"] for *_, detail in await _audit(sql)] == ["true", "true"]


async def test_a_run_that_is_broken_off_has_done_what_the_audit_says(
    services: Services, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "BATCH", 2)
    shop = await put_client(sql, "shop")
    ids = [await _put(sql, shop, State.QUEUED) for _ in range(5)]

    def breaks(done: int, _: int) -> None:
        if done == len(ids) - 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        await services.bulk.run(OPERATOR, Order(act=Act.CANCEL, selection=OF_SHOP), progress=breaks)

    assert await _in_state(sql, "canceled") == set(ids[:4])
    ((*_, detail),) = await _audit(sql)
    assert (detail["meant"], detail["done"], detail["batches"]) == ("5", "4", "2")


async def test_a_batch_whose_commit_was_not_answered_counts_once(
    services: Services, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = await put_client(sql, "shop")
    ids = [await _put(sql, shop, State.QUEUED) for _ in range(3)]
    once = services.lifecycle.run

    async def twice(work: Any) -> Any:
        await once(work)
        return await once(work)

    monkeypatch.setattr(services.lifecycle, "run", twice)
    run = await services.bulk.run(OPERATOR, Order(act=Act.CANCEL, selection=OF_SHOP))

    assert run.done == len(ids)
    ((*_, detail),) = await _audit(sql)
    assert (detail["done"], detail["batches"]) == ("3", "1")
    assert len(await events(sql, ids[0])) == 1


async def test_what_is_in_other_hands_is_left_to_them(services: Services, sql: Any) -> None:
    """Whoever sends a task just now has its row: no waiting for it, and no moving of it."""
    shop = await put_client(sql, "shop")
    held, free = [await _put(sql, shop, State.QUEUED) for _ in range(2)]
    async with sql.transaction():
        await sql.execute("SELECT FROM tasks WHERE id = $1 FOR UPDATE", held)
        run = await services.bulk.run(OPERATOR, Order(act=Act.CANCEL, selection=OF_SHOP))
    assert (run.done, run.remaining) == (1, 1)
    assert await _in_state(sql, "canceled") == {free}


REFUSED: Mapping[str, tuple[Order, str]] = {
    "everything": (Order(act=Act.CANCEL, selection=Selection()), "Say which tasks"),
    "what runs": (
        Order(act=Act.CANCEL, selection=Selection(states=(State.RUNNING,))),
        "Only tasks that are queued can be meant by cancel",
    ),
    "no such client": (Order(act=Act.CANCEL, selection=Selection(client="no-one")), "no-one"),
    "no reason": (Order(act=Act.FAIL, selection=OF_SHOP), "Give a reason"),
    "two lines": (Order(act=Act.FAIL, selection=OF_SHOP, reason="a\nb"), "one line"),
    "half a character": (Order(act=Act.FAIL, selection=OF_SHOP, reason="\ud800"), "one line"),
    "too long": (Order(act=Act.FAIL, selection=OF_SHOP, reason="é" * 251), "500 bytes"),
    "before all instants": (
        Order(act=Act.CANCEL, selection=Selection(older_than=1e300)),
        "at most 100 years",
    ),
    "in the future": (
        Order(act=Act.CANCEL, selection=Selection(older_than=-1)),
        "not below 0",
    ),
    "too many": (
        Order(act=Act.CANCEL, selection=Selection(ids=(UUID(int=1),) * 1001)),
        "At most 1000 ids",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_cannot_be_ordered(name: str, services: Services, sql: Any) -> None:
    shop = await put_client(sql, "shop")
    states: Sequence[State] = (State.QUEUED, State.RUNNING)
    for state in states:
        await _put(sql, shop, state)
    order, says = REFUSED[name]
    with pytest.raises(GatewayError) as seen:
        await services.bulk.preview(order)
    with pytest.raises(GatewayError) as done:
        await services.bulk.run(OPERATOR, order)
    assert says in seen.value.detail
    assert done.value.detail == seen.value.detail
    assert await _in_state(sql, "queued")
    assert await _audit(sql) == []
