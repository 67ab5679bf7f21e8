"""What the receiver keeps of a callback, what it makes of it, and what it answers."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from app.domain.callback_url import CallbackUrls, derive
from app.services.services import Services
from app.wiring import new_id
from tests.fixtures.gateway import StartGateway, Wire
from tests.gateway import SECRET, Gateway
from tests.stage import eventually
from tests.upstream import BALANCE, Upstream, failed, running, succeeded

HMAC_KEY = "webhook-hmac-key-not-to-be-shown"

PAGE_SUCCESS: Mapping[str, Any] = {
    "code": 200,
    "data": {
        "completeTime": 1755599644000,
        "consumeCredits": 100,
        "costTime": 8,
        "createTime": 1755599634000,
        "model": "google/nano-banana",
        "param": '{"callBackUrl":"https://your-domain.com/api/callback",'
        '"model":"google/nano-banana","input":{"prompt":"A surreal painting of a giant banana '
        'floating in space","output_format":"png","image_size":"1:1"}}',
        "remainedCredits": BALANCE,
        "resultJson": '{"resultUrls":["https://example.com/generated-image.jpg"]}',
        "state": "success",
        "taskId": "e989621f54392584b05867f87b160672",
        "updateTime": 1755599644000,
    },
    "msg": "Playground task completed successfully.",
}
"""The vendor's page, word for word but for the prompt's length."""

PAGE_FAILURE: Mapping[str, Any] = {
    "code": 501,
    "data": {
        "completeTime": 1755597081000,
        "consumeCredits": 0,
        "costTime": 0,
        "createTime": 1755596341000,
        "failCode": "500",
        "failMsg": "Internal server error",
        "model": "google/nano-banana",
        "param": '{"callBackUrl":"https://your-domain.com/api/callback",'
        '"model":"google/nano-banana","input":{"prompt":"A surreal painting"}}',
        "remainedCredits": 2510430,
        "state": "fail",
        "taskId": "bd3a37c523149e4adf45a3ddb5faf1a8",
        "updateTime": 1755597097000,
    },
    "msg": "Playground task failed.",
}


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """One for all of these tests: they leave nothing in it but rows."""
    return shared_gateway


def _for(page: Mapping[str, Any], kie_task_id: str, **members: object) -> dict[str, Any]:
    return {**page, "data": {**page["data"], "taskId": kie_task_id, **members}}


async def test_the_pages_success_callback(gateway: Gateway, upstream: Upstream) -> None:
    task = await gateway.create()
    body = _for(PAGE_SUCCESS, task["kie_task_id"])
    assert (await gateway.call_back(upstream.callback_path, body)).status_code == 200
    task = await gateway.task(task["id"])
    assert task["state"] == "succeeded"
    assert task["result_urls"] == ["https://example.com/generated-image.jpg"]
    assert task["result"] == {"resultUrls": ["https://example.com/generated-image.jpg"]}
    assert task["credits_consumed"] == 100
    assert task["settled_by"] == "callback"
    [callback] = await gateway.callbacks(task["id"])
    assert callback["verdict"] == "applied"
    assert callback["code"] == 200
    assert callback["credits_consumed"] == 100
    assert callback["result_urls"] == task["result_urls"]


async def test_the_pages_failure_callback(gateway: Gateway, upstream: Upstream) -> None:
    task = await gateway.create()
    body = _for(PAGE_FAILURE, task["kie_task_id"])
    assert (await gateway.call_back(upstream.callback_path, body)).status_code == 200
    task = await gateway.task(task["id"])
    assert task["state"] == "failed"
    assert (task["fail_code"], task["fail_message"]) == ("500", "Internal server error")
    assert task["fail_source"] == "kie"
    assert task["credits_consumed"] == 0
    assert task["result_urls"] == []


async def test_raw_shows_the_body_without_token_and_balance(
    gateway: Gateway, upstream: Upstream
) -> None:
    task = await gateway.create()
    token = upstream.callback_path.rpartition("/")[2]
    param = json.dumps({"callBackUrl": upstream.creates[-1]["callBackUrl"], "model": "m"})
    body = _for(PAGE_SUCCESS, task["kie_task_id"], param=param)
    await gateway.call_back(upstream.callback_path, body)
    response = await gateway.http.get(f"/v1/tasks/{task['id']}/callbacks")
    assert token not in response.text
    assert str(BALANCE) not in response.text
    raw = json.loads(response.json()["data"][0]["raw"])
    echoed = raw["data"].pop("param")
    assert json.loads(echoed)["callBackUrl"].endswith("/[redacted]")
    assert raw["data"] == {
        **{name: value for name, value in body["data"].items() if name != "param"},
        "remainedCredits": None,
    }


async def test_the_raw_bytes_are_kept_exactly(
    gateway: Gateway, upstream: Upstream, sql: Any
) -> None:
    task = await gateway.create()
    body = b' {"code":200 , "data":{"taskId":"' + task["kie_task_id"].encode() + b'"}}\r\n\xff'
    await gateway.call_back(upstream.callback_path, body)
    assert await sql.fetchval("SELECT body FROM callbacks") == body


# --- what is made of each ------------------------------------------------------------------------


async def test_before_the_creates_own_answer(
    start_gateway: StartGateway, wire: Wire, upstream: Upstream
) -> None:
    gateway = await start_gateway(submit_wait=0)
    go = upstream.holds()
    task = await gateway.create()
    assert task["state"] == "submitting"

    async def asked() -> bool | None:
        return True if upstream.creates else None

    await eventually(asked)
    kie_task_id = upstream.last_id
    await gateway.call_back(upstream.callback_path, succeeded(kie_task_id))
    assert (await gateway.task(task["id"]))["state"] == "submitting"
    assert await gateway.verdicts(task["id"]) == ["unverified"]
    upstream.records[kie_task_id] = succeeded(kie_task_id)
    go.set()
    services = await wire()

    async def settled() -> bool | None:
        await services.poller.poll_due()
        await services.poller.drain()
        return (await gateway.task(task["id"]))["state"] == "succeeded" or None

    await eventually(settled)
    assert (await gateway.task(task["id"]))["kie_task_id"] == kie_task_id


async def test_twice(gateway: Gateway, upstream: Upstream, sql: Any) -> None:
    task = await gateway.create()
    body = succeeded(task["kie_task_id"])
    for _ in range(2):
        assert (await gateway.call_back(upstream.callback_path, body)).status_code == 200
    assert await gateway.verdicts(task["id"]) == ["applied", "duplicate"]
    ends = await sql.fetch("SELECT 1 FROM task_events WHERE to_state = 'succeeded'")
    assert len(ends) == 1


async def test_after_an_end_that_a_query_told(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    task = await gateway.create()
    body = succeeded(task["kie_task_id"])
    upstream.records[task["kie_task_id"]] = body
    await _ask(services, sql)
    await gateway.call_back(upstream.callback_path, body)
    assert await gateway.verdicts(task["id"]) == ["applied", "late"]
    assert (await gateway.task(task["id"]))["settled_by"] == "query"


async def test_after_the_end_and_to_the_contrary(gateway: Gateway, upstream: Upstream) -> None:
    task = await gateway.create()
    await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    before = await gateway.task(task["id"])
    answer = await gateway.call_back(upstream.callback_path, failed(task["kie_task_id"]))
    assert answer.status_code == 200
    assert await gateway.verdicts(task["id"]) == ["applied", "disagreed"]
    after = await gateway.task(task["id"])
    assert after == before


async def test_a_progress_report_after_the_end(gateway: Gateway, upstream: Upstream) -> None:
    task = await gateway.create()
    await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    await gateway.call_back(upstream.callback_path, running(task["kie_task_id"]))
    assert await gateway.verdicts(task["id"]) == ["applied", "late"]


async def test_for_an_unknown_task(gateway: Gateway, sql: Any) -> None:
    urls = CallbackUrls([derive(SECRET, "callback-token")], "https://gateway.test")
    url = urls.url(new_id())
    assert url is not None
    answer = await gateway.call_back(url, succeeded("some-id"))
    assert answer.status_code == 200
    row = await sql.fetchrow("SELECT verdict, kie_task_id FROM callbacks")
    assert tuple(row) == ("unmatched", "some-id")


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b'{"code":200}', b"\xff\xfe", b"null"])
async def test_unparsable(body: bytes, gateway: Gateway, upstream: Upstream, sql: Any) -> None:
    task = await gateway.create()
    assert (await gateway.call_back(upstream.callback_path, body)).status_code == 200
    assert await gateway.verdicts(task["id"]) == ["unreadable"]
    assert (await gateway.task(task["id"]))["state"] == "running"
    await _is_asked_about(sql, task["id"])


@pytest.mark.parametrize(
    ("headers", "verdict", "signature"),
    [
        ({}, "unverified", "missing"),
        ({"X-Webhook-Timestamp": "{now}"}, "unverified", "missing"),
        ({"X-Webhook-Timestamp": "{now}", "X-Webhook-Signature": "AAAA"}, "unverified", "wrong"),
        ({"X-Webhook-Timestamp": "{old}", "X-Webhook-Signature": "{sign}"}, "stale", "stale"),
        ({"X-Webhook-Timestamp": "{now}", "X-Webhook-Signature": "{sign}"}, "applied", "valid"),
    ],
)
async def test_signed(
    headers: dict[str, str],
    verdict: str,
    signature: str,
    start_gateway: StartGateway,
    upstream: Upstream,
    sql: Any,
) -> None:
    gateway = await start_gateway(
        kie_webhook_hmac_keys=(SecretStr("an-older-key"), SecretStr(HMAC_KEY))
    )
    task = await gateway.create()
    sent = _signed(headers, task["kie_task_id"])
    answer = await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]), sent)
    assert answer.status_code == 200
    [callback] = await gateway.callbacks(task["id"])
    assert (callback["verdict"], callback["signature"]) == (verdict, signature)
    if verdict == "applied":
        assert (await gateway.task(task["id"]))["state"] == "succeeded"
    else:
        assert (await gateway.task(task["id"]))["state"] == "running"
        await _is_asked_about(sql, task["id"])


def _signed(headers: Mapping[str, str], kie_task_id: str) -> dict[str, str]:
    now = int(time.time())
    texts = {"{now}": str(now), "{old}": str(now - 301)}
    filled = {name: texts.get(value, value) for name, value in headers.items()}
    if filled.get("X-Webhook-Signature") == "{sign}":
        message = f"{kie_task_id}.{filled['X-Webhook-Timestamp']}".encode()
        digest = hmac.new(HMAC_KEY.encode(), message, hashlib.sha256).digest()
        filled["X-Webhook-Signature"] = base64.b64encode(digest).decode()
    return filled


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"taskId": "another-id"}, id="not the bound id"),
        pytest.param({"task_id": "another-id"}, id="two ids in one body"),
    ],
)
async def test_ids_that_disagree(
    members: dict[str, str], gateway: Gateway, upstream: Upstream, sql: Any
) -> None:
    task = await gateway.create()
    body = succeeded(task["kie_task_id"], **members)
    assert (await gateway.call_back(upstream.callback_path, body)).status_code == 200
    assert await gateway.verdicts(task["id"]) == ["disagreed"]
    assert (await gateway.task(task["id"]))["state"] == "running"
    await _is_asked_about(sql, task["id"])


async def test_a_foreign_callback_url_binds_nothing(
    gateway: Gateway, upstream: Upstream, sql: Any
) -> None:
    """Somebody's own task, made with a callback URL that shows our path and not our token."""
    task = await gateway.create()
    await _forget_kie(sql, "unconfirmed")
    own = upstream.creates[-1]["callBackUrl"]
    foreign = json.dumps({"callBackUrl": own[:-1] + ("A" if own[-1] != "A" else "B")})
    body = succeeded("another-id", param=foreign)
    assert (await gateway.call_back(upstream.callback_path, body)).status_code == 200
    assert await gateway.verdicts(task["id"]) == ["disagreed"]
    after = await gateway.task(task["id"])
    assert (after["state"], after["kie_task_id"]) == ("unconfirmed", None)
    await _is_asked_about(sql, task["id"])


async def test_a_wrong_token_is_404_and_nothing_is_kept(
    gateway: Gateway, upstream: Upstream, sql: Any
) -> None:
    task = await gateway.create()
    own = upstream.callback_path
    other = f"/callbacks/kie/{new_id()}/{own.rpartition('/')[2]}"
    for path in (own[:-1], own + "A", other, own.replace(task["id"], "no-uuid"), own.lower()):
        answer = await gateway.call_back(path, succeeded(task["kie_task_id"]))
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
    assert await sql.fetchval("SELECT count(*) FROM callbacks") == 0


async def test_a_retired_secret_still_verifies(
    start_gateway: StartGateway, upstream: Upstream
) -> None:
    before = await start_gateway()
    task = await before.create()
    secrets = (SecretStr("a-newer-secret-of-the-tests"), SecretStr(SECRET))
    after = await start_gateway(secret_keys=secrets)
    answer = await after.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    assert answer.status_code == 200
    assert (await after.task(task["id"]))["state"] == "succeeded"


@pytest.mark.parametrize("state", ["queued", "submitting", "unconfirmed", "expired", "canceled"])
async def test_evidence_settles_whatever_the_gateway_believed(
    state: str, gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    """A callback names the id, and kie.ai's record proves by our own URL whose it is."""
    task = await gateway.create()
    await _forget_kie(sql, state)
    upstream.has("told-by-callback", succeeded("told-by-callback"))
    await gateway.call_back(upstream.callback_path, succeeded("told-by-callback"))
    assert (await gateway.task(task["id"]))["kie_task_id"] is None
    if state == "submitting":  # whose process is gone
        await sql.execute("UPDATE tasks SET leased_until = now()")
        await services.sweeper.sweep()
    await _ask(services, sql)
    after = await gateway.task(task["id"])
    assert (after["state"], after["kie_task_id"]) == ("succeeded", "told-by-callback")
    assert await gateway.verdicts(task["id"]) == ["unverified", "applied"]


@pytest.mark.parametrize("param", [None, '{"callBackUrl": "https://somebody.test/hook"}'])
async def test_an_id_whose_record_does_not_echo_our_url_is_never_bound(
    param: str | None, gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    task = await gateway.create()
    await _forget_kie(sql, "unconfirmed")
    upstream.records["forged"] = succeeded("forged", **({"param": param} if param else {}))
    await gateway.call_back(upstream.callback_path, succeeded("forged"))
    await _ask(services, sql)
    after = await gateway.task(task["id"])
    assert (after["state"], after["kie_task_id"], after["result"]) == ("unconfirmed", None, None)


async def test_a_failure_of_the_gateways_own_yields(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    task = await gateway.create()
    await sql.execute(
        "UPDATE tasks SET state = 'failed', fail_source = 'gateway', fail_code = 'submit_deadline',"
        " fail_message = 'too late', finished_at = now(), kie_task_id = NULL"
    )
    upstream.has("told-by-callback", succeeded("told-by-callback"))
    await gateway.call_back(upstream.callback_path, succeeded("told-by-callback"))
    await _ask(services, sql)
    after = await gateway.task(task["id"])
    assert (after["state"], after["fail_code"], after["fail_source"]) == ("succeeded", None, None)
    assert (after["fail_class"], after["retryable"]) == (None, None)


async def test_many_at_once_settle_once(gateway: Gateway, upstream: Upstream, sql: Any) -> None:
    task = await gateway.create()
    path, kie_task_id = upstream.callback_path, task["kie_task_id"]
    bodies = [succeeded(kie_task_id)] * 5 + [failed(kie_task_id)] * 5
    answers = await asyncio.gather(*(gateway.call_back(path, body) for body in bodies))
    assert {answer.status_code for answer in answers} == {200}
    kept = await gateway.callbacks(task["id"])
    seen = {callback["verdict"]: callback["times_seen"] for callback in kept}
    settled = next(iter(callback["code"] for callback in kept if callback["verdict"] == "applied"))
    assert len(kept) == len(seen) == 3
    assert seen == {"applied": 1, "duplicate": 4, "disagreed": 5}, settled
    events = await sql.fetch("SELECT to_state FROM task_events ORDER BY id")
    assert len([event for event in events if event["to_state"] in ("succeeded", "failed")]) == 1


async def test_the_token_is_taken_out_of_what_callers_see(
    gateway: Gateway, upstream: Upstream
) -> None:
    task = await gateway.create()
    url = upstream.creates[-1]["callBackUrl"]
    body = failed(task["kie_task_id"], failMsg=f"could not reach {url}", failCode=url)
    await gateway.call_back(upstream.callback_path, body)
    shown = await gateway.http.get(f"/v1/tasks/{task['id']}")
    assert url.rpartition("/")[2] not in shown.text
    assert shown.json()["fail_message"].endswith("/[redacted]")


async def test_with_confirm_before_a_callback_is_only_a_reason_to_ask(
    start_gateway: StartGateway, wire: Wire, upstream: Upstream, sql: Any
) -> None:
    gateway = await start_gateway(kie_confirm="before")
    task = await gateway.create()
    await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    assert await gateway.verdicts(task["id"]) == ["unverified"]
    assert (await gateway.task(task["id"]))["state"] == "running"
    await _is_asked_about(sql, task["id"])
    upstream.records[task["kie_task_id"]] = succeeded(task["kie_task_id"])
    services = await wire(kie_confirm="before")
    assert await services.poller.poll_due() == 0
    await services.poller.drain()
    after = await gateway.task(task["id"])
    assert (after["state"], after["settled_by"]) == ("succeeded", "query")


async def _ask(services: Services, sql: Any) -> None:
    await sql.execute("UPDATE tasks SET due_at = now()")
    assert await services.poller.poll_due() == 0
    await services.poller.drain()


async def _is_asked_about(sql: Any, task_id: str) -> None:
    due = await sql.fetchval("SELECT due_at <= now() FROM tasks WHERE id = $1", UUID(task_id))
    assert due


async def _forget_kie(sql: Any, state: str) -> None:
    """Put the one task into a state in which nothing of kie.ai is known."""
    rests = state in ("expired", "canceled")
    await sql.execute(
        "UPDATE tasks SET state = $1, kie_task_id = NULL, due_at = NULL, expires_at = NULL,"
        " finished_at = CASE WHEN $2 THEN now() END",
        state,
        rests,
    )
