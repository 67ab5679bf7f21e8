"""Telling callers of the drop-in API: kie.ai's own callbacks, signed in both ways."""

import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import pytest_asyncio
from typing_extensions import override

from app.domain.evidence import Signature
from app.domain.report import Unreadable
from app.kie import wire
from app.kie.signature import verify
from app.services.services import Services
from tests.fixtures.gateway import StartGateway, Wire
from tests.gateway import BODY, Gateway
from tests.services.callers import Heard, listening
from tests.services.deliveries.test_deliver import WAYS, Stage, Way
from tests.services.stage import lost
from tests.upstream import BALANCE, Upstream, failed, refused, succeeded

NATIVE = {"task.succeeded": 200, "task.failed": 501, "task.expired": 501, "task.canceled": 501}
"""The code of the callback in the place of each event."""


class KieStage(Stage):
    """The same with a caller who speaks kie.ai's API."""

    @override
    async def create(self, **members: object) -> dict[str, Any]:
        """Create a task there; returns it as the native API shows it."""
        body = {**BODY, "callBackUrl": self.caller.url, **members}
        answer = await self.gateway.http.post("/api/v1/jobs/createTask", json=body)
        assert answer.status_code == 200
        return await self.gateway.task(answer.headers["x-kie-gateway-task"])

    async def record(self, task_id: str) -> dict[str, Any]:
        params = {"taskId": uuid.UUID(task_id).hex}
        answer = await self.gateway.http.get("/api/v1/jobs/recordInfo", params=params)
        data: dict[str, Any] = answer.json()["data"]
        return data

    async def redeliver(self) -> httpx.Response:
        row = await self.row()
        return await self.gateway.http.post(f"/v1/deliveries/{row['id']}/redeliver")


@pytest_asyncio.fixture
async def stage(
    start_shared: StartGateway, wire: Wire, upstream: Upstream, sql: Any
) -> AsyncIterator[KieStage]:
    gateway: Gateway = await start_shared(delivery_allow_loopback=True, submit_wait=5)
    services: Services = await wire(delivery_allow_loopback=True)
    async with listening() as caller:
        yield KieStage(gateway, services, upstream, caller, sql)


def signed_by(heard: Heard, secret: str) -> bool:
    """Verify as kie.ai's page tells its customers to, by nothing of ours."""
    task_id = heard.json["data"]["taskId"]
    timestamp = heard.headers["x-webhook-timestamp"]
    message = f"{task_id}.{timestamp}".encode()
    right = base64.b64encode(hmac.new(secret.encode(), message, hashlib.sha256).digest()).decode()
    return hmac.compare_digest(right, heard.headers["x-webhook-signature"])


# -- every rest


@pytest.mark.parametrize(("way", "events"), WAYS.values(), ids=WAYS.keys())
async def test_every_rest_is_told_once_as_kie_ai_tells(
    way: Way, events: list[str], stage: KieStage
) -> None:
    await way(stage)
    await stage.deliver()
    rows = await stage.rows()
    assert [row["event"] for row in rows] == events
    assert {row["dialect"] for row in rows} <= {"kie"}
    told = [heard.json["code"] for heard in stage.caller.heard]
    assert sorted(told) == sorted(NATIVE[event] for event in events)
    secret = await stage.secret()
    for heard in stage.caller.heard:
        assert list(heard.json) == ["code", "msg", "data"]
        assert heard.verified_by(secret)
        assert signed_by(heard, secret)
        assert str(BALANCE).encode() not in heard.body


@pytest.mark.parametrize(("way", "events"), WAYS.values(), ids=WAYS.keys())
async def test_the_last_one_is_what_the_record_says(
    way: Way, events: list[str], stage: KieStage
) -> None:
    await way(stage)
    await stage.deliver()
    if not events:
        return
    task_id = str(await stage.sql.fetchval("SELECT id FROM tasks"))
    record = await stage.record(task_id)
    rows = await stage.rows()
    told = json.loads(rows[-1]["body"])["data"]
    if record["state"] == "fail":
        assert record.pop("resultJson") == ""
    if "creditsConsumed" in record:
        assert told.pop("consumeCredits") == record["creditsConsumed"]
    assert told == {**record, "updateTime": record["completeTime"]}
    assert told["taskId"] == uuid.UUID(task_id).hex
    assert json.loads(told["param"])["callBackUrl"] == stage.caller.url


async def _expired_unconfirmed(stage: KieStage) -> None:
    stage.upstream.answers(lost)
    assert (await stage.create())["state"] == "unconfirmed"
    await stage.sql.execute("UPDATE tasks SET expires_at = now()")
    await stage.services.sweeper.sweep()


async def _expired_running(stage: KieStage) -> None:
    await stage.create()
    await stage.sql.execute("UPDATE tasks SET expires_at = now()")
    await stage.services.sweeper.sweep()


async def _never_sent(stage: KieStage) -> None:
    stage.upstream.answers(lambda: refused(429, "slow down"))
    await stage.create()
    await stage.sql.execute("UPDATE tasks SET submit_by = now()")
    await stage.services.sweeper.sweep()


async def _canceled(stage: KieStage) -> None:
    stage.upstream.answers(lambda: refused(429, "slow down"))
    task = await stage.create()
    await stage.gateway.http.post(f"/v1/tasks/{task['id']}/cancel")


async def _failed(stage: KieStage) -> None:
    task = await stage.create()
    await stage.call_back(failed(task["kie_task_id"]))


async def _refused(stage: KieStage) -> None:
    stage.upstream.answers(lambda: refused(422, "the prompt is required"))
    await stage.create()


FAILURES = {
    "failed at kie.ai": (_failed, "500"),
    "refused": (_refused, "422"),
    "outcome unknown": (_expired_unconfirmed, "outcome_unknown"),
    "no answer": (_expired_running, "no_answer"),
    "never sent": (_never_sent, "submit_deadline"),
    "canceled": (_canceled, "canceled"),
}


@pytest.mark.parametrize(("way", "fail_code"), FAILURES.values(), ids=FAILURES.keys())
async def test_a_failure_says_why(way: Any, fail_code: str, stage: KieStage) -> None:
    await way(stage)
    await stage.deliver()
    (heard,) = stage.caller.heard
    assert (heard.json["code"], heard.json["msg"]) == (501, "Playground task failed.")
    data = heard.json["data"]
    assert (data["state"], data["failCode"]) == ("fail", fail_code)
    assert data["failMsg"]
    assert "resultJson" not in data


async def test_whoever_reads_kie_ais_callbacks_reads_ours(stage: KieStage) -> None:
    """Our own reader of kie.ai, its signature check too, stands for a customer of theirs."""
    task = await stage.settled()
    await stage.deliver()
    (heard,) = stage.caller.heard
    report = wire.read_callback(heard.body)
    assert not isinstance(report, Unreadable)
    assert report.kie_task_ids == (uuid.UUID(task["id"]).hex,)
    assert report.result == task["result"]
    assert (report.code, report.kie_state) == (200, "success")
    assert float(report.credits_consumed or 0) == task["credits_consumed"]
    verdict = verify(
        [(await stage.secret()).encode()],
        report.kie_task_ids,
        heard.headers["x-webhook-timestamp"],
        heard.headers["x-webhook-signature"],
        datetime.now(UTC),  # noqa: TID251  # as a receiver would
    )
    assert verdict is Signature.VALID


# -- who is told how


async def test_the_clients_choice_of_events_is_for_the_native_api(stage: KieStage) -> None:
    await stage.subscribe("task.running")
    await stage.settled()
    assert [row["event"] for row in await stage.rows()] == ["task.succeeded"]


async def test_without_a_url_the_clients_own_is_told_natively(stage: KieStage) -> None:
    await stage.sql.execute("UPDATE clients SET webhook_url = $1", stage.caller.url)
    await stage.settled(callBackUrl=None)
    assert (await stage.row())["dialect"] == "native"
    await stage.deliver()
    (heard,) = stage.caller.heard
    assert heard.event == "task.succeeded"
    assert "x-webhook-signature" not in heard.headers
    await stage.subscribe()
    await stage.settled(callBackUrl=None)
    assert len(await stage.rows()) == 1


async def test_a_native_task_is_told_natively(stage: KieStage) -> None:
    task = await stage.gateway.create(webhook_url=stage.caller.url)
    await stage.call_back(succeeded(task["kie_task_id"]))
    await stage.deliver()
    (heard,) = stage.caller.heard
    assert heard.event == "task.succeeded"
    assert "x-webhook-signature" not in heard.headers


async def test_the_native_api_shows_the_delivery(stage: KieStage) -> None:
    task = await stage.settled()
    await stage.deliver()
    (shown,) = (await stage.gateway.http.get(task["urls"]["deliveries"])).json()["data"]
    assert (shown["event"], shown["url"], shown["state"]) == (
        "task.succeeded",
        stage.caller.url,
        "delivered",
    )
    assert [attempt["status"] for attempt in shown["attempts"]] == [200]
    assert shown["webhook_id"] == stage.caller.heard[0].id


# -- again


async def test_every_attempt_and_repetition_is_the_same_and_signed_anew(stage: KieStage) -> None:
    stage.caller.says(503)
    await stage.settled()
    await stage.deliver()
    await stage.passes(6)
    stage.caller.says(200)
    await stage.deliver()
    assert (await stage.redeliver()).status_code == 202
    await stage.deliver()
    first, second, repeated = stage.caller.heard
    assert first.body == second.body == repeated.body
    assert first.id == second.id != repeated.id
    secret = await stage.secret()
    for heard in stage.caller.heard:
        assert heard.verified_by(secret)
        assert signed_by(heard, secret)
    assert {row["dialect"] for row in await stage.rows()} == {"kie"}


async def test_the_body_is_frozen(stage: KieStage) -> None:
    """An expiry that is heard of late is an expiry, though the task has been settled since."""
    await _expired_running(stage)
    kie_task_id = await stage.sql.fetchval("SELECT kie_task_id FROM tasks")
    await stage.call_back(succeeded(kie_task_id))
    await stage.deliver()
    by_code = {heard.json["code"]: heard.json["data"] for heard in stage.caller.heard}
    assert by_code[501]["failCode"] == "no_answer"
    assert by_code[200]["failCode"] is None
    assert by_code[200]["taskId"] == by_code[501]["taskId"]


async def test_in_a_rotation_the_new_secret_signs_kie_ais_way(stage: KieStage) -> None:
    """Its header has room for one signature; the other has both until the grace is over."""
    before = await stage.secret()
    await stage.settled()
    await stage.services.keys.rotate_secret("tests", grace=3600)
    now = await stage.secret()
    assert now != before
    await stage.deliver()
    (heard,) = stage.caller.heard
    assert signed_by(heard, now)
    assert not signed_by(heard, before)
    assert heard.verified_by(now)
    assert heard.verified_by(before)


async def test_a_secret_that_cannot_be_opened_sends_nothing(stage: KieStage) -> None:
    await stage.settled()
    await stage.sql.execute("UPDATE clients SET signing_secret = '\\x00'")
    await stage.deliver()
    assert stage.caller.heard == []
    (attempt,) = await stage.attempts()
    assert "not sent" in attempt["error"]
