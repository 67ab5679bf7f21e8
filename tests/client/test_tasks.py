"""Tasks through both clients, against a gateway over real sockets."""

import asyncio
import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from kie_gateway_client import (
    Conflict,
    Gone,
    IdempotencyMismatch,
    Invalid,
    NotFound,
    State,
    Task,
    TaskFailed,
    TimedOut,
)
from tests.client.side import Side
from tests.gateway import BODY, Gateway
from tests.stage import eventually
from tests.upstream import Upstream, failed, refused, succeeded

MODEL, INPUT = BODY["model"], BODY["input"]
NOBODY = "019a0000-0000-7000-8000-000000000000"
EXACT = {"seed": 12345678901234567890, "scale": Decimal("1.50"), "text": "ein Käse"}


async def task_ends(
    gateway: Gateway, upstream: Upstream, told: Callable[[str], dict[str, Any]]
) -> None:
    """Wait for the create at kie.ai and call back with what `told` says of the id.

    Only once its answer was taken in: what overtakes that is asked about, and nobody polls here.
    """

    async def look() -> str | None:
        return upstream.callback_path if upstream.creates else None

    path = await eventually(look)
    await gateway.reaches(path.split("/")[-2], "running")
    await gateway.call_back(path, told(upstream.last_id))


async def test_run_returns_the_task_that_succeeded(
    side: Side, gateway: Gateway, upstream: Upstream
) -> None:
    running = asyncio.create_task(side.call("run", MODEL, EXACT, metadata={"order": "A-1"}))
    await task_ends(gateway, upstream, partial(succeeded, consumeCredits=4.5))
    task: Task = await running

    assert (task.state, task.model, task.metadata) == (State.SUCCEEDED, MODEL, {"order": "A-1"})
    assert task.credits_consumed == Decimal("4.5")
    assert isinstance(task.credits_consumed, Decimal)
    assert task.created_at.utcoffset() == dt.timedelta(0)
    assert task.input == EXACT
    assert b'"scale":1.50' in upstream.bodies[0].replace(b" ", b"")
    assert task.result_urls == ["https://example.com/generated-image.jpg"]
    assert task.raw["id"] == str(task.id)
    assert task == await side.call("get", task.id)


async def test_a_failure_is_raised_with_its_reason(side: Side, upstream: Upstream) -> None:
    upstream.answers(lambda: refused(422, "the model is not known"))
    with pytest.raises(TaskFailed) as ended:
        await side.call("run", MODEL, INPUT, timeout=20)
    error = ended.value
    assert (error.code, error.detail, error.retryable) == ("422", "the model is not known", False)
    assert error.task.state is State.FAILED
    assert str(error) == f"task {error.task.id} failed, 422: the model is not known"


async def test_a_task_can_be_waited_for_again(
    side: Side, gateway: Gateway, upstream: Upstream
) -> None:
    with pytest.raises(TimedOut) as over:
        await side.call("run", MODEL, INPUT, timeout=0.3)
    task = over.value.task
    assert not task.is_final
    assert isinstance(over.value, TimeoutError)
    with pytest.raises(TimedOut):
        await side.call("wait", task.id, timeout=0)
    waiting = asyncio.create_task(side.call("wait", str(task.id)))
    await task_ends(gateway, upstream, failed)
    assert (await waiting).state is State.FAILED


async def test_several_are_waited_for(side: Side, gateway: Gateway, upstream: Upstream) -> None:
    first = await side.call("create", MODEL, INPUT)
    path = upstream.callback_path
    second = await side.call("create", MODEL, INPUT)
    ids = [first.id, second.id]
    with pytest.raises(TimedOut) as over:
        await side.call("wait_all", ids, timeout=0.2)
    assert [task.id for task in over.value.tasks] == ids

    waiting = asyncio.create_task(side.call("wait_any", ids))
    await gateway.call_back(upstream.callback_path, succeeded(upstream.last_id))
    assert [task.id for task in await waiting] == [second.id]
    waiting = asyncio.create_task(side.call("wait_all", ids))
    await gateway.call_back(path, succeeded(first.kie_task_id))
    assert [task.state for task in await waiting] == ["succeeded", "succeeded"]
    assert await side.call("wait_all", []) == ()
    with pytest.raises(ValueError, match="1 to 100"):
        await side.call("wait_any", ids * 51)


async def test_lists_go_from_page_to_page(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kie_gateway_client.reading.MAX_PAGE", 2)
    made = [await side.call("create", MODEL, INPUT, metadata={"n": str(n)}) for n in range(5)]
    newest = [task.id for task in reversed(made)]
    assert [task.id for task in await side.all("list")] == newest
    assert [task.id for task in await side.all("list", most=3)] == newest[:3]
    assert [task.id for task in await side.all("list", metadata={"n": "2"})] == [made[2].id]
    (only,) = await side.all("list", most=1, with_input=True, state=["running", State.QUEUED])
    assert only.input == INPUT
    assert await side.all("list", state="failed") == []
    assert await side.all("list", created_before=made[0].created_at) == []
    with pytest.raises(ValueError, match="needs a zone"):
        await side.all("list", created_after=dt.datetime(2026, 1, 1))  # noqa: DTZ001


async def test_a_task_ends_and_goes(
    side: Side, gateway: Gateway, upstream: Upstream, sql: Any
) -> None:
    await sql.execute("UPDATE kie_account SET paused_at = now()")
    waiting = await side.call("create", MODEL, INPUT)
    with pytest.raises(Conflict) as early:
        await side.call("erase", waiting.id)
    assert (early.value.status, early.value.code) == (409, "not_erasable")
    assert (await side.call("cancel", waiting.id)).state is State.CANCELED
    assert await side.call("erase", waiting.id) is None
    with pytest.raises(Gone) as gone:
        await side.call("get", waiting.id)
    assert gone.value.code == "task_erased"

    await sql.execute("UPDATE kie_account SET paused_at = NULL")
    task = await side.call("create", MODEL, INPUT)
    with pytest.raises(Conflict) as late:
        await side.call("cancel", task.id)
    assert late.value.code == "not_cancelable"
    await gateway.call_back(upstream.callback_path, succeeded(task.kie_task_id))
    (callback,) = await side.all("callbacks", task.id)
    assert (callback.verdict, callback.credits_consumed) == ("applied", Decimal(100))
    assert "resultJson" in callback.body


async def test_what_is_wrong_is_said_with_its_place(side: Side) -> None:
    with pytest.raises(Invalid) as invalid:
        await side.call("create", "", INPUT, priority=10)
    assert {flaw.pointer for flaw in invalid.value.fields} == {"/model", "/priority"}
    assert invalid.value.request_id
    assert invalid.value.request_id in str(invalid.value)
    with pytest.raises(NotFound) as nothing:
        await side.call("get", NOBODY)
    assert nothing.value.status == 404
    with pytest.raises(Invalid) as no_id:
        await side.call("get", "x")
    assert no_id.value.fields[0].parameter == "task_id"
    with pytest.raises(NotFound):
        await side.call("get", "../admin/clients")
    for nothing_at_all in ("", ".", ".."):
        with pytest.raises(ValueError, match="an id is needed"):
            await side.call("erase", nothing_at_all)


async def test_a_key_is_one_task(side: Side, upstream: Upstream) -> None:
    task = await side.call("create", MODEL, INPUT, idempotency_key="order-1")
    again = await side.call("create", MODEL, INPUT, idempotency_key="order-1")
    assert task.id == again.id
    with pytest.raises(IdempotencyMismatch) as other:
        await side.call("create", MODEL, {"prompt": "a dog"}, idempotency_key="order-1")
    assert other.value.idempotency_key == "order-1"
    assert len(upstream.creates) == 1
