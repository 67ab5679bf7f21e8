"""What later evidence does to an end: filled, corrected, held, and told again."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from starlette.responses import JSONResponse

from app.services.services import Services
from tests.fixtures.gateway import StartGateway, Wire
from tests.gateway import Gateway
from tests.services.stage import ask, due_in, due_now, lost
from tests.upstream import Upstream, accepted, failed, refused, running, succeeded

HMAC_KEY = "the-account-owner-s-key"
TRUE = "https://tempfile.test/true.png"
ALARM = "disagreements_total{"
FORGED = "https://evil.test/forged.png"


@dataclass
class Stage:
    """One gateway, one task at kie.ai, and what its client was told."""

    gateway: Gateway
    services: Services
    upstream: Upstream
    sql: Any
    task: Mapping[str, Any]
    began: float = field(default_factory=time.monotonic)

    @property
    def kie_task_id(self) -> str:
        return str(self.task["kie_task_id"])

    async def now(self) -> dict[str, Any]:
        return await self.gateway.task(self.task["id"])

    async def call_back(self, body: Mapping[str, Any], *, signed: bool = False) -> None:
        headers = _signature(self.kie_task_id) if signed else {}
        answer = await self.gateway.call_back(self.upstream.callback_path, body, headers)
        assert answer.status_code == 200

    async def record(self, envelope: dict[str, Any]) -> None:
        """Let kie.ai's record say so from now on, and ask."""
        self.upstream.records[self.kie_task_id] = envelope
        await self.ask()

    async def ask(self) -> None:
        await due_now(self.sql)
        await ask(self.services)

    async def passes(self, seconds: float) -> None:
        await self.sql.execute(
            "UPDATE tasks SET held_since = held_since - make_interval(secs => $1),"
            " unreached_since = unreached_since - make_interval(secs => $1),"
            " finished_at = finished_at - make_interval(secs => $1)",
            seconds,
        )

    async def is_asked_in(self, seconds: float, slack: float = 0.5) -> bool:
        """Tell whether the next question was planned so long before it, however slow we are."""
        left = await due_in(self.sql, self.task["id"])
        assert left is not None
        passed = time.monotonic() - self.began
        return seconds - slack - passed <= left <= seconds + slack

    async def told(self) -> list[tuple[str, Any]]:
        """The deliveries: the event, and the URLs that its body has."""
        rows = await self.sql.fetch("SELECT event, body FROM deliveries ORDER BY id")
        return [(row["event"], json.loads(row["body"])["data"]["result_urls"]) for row in rows]

    async def history(self) -> list[str]:
        answer = await self.gateway.http.get(f"/v1/tasks/{self.task['id']}/events")
        return [event["type"] for event in answer.json()["data"]]

    async def alarms(self) -> int:
        """Count those of both: the process that answers, and the one that polls."""
        pages = [
            (await self.gateway.http.get("/metrics")).text,
            self.services.metrics.page().decode(),
        ]
        lines = [line for page in pages for line in page.splitlines() if ALARM in line]
        return int(sum(float(line.rsplit(" ", 1)[1]) for line in lines))


def _signature(kie_task_id: str) -> dict[str, str]:
    now = str(int(time.time()))
    digest = hmac.digest(HMAC_KEY.encode(), f"{kie_task_id}.{now}".encode(), hashlib.sha256)
    return {
        "X-Webhook-Timestamp": now,
        "X-Webhook-Signature": base64.b64encode(digest).decode(),
    }


def pictures(kie_task_id: str, *urls: str, **members: Any) -> dict[str, Any]:
    return succeeded(kie_task_id, resultJson=json.dumps({"resultUrls": urls}), **members)


async def staged(
    start_shared: StartGateway,
    wire: Wire,
    upstream: Upstream,
    sql: Any,
    events: list[str] | None = None,
    **settings: Any,
) -> Stage:
    gateway = await start_shared(**settings)
    services = await wire(**settings)
    await sql.execute(
        "UPDATE clients SET webhook_url = 'https://caller.test/hook', webhook_events = $1", events
    )
    return Stage(gateway, services, upstream, sql, await gateway.create())


@pytest.fixture
async def stage(start_shared: StartGateway, wire: Wire, upstream: Upstream, sql: Any) -> Stage:
    return await staged(start_shared, wire, upstream, sql)


# -- fill


@pytest.mark.parametrize("result_json", [None, "", json.dumps({"resultUrls": []})])
async def test_a_success_without_a_result_is_asked_about_before_it_is_settled(
    result_json: str | None, stage: Stage
) -> None:
    empty = succeeded(stage.kie_task_id, resultJson=result_json)
    await stage.call_back(empty)
    assert (await stage.now())["state"] == "running"
    assert (await due_in(stage.sql, stage.task["id"]) or 1) <= 0
    await stage.record(empty)
    assert await stage.is_asked_in(2)
    await stage.record(pictures(stage.kie_task_id, TRUE))
    after = await stage.now()
    assert (after["state"], after["result_urls"], after["confirmed"]) == ("succeeded", [TRUE], True)
    assert await stage.told() == [("task.succeeded", [TRUE])]


async def test_a_success_that_never_shows_a_result_settles_as_it_is(stage: Stage) -> None:
    empty = succeeded(stage.kie_task_id, resultJson=None)
    await stage.call_back(empty)
    for held_for, wait in ((0, 2), (2, 5), (5, 15), (15, 30)):
        await stage.passes(held_for)
        await stage.record(empty)
        assert await stage.is_asked_in(wait, 0.6)
    await stage.passes(31)
    await stage.record(empty)
    after = await stage.now()
    assert (after["state"], after["result"]) == ("succeeded", None)


async def test_credits_that_only_the_record_has_are_told_as_an_update(
    start_shared: StartGateway, wire: Wire, upstream: Upstream, sql: Any
) -> None:
    events = ["task.succeeded", "task.updated"]
    stage = await staged(start_shared, wire, upstream, sql, events)
    bare = {"consumeCredits": None, "costTime": None, "createTime": None, "completeTime": None}
    await stage.call_back(pictures(stage.kie_task_id, TRUE, **bare))
    before = await stage.now()
    assert (before["state"], before["credits_consumed"]) == ("succeeded", None)
    await stage.record(pictures(stage.kie_task_id, TRUE, consumeCredits=4.5))
    after = await stage.now()
    assert (after["credits_consumed"], after["duration_seconds"]) == (4.5, 8)
    assert after["version"] > before["version"]
    assert await stage.history() == [
        *("task.queued", "task.submitting", "task.running", "task.succeeded", "task.filled")
    ]
    assert [event for event, _ in await stage.told()] == events


@pytest.mark.parametrize("first", ["call_back", "record"])
async def test_credits_that_the_record_has_late_are_asked_for_twice(
    first: str, stage: Stage
) -> None:
    silent = pictures(stage.kie_task_id, TRUE, consumeCredits=None)
    await getattr(stage, first)(silent)
    await stage.record(silent)
    assert await stage.is_asked_in(10)
    await stage.passes(10)
    await stage.record(pictures(stage.kie_task_id, TRUE, consumeCredits=4.5))
    assert (await stage.now())["credits_consumed"] == 4.5
    assert await due_in(stage.sql, stage.task["id"]) is None


async def test_credits_that_nobody_tells_are_not_asked_for_for_ever(stage: Stage) -> None:
    silent = pictures(stage.kie_task_id, TRUE, consumeCredits=None)
    for wait in (10, 50):
        await stage.record(silent)
        assert await stage.is_asked_in(wait)
        await stage.passes(wait)
    await stage.record(silent)
    assert await due_in(stage.sql, stage.task["id"]) is None


async def test_credits_that_a_callback_told_are_not_asked_for(stage: Stage) -> None:
    await stage.call_back(pictures(stage.kie_task_id, TRUE, consumeCredits=4.5))
    await stage.record(pictures(stage.kie_task_id, TRUE, consumeCredits=None))
    assert await due_in(stage.sql, stage.task["id"]) is None
    assert (await stage.now())["credits_consumed"] == 4.5


async def test_who_did_not_ask_for_updates_hears_of_none(stage: Stage) -> None:
    await stage.call_back(pictures(stage.kie_task_id, TRUE, consumeCredits=None))
    await stage.record(pictures(stage.kie_task_id, TRUE, consumeCredits=4.5))
    assert (await stage.now())["credits_consumed"] == 4.5
    assert await stage.told() == [("task.succeeded", [TRUE])]


async def test_the_real_reason_of_a_failure_is_told_again(stage: Stage) -> None:
    general = failed(stage.kie_task_id, failCode=None, failMsg=None)
    await stage.call_back(general)
    before = await stage.now()
    assert (before["fail_code"], before["fail_class"]) == ("501", "unknown")
    real = {"failCode": "1501", "failMsg": "Content review failed, please change the prompt."}
    await stage.record(failed(stage.kie_task_id, **real))
    after = await stage.now()
    assert (after["fail_code"], after["fail_message"]) == tuple(real.values())
    assert (after["fail_class"], after["retryable"]) == ("content", False)
    assert [event for event, _ in await stage.told()] == ["task.failed"] * 2


async def test_the_same_again_changes_nothing_and_tells_nobody(stage: Stage) -> None:
    body = pictures(stage.kie_task_id, TRUE)
    await stage.call_back(body)
    before = await stage.now()
    for _ in range(3):
        await stage.call_back(body)
    assert await stage.now() == before
    assert len(await stage.told()) == 1


# -- failures that turn around


def _timeout(kie_task_id: str) -> dict[str, Any]:
    return failed(kie_task_id, failCode="524", failMsg="generate task timeout.")


async def test_a_failure_that_turns_around_is_a_success(stage: Stage) -> None:
    await stage.call_back(_timeout(stage.kie_task_id))
    await stage.record(_timeout(stage.kie_task_id))
    await stage.passes(60)
    assert (await stage.now())["state"] == "running"
    await stage.record(pictures(stage.kie_task_id, TRUE))
    assert (await stage.now())["result_urls"] == [TRUE]
    assert await stage.told() == [("task.succeeded", [TRUE])]
    assert await stage.alarms() == 0


async def test_one_that_stays_is_a_failure_after_150_seconds(stage: Stage) -> None:
    await stage.record(_timeout(stage.kie_task_id))
    await stage.passes(140)
    await stage.record(_timeout(stage.kie_task_id))
    assert (await stage.now())["state"] == "running"
    assert await stage.is_asked_in(10, 0.9)
    await stage.passes(10)
    await stage.record(_timeout(stage.kie_task_id))
    after = await stage.now()
    assert (after["state"], after["fail_class"], after["retryable"]) == ("failed", "timeout", True)


async def test_and_a_success_after_that_still_settles_it(stage: Stage) -> None:
    await stage.record(_timeout(stage.kie_task_id))
    await stage.passes(150)
    await stage.record(_timeout(stage.kie_task_id))
    assert await stage.is_asked_in(300, 1)
    await stage.record(pictures(stage.kie_task_id, TRUE))
    after = await stage.now()
    assert (after["state"], after["fail_code"], after["fail_class"]) == ("succeeded", None, None)
    assert [event for event, _ in await stage.told()] == ["task.failed", "task.succeeded"]
    assert await stage.alarms() == 0


async def test_an_expired_task_is_not_held(stage: Stage) -> None:
    await stage.sql.execute("UPDATE tasks SET expires_at = now()")
    await stage.services.sweeper.sweep()
    await stage.record(_timeout(stage.kie_task_id))
    assert (await stage.now())["state"] == "failed"


# -- kie.ai cannot be asked


async def test_a_callback_is_believed_once_kie_has_not_been_reached_for_a_minute(
    start_shared: StartGateway, wire: Wire, upstream: Upstream, sql: Any
) -> None:
    stage = await staged(start_shared, wire, upstream, sql, kie_confirm="before")
    await stage.call_back(pictures(stage.kie_task_id, TRUE))
    away = {"code": 500, "msg": "Server exception", "data": None}
    await stage.record(away)
    await stage.passes(57)
    await stage.record(away)
    assert (await stage.now())["state"] == "running"
    assert await stage.is_asked_in(3, 0.9)
    await stage.passes(10)
    await stage.record(away)
    after = await stage.now()
    assert (after["state"], after["settled_by"], after["confirmed"]) == (
        *("succeeded", "callback", False),
    )
    assert await stage.alarms() == 0
    # and it is compared all the same, once kie.ai speaks again
    await stage.record(pictures(stage.kie_task_id, TRUE))
    assert (await stage.now())["confirmed"]


@pytest.mark.parametrize(
    "answer",
    [
        {"code": 422, "msg": "recordInfo is null", "data": None},
        {"code": 429, "msg": "too many", "data": None},
        running("x"),
    ],
    ids=["not visible", "asked too often", "running"],
)
async def test_as_long_as_kie_is_there_only_its_record_counts(
    answer: dict[str, Any],
    start_shared: StartGateway,
    wire: Wire,
    upstream: Upstream,
    sql: Any,
) -> None:
    stage = await staged(start_shared, wire, upstream, sql, kie_confirm="before")
    await stage.call_back(pictures(stage.kie_task_id, TRUE))
    if answer["code"] == 200:
        answer = running(stage.kie_task_id)
    for _ in range(3):
        await stage.record(answer)
        await stage.passes(60)
    assert (await stage.now())["state"] == "running"


# -- forged callbacks


RECORDS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "runs": running,
    "succeeded": lambda kie_task_id: pictures(kie_task_id, TRUE),
    "failed": failed,
}
"""What kie.ai's record says when a forged success comes."""


@pytest.mark.parametrize("signed", [False, True], ids=["without HMAC", "with HMAC"])
@pytest.mark.parametrize("when", ["before", "after", "instead"])
@pytest.mark.parametrize("said", RECORDS)
async def test_a_forged_result_is_never_the_last_word(
    said: str,
    when: str,
    signed: bool,  # noqa: FBT001  # a column of the table
    start_shared: StartGateway,
    wire: Wire,
    upstream: Upstream,
    sql: Any,
) -> None:
    """As the settings are by default: `KIE_CONFIRM` is `auto`.

    With HMAC the forger has a signature that was seen with another body. While kie.ai's record
    says that the task runs, its end is still to come, and comes as a success.
    """
    keys = (SecretStr(HMAC_KEY),) if signed else ()
    stage = await staged(
        *(start_shared, wire, upstream, sql),
        kie_confirm="auto",
        kie_webhook_hmac_keys=keys,
    )
    record = RECORDS[said](stage.kie_task_id)
    end = failed(stage.kie_task_id) if said == "failed" else pictures(stage.kie_task_id, TRUE)
    forged = pictures(stage.kie_task_id, FORGED)
    calls = {"before": [forged, end], "after": [end, forged], "instead": [forged]}[when]
    stage.upstream.records[stage.kie_task_id] = record
    for body in calls:
        await stage.call_back(body, signed=signed)
        await stage.ask()
    await stage.passes(31)
    await stage.record(record)
    await stage.record(end)
    after = await stage.now()
    expected = ("failed", []) if said == "failed" else ("succeeded", [TRUE])
    assert (after["state"], after["result_urls"]) == expected
    assert after["confirmed"]
    assert await stage.alarms() >= 1
    told = await stage.told()
    assert told[-1] == (f"task.{expected[0]}", expected[1])
    if not signed:
        assert ("task.succeeded", [FORGED]) not in told


async def test_a_correction_is_in_the_history(stage: Stage) -> None:
    await stage.call_back(pictures(stage.kie_task_id, FORGED))
    await stage.record(pictures(stage.kie_task_id, TRUE))
    assert (await stage.history())[-2:] == ["task.succeeded", "task.corrected"]
    assert await stage.told() == [("task.succeeded", [FORGED]), ("task.succeeded", [TRUE])]
    ids = await stage.sql.fetch("SELECT DISTINCT id FROM deliveries")
    assert len(ids) == 2


# -- ids


async def test_an_id_under_a_refusing_code_is_asked_about_and_bound(
    gateway: Gateway, services: Services, upstream: Upstream
) -> None:
    said = {"code": 500, "msg": "Server exception", "data": {"taskId": "alleged"}}
    upstream.answers(lambda: JSONResponse(said))
    task = await gateway.create()
    assert (task["state"], task["kie_message"]) == ("unconfirmed", "Server exception")
    upstream.records["alleged"] = succeeded("alleged")
    await ask(services)
    after = await gateway.task(task["id"])
    assert (after["state"], after["kie_task_id"]) == ("succeeded", "alleged")


async def test_what_kie_says_in_unknown_words_is_shown_and_bounded(
    gateway: Gateway, upstream: Upstream, sql: Any
) -> None:
    upstream.answers(lambda: refused(500, "The stars are not aligned"))
    task = await gateway.create()
    assert (task["state"], task["kie_message"]) == ("unconfirmed", "The stars are not aligned")
    query = "SELECT extract(epoch FROM expires_at - now())::float FROM tasks"
    assert await sql.fetchval(query) == pytest.approx(900, abs=5)


async def test_a_lost_answer_waits_as_long_as_ever(
    gateway: Gateway, upstream: Upstream, sql: Any
) -> None:
    upstream.answers(lost)
    task = await gateway.create()
    assert (task["state"], task["kie_message"]) == ("unconfirmed", None)
    query = "SELECT extract(epoch FROM expires_at - now())::float FROM tasks"
    assert await sql.fetchval(query) == pytest.approx(3600, abs=5)


async def test_one_id_for_two_creates_is_bound_once_and_shown_to_one(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    upstream.answers(lambda: accepted("the-only-id"))
    first = await gateway.create()
    second = await gateway.create()
    assert (first["kie_task_id"], second["kie_task_id"]) == ("the-only-id", None)
    assert second["state"] == "unconfirmed"
    upstream.records["the-only-id"] = succeeded("the-only-id")
    upstream.urls["the-only-id"] = upstream.creates[0]["callBackUrl"]
    await gateway.call_back(upstream.callback_path, succeeded("the-only-id"))
    await due_now(sql)
    await ask(services)
    await ask(services)
    assert (await gateway.task(first["id"]))["state"] == "succeeded"
    after = await gateway.task(second["id"])
    assert (after["state"], after["result"]) == ("unconfirmed", None)
    noted = await sql.fetch("SELECT task_id FROM audit_entries WHERE action = 'foreign_id'")
    assert [row["task_id"] for row in noted] == [UUID(second["id"])]


async def test_a_record_that_echoes_another_tasks_url_is_never_shown(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    other = await gateway.create()
    task = await gateway.create()
    urls = upstream.urls
    urls[task["kie_task_id"]] = urls[other["kie_task_id"]]
    upstream.records[task["kie_task_id"]] = succeeded(task["kie_task_id"])
    for _ in range(3):
        await due_now(sql)
        await ask(services)
    after = await gateway.task(task["id"])
    assert (after["state"], after["result"]) == ("running", None)
    noted = await sql.fetch("SELECT task_id FROM audit_entries WHERE action = 'foreign_id'")
    assert [row["task_id"] for row in noted] == [UUID(task["id"])]
