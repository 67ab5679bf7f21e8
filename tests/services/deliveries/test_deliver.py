"""Telling callers: over real sockets, signed, again until it is heard."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from standardwebhooks import Webhook, WebhookVerificationError

from app.config import Settings
from app.outbound.sender import Sent
from app.services.clients.vault import Vault
from app.services.services import Services
from app.store.deliveries import attempts
from app.wiring import wired
from tests.each import each
from tests.fixtures.gateway import StartGateway, Wire
from tests.gateway import BODY, SECRET, Gateway
from tests.proxy import between
from tests.services.callers import Caller, Heard, listening
from tests.services.stage import ask, due_now, lost
from tests.stage import eventually
from tests.upstream import Upstream, failed, refused, running, succeeded

HOUR = 3600.0
PLACES = 8
"""Of the ten that a host has, for one client."""
SCHEDULE = (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)


@pytest_asyncio.fixture
async def caller() -> AsyncIterator[Caller]:
    async with listening() as caller:
        yield caller


@pytest_asyncio.fixture
async def gateway(start_shared: StartGateway) -> Gateway:
    """One for all of these tests: they leave nothing in it but rows."""
    return await start_shared(delivery_allow_loopback=True, submit_wait=5)


@pytest_asyncio.fixture
async def services(wire: Wire) -> Services:
    return await wire(delivery_allow_loopback=True)


@dataclass
class Stage:
    """A gateway without loops, a process that delivers when told, and a caller."""

    gateway: Gateway
    services: Services
    upstream: Upstream
    caller: Caller
    sql: Any

    async def create(self, **members: object) -> dict[str, Any]:
        return await self.gateway.create(webhook_url=self.caller.url, **members)

    async def call_back(self, body: object) -> None:
        answer = await self.gateway.call_back(self.upstream.callback_path, body)
        assert answer.status_code == 200

    async def settled(self, **members: object) -> dict[str, Any]:
        """Create a task and let kie.ai say that it succeeded."""
        task = await self.create(**members)
        await self.call_back(succeeded(task["kie_task_id"]))
        return await self.gateway.task(task["id"])

    async def deliver(self) -> None:
        """Take one turn of the loop that delivers, and wait for what it has sent."""
        await self.services.deliverer.deliver_due()
        await self.services.deliverer.drain()

    async def rows(self) -> list[dict[str, Any]]:
        """All deliveries, oldest first, `due_in` in seconds."""
        found = await self.sql.fetch(
            "SELECT *, extract(epoch FROM due_at - clock_timestamp())::float AS due_in"
            " FROM deliveries ORDER BY id"
        )
        return [dict(row) for row in found]

    async def row(self) -> dict[str, Any]:
        (row,) = await self.rows()
        return row

    async def attempts(self) -> list[dict[str, Any]]:
        found = await self.sql.fetch("SELECT * FROM delivery_attempts ORDER BY delivery_id, number")
        return [dict(row) for row in found]

    async def passes(self, seconds: float) -> None:
        """Shift the rows instead of the clock."""
        await self.sql.execute(
            "UPDATE deliveries SET due_at = due_at - make_interval(secs => $1),"
            " leased_until = leased_until - make_interval(secs => $1),"
            " created_at = created_at - make_interval(secs => $1)",
            seconds,
        )
        await self.sql.execute(
            "UPDATE delivery_urls SET held_until = held_until - make_interval(secs => $1)", seconds
        )
        await self.sql.execute(
            "UPDATE clients SET"
            " previous_secret_until = previous_secret_until - make_interval(secs => $1)",
            seconds,
        )

    async def secret(self) -> str:
        sealed = await self.sql.fetchval("SELECT signing_secret FROM clients")
        return Vault([SECRET]).open(sealed)

    async def subscribe(self, *events: str) -> None:
        await self.sql.execute("UPDATE clients SET webhook_events = $1", list(events))


@pytest.fixture
def stage(
    gateway: Gateway, services: Services, upstream: Upstream, caller: Caller, sql: Any
) -> Stage:
    return Stage(gateway, services, upstream, caller, sql)


# -- every way to rest


async def _by_callback(stage: Stage) -> None:
    task = await stage.create()
    await stage.call_back(succeeded(task["kie_task_id"]))


async def _fails_by_callback(stage: Stage) -> None:
    task = await stage.create()
    await stage.call_back(failed(task["kie_task_id"]))


async def _by_query(stage: Stage) -> None:
    task = await stage.create()
    stage.upstream.records[task["kie_task_id"]] = succeeded(task["kie_task_id"])
    await due_now(stage.sql)
    await ask(stage.services)


async def _fails_by_query(stage: Stage) -> None:
    task = await stage.create()
    stage.upstream.records[task["kie_task_id"]] = failed(task["kie_task_id"])
    await due_now(stage.sql)
    await ask(stage.services)


async def _by_refusal(stage: Stage) -> None:
    stage.upstream.answers(lambda: refused(422, "the prompt is required"))
    assert (await stage.create())["state"] == "failed"


async def _before_the_answer(stage: Stage) -> None:
    go = stage.upstream.holds()
    creating = asyncio.create_task(stage.create())

    async def look() -> bool | None:
        return bool(stage.upstream.creates) or None

    await eventually(look)
    kie_task_id = stage.upstream.last_id
    stage.upstream.has(kie_task_id, succeeded(kie_task_id))
    await stage.call_back(succeeded(kie_task_id))
    go.set()
    await creating
    await ask(stage.services)


async def _out_of_doubt(stage: Stage) -> None:
    stage.upstream.answers(lost)
    assert (await stage.create())["state"] == "unconfirmed"
    await _told_of(stage, "an-id")


async def _told_of(stage: Stage, kie_task_id: str) -> None:
    """Call back under an id that is not known, and let kie.ai be asked about it."""
    stage.upstream.has(kie_task_id, succeeded(kie_task_id))
    await stage.call_back(succeeded(kie_task_id))
    await due_now(stage.sql)
    await ask(stage.services)


async def _queued(stage: Stage) -> dict[str, Any]:
    stage.upstream.answers(lambda: refused(429, "slow down"))
    task = await stage.create()
    assert task["state"] == "queued"
    return task


async def _cancel(stage: Stage) -> None:
    task = await _queued(stage)
    for _ in range(2):  # again: it is canceled already
        response = await stage.gateway.http.post(f"/v1/tasks/{task['id']}/cancel")
        assert response.status_code == 200


async def _never_sent(stage: Stage) -> None:
    await _queued(stage)
    await stage.sql.execute("UPDATE tasks SET submit_by = now()")
    await stage.services.sweeper.sweep()


async def _unknown_for_too_long(stage: Stage) -> None:
    stage.upstream.answers(lost)
    assert (await stage.create())["state"] == "unconfirmed"
    await stage.sql.execute("UPDATE tasks SET expires_at = now()")
    await stage.services.sweeper.sweep()


async def _running_for_too_long(stage: Stage) -> None:
    await stage.create()
    await stage.sql.execute("UPDATE tasks SET expires_at = now()")
    await stage.services.sweeper.sweep()


def _then(way: "Way", more: "Way") -> "Way":
    async def both(stage: Stage) -> None:
        await way(stage)
        await more(stage)

    return both


async def _late_callback(stage: Stage) -> None:
    await stage.call_back(succeeded(await stage.sql.fetchval("SELECT kie_task_id FROM tasks")))


async def _late_answer(stage: Stage) -> None:
    kie_task_id = await stage.sql.fetchval("SELECT kie_task_id FROM tasks")
    stage.upstream.records[kie_task_id] = failed(kie_task_id)
    await due_now(stage.sql)
    await ask(stage.services)


async def _evidence(stage: Stage) -> None:
    await _told_of(stage, "an-id-that-nobody-expected")


async def _contradiction(stage: Stage) -> None:
    kie_task_id = await stage.sql.fetchval("SELECT kie_task_id FROM tasks")
    await stage.call_back(failed(kie_task_id))
    await stage.call_back(running(kie_task_id))
    await stage.call_back(b"no JSON")


async def _confirmation(stage: Stage) -> None:
    await _late_answer_as_told(stage)
    await stage.services.sweeper.sweep()


async def _late_answer_as_told(stage: Stage) -> None:
    kie_task_id = await stage.sql.fetchval("SELECT kie_task_id FROM tasks")
    stage.upstream.records[kie_task_id] = succeeded(kie_task_id)
    await due_now(stage.sql)
    await ask(stage.services)
    assert await stage.sql.fetchval("SELECT confirmed_at FROM tasks") is not None


async def _runs(stage: Stage) -> None:
    assert (await stage.create())["state"] == "running"


async def _waits(stage: Stage) -> None:
    await _queued(stage)


Way = Callable[[Stage], Awaitable[None]]
WAYS: dict[str, tuple[Way, list[str]]] = {
    "callback": (_by_callback, ["task.succeeded"]),
    "callback of a failure": (_fails_by_callback, ["task.failed"]),
    "query": (_by_query, ["task.succeeded"]),
    "query of a failure": (_fails_by_query, ["task.failed"]),
    "refused create": (_by_refusal, ["task.failed"]),
    "callback before the answer": (_before_the_answer, ["task.succeeded"]),
    "callback for an unknown outcome": (_out_of_doubt, ["task.succeeded"]),
    "cancel": (_cancel, ["task.canceled"]),
    "submit_deadline": (_never_sent, ["task.failed"]),
    "outcome_unknown": (_unknown_for_too_long, ["task.expired"]),
    "no_answer": (_running_for_too_long, ["task.expired"]),
    "late callback": (
        _then(_running_for_too_long, _late_callback),
        ["task.expired", "task.succeeded"],
    ),
    "late answer": (
        _then(_running_for_too_long, _late_answer),
        ["task.expired", "task.failed"],
    ),
    "evidence after outcome_unknown": (
        _then(_unknown_for_too_long, _evidence),
        ["task.expired", "task.succeeded"],
    ),
    "evidence after submit_deadline": (
        _then(_never_sent, _evidence),
        ["task.failed", "task.succeeded"],
    ),
    "evidence after cancel": (_then(_cancel, _evidence), ["task.canceled", "task.succeeded"]),
    "the same callback again": (_then(_by_callback, _late_callback), ["task.succeeded"]),
    "to the contrary": (_then(_by_callback, _contradiction), ["task.succeeded"]),
    "confirmed": (_then(_by_callback, _confirmation), ["task.succeeded"]),
    "no rest: running": (_runs, []),
    "no rest: queued": (_waits, []),
}


@pytest.mark.parametrize(("way", "events"), WAYS.values(), ids=WAYS.keys())
async def test_every_rest_is_told_once(way: Way, events: list[str], stage: Stage) -> None:
    await way(stage)
    await stage.deliver()
    assert sorted(stage.caller.events) == sorted(events)
    assert len(set(stage.caller.ids)) == len(events)
    rows = await stage.rows()
    assert [row["event"] for row in rows] == events
    assert {row["state"] for row in rows} <= {"delivered"}
    secret = await stage.secret()
    assert all(heard.verified_by(secret) for heard in stage.caller.heard)


@pytest.mark.parametrize(("way", "events"), WAYS.values(), ids=WAYS.keys())
async def test_the_data_is_what_get_answers(way: Way, events: list[str], stage: Stage) -> None:
    """All of it at that moment; the confirmation comes later."""
    await way(stage)
    await stage.deliver()
    if not events:
        return
    task = await stage.gateway.task(await _only_id(stage))
    (told,) = (heard for heard in stage.caller.heard if heard.event == events[-1])
    assert set(told.json) == {"type", "timestamp", "data"}
    assert list(told.json["data"]) == list(task)
    changed = {name for name, value in task.items() if told.json["data"][name] != value}
    moved_on = {"confirmed", "confirmed_at", "updated_at", "version"}
    assert changed <= (moved_on if task["confirmed"] else set())
    assert told.json["data"]["state"] == events[-1].removeprefix("task.")


async def _only_id(stage: Stage) -> str:
    return str(await stage.sql.fetchval("SELECT id FROM tasks"))


async def test_an_earlier_event_tells_what_was_then(stage: Stage) -> None:
    """Its body was frozen: a caller that hears of the expiry late hears of the expiry."""
    await _running_for_too_long(stage)
    await _late_callback(stage)
    await stage.deliver()
    by_event = {heard.event: heard.json["data"] for heard in stage.caller.heard}
    assert by_event["task.expired"]["state"] == "expired"
    assert by_event["task.expired"]["result"] is None
    assert by_event["task.expired"]["fail_code"] == "no_answer"
    assert by_event["task.succeeded"]["fail_code"] is None
    assert by_event["task.succeeded"]["result_urls"]


# -- what a client chose


async def _found_running(stage: Stage) -> None:
    stage.upstream.answers(lost)
    await stage.create()
    stage.upstream.has("an-id", running("an-id"))
    await stage.call_back(running("an-id"))
    await ask(stage.services)
    assert await stage.sql.fetchval("SELECT state FROM tasks") == "running"


@pytest.mark.parametrize("way", [_runs, _found_running])
async def test_running_only_for_who_asked(way: Way, stage: Stage) -> None:
    issued = await stage.services.keys.create("tests")
    assert issued.client == "tests"
    await stage.subscribe("task.running", "task.failed")
    await way(stage)
    await stage.deliver()
    assert stage.caller.events == ["task.running"]
    assert stage.caller.heard[0].json["data"]["state"] == "running"
    await _late_callback(stage)  # succeeded, which is not among them
    await stage.deliver()
    assert stage.caller.events == ["task.running"]


async def test_nothing_for_who_wants_nothing(stage: Stage) -> None:
    await stage.subscribe()
    await stage.settled()
    assert await stage.rows() == []


async def test_the_clients_own_url_is_the_default(stage: Stage) -> None:
    default = stage.caller.url + "/default"
    await stage.sql.execute("UPDATE clients SET webhook_url = $1", default)
    task = await stage.gateway.create()
    assert task["webhook_url"] is None
    await stage.call_back(succeeded(task["kie_task_id"]))
    await stage.settled()
    await stage.deliver()
    assert sorted(heard.path for heard in stage.caller.heard) == ["/hook", "/hook/default"]


async def test_without_a_url_nothing_is_kept(stage: Stage) -> None:
    task = await stage.gateway.create()
    await stage.call_back(succeeded(task["kie_task_id"]))
    assert await stage.rows() == []


# -- retries


async def _failing(stage: Stage) -> list[float]:
    """Try until nothing is owed; returns the waits between the attempts."""
    waits: list[float] = []
    while True:
        await stage.deliver()
        due_in = (await stage.row())["due_in"]
        if due_in is None:
            return waits
        waits.append(due_in)
        before = len(stage.caller.heard)
        await stage.passes(due_in - 1)
        await stage.deliver()
        assert len(stage.caller.heard) == before, "not a second too early"
        await stage.passes(1.01)


@pytest.mark.parametrize("status", [500, 503, 404, 302, 429])
async def test_the_promised_schedule_and_its_end(status: int, stage: Stage) -> None:
    stage.caller.says(status, Location="http://169.254.169.254/")
    await stage.settled()
    waits = await _failing(stage)
    assert len(waits) == 9
    for wait, promised in zip(waits, SCHEDULE[1:], strict=True):
        assert promised - 1 <= wait <= promised * 1.1
    assert sum(waits) > 72 * HOUR
    row = await stage.row()
    assert (row["state"], row["tries"], row["due_at"]) == ("exhausted", 10, None)
    assert row["finished_at"] is not None
    attempts = await stage.attempts()
    assert [attempt["number"] for attempt in attempts] == list(range(1, 11))
    assert {attempt["status"] for attempt in attempts} == {status}
    assert {attempt["answer"] for attempt in attempts} == {b"thanks"}
    secret = await stage.secret()
    assert len({(heard.id, heard.body) for heard in stage.caller.heard}) == 1
    assert all(heard.verified_by(secret) for heard in stage.caller.heard)
    await stage.passes(1000 * HOUR)
    await stage.deliver()
    assert len(stage.caller.heard) == 10


async def test_the_first_attempt_may_have_to_wait_too(
    start_gateway: StartGateway, stage: Stage
) -> None:
    settings = {"delivery_schedule": (60, 120), "delivery_allow_loopback": True, "submit_wait": 5}
    patient = replace(stage, gateway=await start_gateway(**settings))
    await patient.settled()
    assert 55 < (await stage.row())["due_in"] <= 60
    await stage.deliver()
    assert stage.caller.heard == []
    await stage.passes(60)
    await stage.deliver()
    assert stage.caller.events == ["task.succeeded"]


@pytest.mark.parametrize(("said", "wait"), [("120", 120), ("3", 5), ("999999", 86400), ("soon", 5)])
async def test_retry_after(said: str, wait: float, stage: Stage) -> None:
    stage.caller.says(503, Retry_After=said)
    await stage.settled()
    await stage.deliver()
    due_in = (await stage.row())["due_in"]
    assert wait - 1 <= due_in <= wait * 1.1


async def _until_something_is_due(stage: Stage) -> float | None:
    """Let the shortest time pass after which an attempt may be made; None: nothing is owed."""
    seconds = await stage.sql.fetchval(
        "SELECT extract(epoch FROM min(greatest(due_at, leased_until,"
        " CASE WHEN failures >= 3 THEN held_until END)) - clock_timestamp())::float"
        " FROM deliveries LEFT JOIN delivery_urls USING (client_id, host)"
        " WHERE state = 'pending'"
    )
    if seconds is None:
        return None
    seconds = max(0.0, float(seconds)) + 0.01
    await stage.passes(seconds)
    return seconds


@pytest.mark.parametrize("hours", [1, 75])
@pytest.mark.parametrize("down", ["refuses connections", "says 503"])
async def test_a_receiver_that_comes_back(hours: int, down: str, stage: Stage) -> None:
    tasks = [await stage.settled() for _ in range(4)]
    if down == "says 503":
        stage.caller.says(503)
    else:
        await stage.caller.goes_down()
    passed = 0.0
    while passed < hours * HOUR:
        await stage.deliver()
        seconds = await _until_something_is_due(stage)
        assert seconds is not None, f"given up after {passed / HOUR} hours"
        passed += seconds
    assert {row["state"] for row in await stage.rows()} == {"pending"}
    if down == "says 503":
        stage.caller.says(200)
        stage.caller.heard.clear()
    else:
        await stage.caller.comes_up()
    await stage.deliver()
    while await _until_something_is_due(stage) is not None:
        await stage.deliver()
    assert {row["state"] for row in await stage.rows()} == {"delivered"}
    told = [heard.json["data"]["id"] for heard in stage.caller.heard]
    assert sorted(told) == sorted(task["id"] for task in tasks)


async def test_an_attempt_without_an_answer_is_kept_with_its_reason(stage: Stage) -> None:
    await stage.settled()
    await stage.caller.goes_down()
    await stage.deliver()
    (attempt,) = await stage.attempts()
    assert (attempt["status"], attempt["address"]) == (None, "127.0.0.1")
    assert "refused" in attempt["error"]


async def test_410_ends_it_and_what_comes_later_is_kept(stage: Stage) -> None:
    await stage.settled()
    stage.caller.says(410)
    await stage.deliver()
    await stage.settled()
    await stage.deliver()
    rows = await stage.rows()
    assert [(row["state"], row["tries"]) for row in rows] == [("disabled", 1), ("disabled", 0)]
    assert [attempt["status"] for attempt in await stage.attempts()] == [410]
    assert len(stage.caller.heard) == 1
    other = stage.caller.url + "/other"
    stage.caller.says(200)
    task = await stage.gateway.create(webhook_url=other)
    await stage.call_back(succeeded(task["kie_task_id"]))
    await stage.deliver()
    assert stage.caller.heard[-1].path == "/hook/other"


# -- secrets


def _verifies(heard: Heard, secret: str) -> bool:
    try:
        return heard.verified_by(secret)
    except WebhookVerificationError:
        return False


async def test_both_secrets_sign_during_a_rotation(stage: Stage) -> None:
    old = await stage.secret()
    new = "whsec_" + "bmV3" * 11
    vault = Vault([SECRET])
    await stage.sql.execute(
        "UPDATE clients SET signing_secret = $1, previous_secret = $2,"
        " previous_secret_until = now() + interval '1 day'",
        vault.seal(new),
        vault.seal(old),
    )
    await stage.settled()
    await stage.deliver()
    during = stage.caller.heard[-1]
    assert (_verifies(during, old), _verifies(during, new)) == (True, True)
    assert len(during.headers["webhook-signature"].split(" ")) == 2
    await stage.passes(25 * HOUR)
    await stage.settled()
    await stage.deliver()
    after = stage.caller.heard[-1]
    assert (_verifies(after, old), _verifies(after, new)) == (False, True)


async def test_a_retry_is_signed_with_the_secret_of_its_own_time(stage: Stage) -> None:
    stage.caller.says(500)
    await stage.settled()
    await stage.deliver()
    new = "whsec_" + "bmV3" * 11
    await stage.sql.execute("UPDATE clients SET signing_secret = $1", Vault([SECRET]).seal(new))
    await stage.passes(10)
    await stage.deliver()
    first, second = stage.caller.heard
    assert (_verifies(first, new), _verifies(second, new)) == (False, True)
    assert (first.id, first.body) == (second.id, second.body)


async def test_it_is_signed_by_postgresqls_clock(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Receivers refuse what is minutes old or early: our own clock may be that far off."""
    claim_due, at = attempts.claim_due, datetime(2026, 11, 28, 12, tzinfo=UTC)

    async def claimed_then(*given: Any, **named: Any) -> attempts.Claimed:
        claimed = await claim_due(*given, **named)
        return claimed._replace(due=[replace(each, claimed_at=at) for each in claimed.due])

    monkeypatch.setattr(attempts, "claim_due", claimed_then)
    await stage.settled()
    await stage.deliver()
    (heard,) = stage.caller.heard
    assert heard.headers["webhook-timestamp"] == str(int(at.timestamp()))


async def test_a_changed_body_does_not_verify(stage: Stage) -> None:
    await stage.settled()
    await stage.deliver()
    (heard,) = stage.caller.heard
    with pytest.raises(WebhookVerificationError):
        Webhook(await stage.secret()).verify(heard.body + b" ", dict(heard.headers))


async def test_nothing_is_sent_unsigned(stage: Stage) -> None:
    """The secret's key is gone: the attempt counts, and the host is not blamed for it."""
    await stage.settled()
    sealed = Vault(["another-secret-of-nobody-here"]).seal("whsec_bmV3")
    await stage.sql.execute("UPDATE clients SET signing_secret = $1", sealed)
    await stage.deliver()
    assert stage.caller.heard == []
    (attempt,) = await stage.attempts()
    assert "GATEWAY_SECRET_KEYS" in attempt["error"]
    assert (await stage.row())["state"] == "pending"
    assert await stage.sql.fetchval("SELECT count(*) FROM delivery_urls") == 0


# -- where it may go

FORBIDDEN = [
    "http://169.254.169.254/latest/meta-data/",
    "http://0xa9fea9fe/",
    "http://[fe80::1%25eth0]/",
    "http://127.0.0.1:8080/",
    "http://localhost/",
    "http://[::ffff:127.0.0.1]/",
    "http://100.100.100.200/",
    "http://224.0.0.1/",
    "http://0/",
    "http://user:hunter2@example.com/",
    "http://example.com:25/",
    "http://10.9.9.9/",
]


@each("url", FORBIDDEN)
async def test_create_refuses_where_nothing_would_be_sent(
    url: str, start_gateway: StartGateway, upstream: Upstream, sql: Any
) -> None:
    gateway = await start_gateway(delivery_blocked_networks=["10.9.0.0/16"])
    response = await gateway.post({**BODY, "webhook_url": url})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert [error["pointer"] for error in response.json()["errors"]] == ["/webhook_url"]
    assert "hunter2" not in response.text
    assert upstream.creates == []
    assert await sql.fetchval("SELECT count(*) FROM tasks") == 0


@pytest.mark.parametrize(
    "url", ["https://no-such-host.invalid/", "http://10.1.2.3:9000/", "http://[fd12::7]/"]
)
async def test_create_accepts_what_it_cannot_judge(url: str, start_gateway: StartGateway) -> None:
    gateway = await start_gateway()
    assert (await gateway.create(webhook_url=url))["webhook_url"] == url


async def test_a_client_may_be_held_to_its_hosts(stage: Stage) -> None:
    await stage.sql.execute("UPDATE clients SET webhook_hosts = '{hooks.example.com}'")
    response = await stage.gateway.post({**BODY, "webhook_url": "https://example.com/"})
    assert response.status_code == 422
    await stage.gateway.create(webhook_url="https://hooks.example.com/")


async def test_a_url_that_became_forbidden_is_not_called(stage: Stage, wire: Wire) -> None:
    """It was created under other settings, which may come back: it is tried again."""
    await stage.settled()
    services = await wire()
    await services.deliverer.deliver_due()
    await services.deliverer.drain()
    assert stage.caller.heard == []
    (attempt,) = await stage.attempts()
    assert attempt["error"] == "blocked: the URL leads to this machine itself"
    assert (await stage.row())["state"] == "pending"


# -- many


async def _put_backlog(stage: Stage, count: int) -> None:
    await stage.settled()
    await stage.sql.execute(
        "INSERT INTO deliveries (id, client_id, task_id, event, url, host, body, state, due_at)"
        " SELECT gen_random_uuid(), client_id, task_id, event, url, host, body, 'pending',"
        " clock_timestamp() FROM deliveries, generate_series(2, $1)",
        count,
    )


async def _has_at_once(stage: Stage, count: int) -> bool | None:
    return stage.caller.at_once == count or None


async def test_a_backlog_is_worked_off_without_another_turn(stage: Stage) -> None:
    """Each attempt that ends gives its place to the next one; the host has ten of them."""
    await _put_backlog(stage, 120)
    stage.caller.go.clear()
    await stage.services.deliverer.deliver_due()
    await eventually(lambda: _has_at_once(stage, PLACES))
    stage.caller.go.set()

    async def look() -> bool | None:
        return await stage.sql.fetchval("SELECT bool_and(state = 'delivered') FROM deliveries") or (
            None
        )

    await eventually(look)
    assert len(stage.caller.heard) == len(set(stage.caller.ids)) == 120
    assert stage.caller.most_at_once == PLACES


async def test_a_drain_ends_although_there_is_more(stage: Stage) -> None:
    await _put_backlog(stage, 60)
    await stage.deliver()
    assert len(stage.caller.heard) == PLACES
    states = [row["state"] for row in await stage.rows()]
    assert (states.count("delivered"), states.count("pending")) == (PLACES, 60 - PLACES)


async def test_two_processes_share_a_backlog(stage: Stage, wire: Wire) -> None:
    other = await wire(delivery_allow_loopback=True)
    await _put_backlog(stage, 120)
    stage.caller.go.clear()
    await asyncio.gather(stage.services.deliverer.deliver_due(), other.deliverer.deliver_due())
    await eventually(lambda: _has_at_once(stage, PLACES))
    stage.caller.go.set()

    async def done() -> bool | None:
        await other.deliverer.deliver_due()
        return await stage.sql.fetchval("SELECT bool_and(state = 'delivered') FROM deliveries") or (
            None
        )

    await eventually(done)
    assert stage.caller.most_at_once == PLACES
    assert len(stage.caller.heard) == len(set(stage.caller.ids)) == 120


async def test_a_slow_receiver_is_noted_and_named_whatever_it_answers(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two slow answers, then quick ones until nothing is kept of it."""
    took = iter([13.5, 13.5, *[0.1] * 20])
    statuses = iter([200, 503, *[200] * 20])

    async def post(*_: object, **__: object) -> Sent:
        return Sent(seconds=next(took), status=next(statuses))

    async def slow() -> float | None:
        seconds: float | None = await stage.sql.fetchval("SELECT seconds FROM delivery_urls")
        return seconds

    monkeypatch.setattr(stage.services.deliverer._sender, "post", post)
    means = []
    for _ in range(14):
        await stage.settled()
        await stage.deliver()
        means.append(await slow())
    assert [round(mean, 1) for mean in means[:3] if mean] == [4.0, 6.9, 4.8]
    assert means[-1] is None
    said = [line for line in capsys.readouterr().out.splitlines() if "delivery.slow" in line]
    assert len(said) == 1
    assert "127.0.0.1" in said[0]


async def _none_is_open(stage: Stage) -> bool | None:
    found = await stage.sql.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
    )
    return found == 0 or None


async def test_no_transaction_is_open_on_the_network(stage: Stage) -> None:
    stage.caller.go.clear()
    await stage.settled()
    await stage.services.deliverer.deliver_due()

    async def look() -> bool | None:
        return bool(stage.caller.heard) or None

    await eventually(look)
    # A heartbeat's is over at once; one that waited for the caller would stay.
    await eventually(lambda: _none_is_open(stage), 5)
    stage.caller.go.set()
    await stage.services.deliverer.drain()


# -- deaths


async def _is_being_sent(stage: Stage, services: Services) -> None:
    """Start to deliver, and stop where the caller has it and has not answered."""
    stage.caller.go.clear()
    await services.deliverer.deliver_due()
    await eventually(lambda: _has_at_once(stage, 1))


async def test_killed_between_send_and_settle(stage: Stage, wire: Wire) -> None:
    """The next process tells it again: the caller knows it by the same webhook-id."""
    await stage.settled()
    await _is_being_sent(stage, stage.services)
    for errand in list(stage.services.deliverer._in_flight._under_way):
        errand.cancel()
    await stage.services.deliverer.drain()
    stage.caller.go.set()
    survivor = await wire(delivery_allow_loopback=True)
    await survivor.deliverer.deliver_due()
    await survivor.deliverer.drain()
    assert len(stage.caller.heard) == 1, "its lease is not over"
    assert await stage.attempts() == []
    await stage.passes(31)
    await survivor.deliverer.deliver_due()
    await survivor.deliverer.drain()
    first, second = stage.caller.heard
    assert (first.id, first.body) == (second.id, second.body)
    assert (await stage.row())["state"] == "delivered"
    assert [attempt["number"] for attempt in await stage.attempts()] == [1]


@pytest.mark.parametrize("trouble", ["away", "the commit's answer is lost"])
async def test_postgresql_away_when_it_is_settled(
    trouble: str,
    dsn: str,
    make_settings: Callable[..., Settings],
    stage: Stage,
) -> None:
    settings = make_settings(delivery_allow_loopback=True)
    async with between(dsn) as (cutter, through), wired(settings, through) as broken:
        await stage.settled()
        await _is_being_sent(stage, broken)
        if trouble == "away":
            cutter.goes_dark()
        else:
            cutter.loses_the_answer_to(b"COMMIT;")
        stage.caller.go.set()
        if trouble == "away":
            await asyncio.wait(set(broken.deliverer._in_flight._under_way), timeout=0.3)
            assert (await stage.row())["state"] == "pending"
            cutter.comes_back()
        await broken.deliverer.drain()
        assert (await stage.row())["state"] == "delivered"
        assert [attempt["number"] for attempt in await stage.attempts()] == [1]
        assert len(stage.caller.heard) == 1


# -- as it runs


async def test_the_loops_tell_by_themselves(
    start_gateway: StartGateway, upstream: Upstream, caller: Caller, sql: Any
) -> None:
    """One process hears kie.ai, another has the loops: the wake-up travels."""
    receiving = await start_gateway(delivery_allow_loopback=True)
    await start_gateway(worker=True, delivery_allow_loopback=True)
    task = await receiving.create(webhook_url=caller.url)
    await receiving.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))

    async def look() -> bool | None:
        return await sql.fetchval("SELECT state = 'delivered' FROM deliveries") or None

    await eventually(look)
    assert caller.events == ["task.succeeded"]
