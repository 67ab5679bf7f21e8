"""A task that cannot be written whole: its caller hears of its end, and the others of theirs."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from app.domain.exact_json import MAX_DEPTH
from app.domain.shapes import native
from app.domain.task import State
from app.services.deliveries import outbox
from app.services.services import Services
from app.wiring import new_id
from tests.scrape import samples
from tests.store.stage import put_client, put_task

URL = "https://hooks.example.net/"
PAST = {"expires_at": -1.0}
TOO_DEEP = json.dumps({"a": "["}).replace('"["', "[" * 2 * MAX_DEPTH + "]" * 2 * MAX_DEPTH)
"""PostgreSQL keeps it, and reading it back raises: as after a restore from elsewhere."""

BRIEF: Mapping[str, Any] = {
    "native": lambda task_id: {"id": str(task_id), "state": "expired", "version": 2},
    "kie": lambda task_id: {"taskId": task_id.hex, "state": "fail"},
}


async def _put(sql: Any, client_id: UUID, **columns: object) -> UUID:
    own: dict[str, object] = {"webhook_url": URL, "id": new_id(), "version": 1, **columns}
    return await put_task(sql, client_id, State.RUNNING, at=PAST, **own)


async def _bodies(sql: Any) -> dict[UUID, dict[str, Any]]:
    rows = await sql.fetch("SELECT task_id, body FROM deliveries WHERE state = 'pending'")
    return {row["task_id"]: json.loads(row["body"]) for row in rows}


def _written_briefly(services: Services) -> float:
    page = samples(services.metrics.page().decode())
    return page["kie_gateway_deliveries_brief_total"]


@pytest.mark.parametrize("dialect", BRIEF)
async def test_a_row_that_cannot_be_read(dialect: str, services: Services, sql: Any) -> None:
    client_id = await put_client(sql)
    before = await _put(sql, client_id)
    broken = await _put(sql, client_id, metadata=TOO_DEEP, dialect=dialect)
    after = await _put(sql, client_id, dialect="kie")

    with capture_logs() as logged:
        assert await services.sweeper.sweep() == 0

    assert {row["state"] for row in await sql.fetch("SELECT state FROM tasks")} == {"expired"}
    bodies = await _bodies(sql)
    assert bodies.keys() == {before, broken, after}
    assert bodies[broken]["data"] == BRIEF[dialect](broken)
    assert bodies[before]["data"]["fail_code"] == "no_answer"
    assert bodies[after]["data"]["failCode"] == "no_answer"
    if dialect == "native":
        assert bodies[broken]["type"] == "task.expired"
        assert bodies[broken]["timestamp"]
    else:
        assert bodies[broken]["code"] == bodies[after]["code"]
    said = [line for line in logged if line["event"] == "delivery.unrenderable"]
    assert [(line["log_level"], line["task_id"]) for line in said] == [("error", str(broken))]
    assert said[0]["error"] == "UnreadableDocumentError"
    assert _written_briefly(services) == 1
    assert await services.sweeper.sweep() is None


async def test_a_body_that_cannot_be_written(
    services: Services, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a defect of the renderer raises."""
    client_id = await put_client(sql)
    ids = [await _put(sql, client_id, priority=number) for number in range(3)]
    write = native.task_answer

    def defective(task: Mapping[str, Any]) -> dict[str, Any]:
        if task["priority"] == 1:
            raise AttributeError
        return write(task)

    monkeypatch.setattr(outbox, "task_answer", defective)
    assert await services.sweeper.sweep() == 0

    bodies = await _bodies(sql)
    assert [len(bodies[task_id]["data"]) > len(("id", "state", "version")) for task_id in ids] == [
        *(True, False, True)
    ]
    assert bodies[ids[1]]["data"] == BRIEF["native"](ids[1])
    assert _written_briefly(services) == 1
