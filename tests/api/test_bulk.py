"""Operators' acts on many tasks, by HTTP: bounded, with a dry run, and open to no one else."""

from typing import Any

import pytest

from app.api import bulk
from tests.api.stage import Refusal, check_refusal
from tests.api.test_admin import Admin, admin  # noqa: F401  # a fixture
from tests.store.stage import Sql
from tests.upstream import Upstream

CANCEL = "/tasks/cancel"


async def _queued(admin: Admin, count: int) -> list[str]:  # noqa: F811
    await admin.post("/admission/pause", {})
    return [str((await admin.gateway.create())["id"]) for _ in range(count)]


async def test_a_dry_run_shows_and_a_run_is_bounded(
    admin: Admin,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bulk, "AT_ONCE", 2)
    ids = await _queued(admin, 3)

    seen = await admin.post(CANCEL, {"client": "tests", "dry_run": True})
    assert seen == {
        "dry_run": True,
        "meant": 3,
        "done": 0,
        "remaining": 3,
        "groups": [
            {"client": "tests", "state": "queued", "model": "google/nano-banana", "tasks": 3}
        ],
        "first_ids": ids,
    }
    assert (await admin.gateway.task(ids[0]))["state"] == "queued"

    first = await admin.post(CANCEL, {"client": "tests", "states": ["queued"]})
    assert (first["meant"], first["done"], first["remaining"]) == (3, 2, 1)
    last = await admin.post(CANCEL, {"model": "google/nano-banana", "older_than": 0})
    assert (last["meant"], last["done"], last["remaining"]) == (1, 1, 0)
    assert {(await admin.gateway.task(one))["state"] for one in ids} == {"canceled"}
    found = [one for one in await admin.list("/audit") if one["action"] == "tasks_canceled"]
    assert [one["detail"]["done"] for one in found] == ["1", "2"]
    assert {one["actor"] for one in found} == {"admin_api"}


async def test_a_reason_becomes_the_callers(admin: Admin) -> None:  # noqa: F811
    (task_id,) = await _queued(admin, 1)
    done = await admin.post("/tasks/fail", {"ids": [task_id], "reason": "called off"})
    assert done["done"] == 1
    after = await admin.gateway.task(task_id)
    assert (after["fail_code"], after["fail_message"]) == ("failed_by_operator", "called off")


async def test_a_requeue_says_that_it_may_pay_again(
    admin: Admin,  # noqa: F811
    sql: Sql,
    upstream: Upstream,
) -> None:
    task = await admin.gateway.create()
    await sql.execute("UPDATE tasks SET state = 'unconfirmed', kie_task_id = NULL, due_at = NULL")
    await admin.post("/admission/pause", {})
    seen = await admin.post("/tasks/requeue", {"client": "tests", "dry_run": True})
    assert seen["meant"] == 1
    answer = await admin.asks("POST", "/tasks/requeue", {"client": "tests"})
    check_refusal(answer, Refusal(status=409, code="may_pay_again", says="kie.ai's log"))
    done = await admin.post("/tasks/requeue", {"client": "tests", "may_pay_again": True})
    assert (done["done"], done["remaining"]) == (1, 0)
    assert (await admin.gateway.task(task["id"]))["state"] == "queued"
    assert len(upstream.creates) == 1


REFUSED: list[tuple[str, Any, Refusal]] = [
    (CANCEL, {}, Refusal(status=422, code="invalid_request", says="Say which tasks")),
    (CANCEL, {"states": ["running"]}, Refusal(status=422, code="invalid_request", says="queued")),
    (CANCEL, {"client": "no-one"}, Refusal(status=404, code="not_found", says="no-one")),
    (
        "/tasks/fail",
        {"client": "tests"},
        Refusal(status=422, code="invalid_request", pointer="/reason"),
    ),
]


@pytest.mark.parametrize(("path", "body", "refusal"), REFUSED)
async def test_what_cannot_be_ordered(
    path: str,
    body: Any,
    refusal: Refusal,
    admin: Admin,  # noqa: F811
) -> None:
    (task_id,) = await _queued(admin, 1)
    check_refusal(await admin.asks("POST", path, body), refusal)
    assert (await admin.gateway.task(task_id))["state"] == "queued"
