"""Sending: once, whatever the answer, and what becomes of the task."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from app.domain.dialect import Dialect
from app.domain.draft import Draft, fingerprint
from app.services.services import Services
from tests.fixtures.gateway import StartGateway, Wire
from tests.gateway import Gateway, issue_key
from tests.services.stage import ask
from tests.upstream import Upstream, accepted, refused, succeeded

Answer = Callable[[], Response]


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """One for all of these tests: they leave nothing in it but rows."""
    return shared_gateway


def says(code: int, message: str) -> Answer:
    return lambda: refused(code, message)


def failed(code: int, message: str) -> dict[str, object]:
    return {
        "state": "failed",
        "fail_code": str(code),
        "fail_message": message,
        "fail_source": "kie",
    }


BUSY = {"state": "queued", "hold_reason": "kie_busy", "submitted_at": None}
ACCOUNT = {"state": "queued", "hold_reason": "kie_account", "submitted_at": None}
LOST = {"state": "unconfirmed", "kie_task_id": None, "fail_code": None}

OUTCOMES: dict[str, tuple[Answer, Mapping[str, object]]] = {
    "accepted": (lambda: accepted("an-id"), {"state": "running", "kie_task_id": "an-id"}),
    **{
        str(code): (says(code, "no"), failed(code, "no")) for code in (400, 404, 413, 422, 451, 505)
    },
    **{str(code): (says(code, "later"), BUSY) for code in (405, 429, 430, 455)},
    **{str(code): (says(code, "pay"), ACCOUNT) for code in (401, 402, 433)},
    "500 known": (says(500, "prompt is required"), failed(500, "prompt is required")),
    "500": (says(500, "internal"), LOST),
    "501": (says(501, "failed"), LOST),
    "no id": (lambda: JSONResponse({"code": 200, "data": {}}), LOST),
    "HTTP 502": (lambda: PlainTextResponse("<html>", 502), LOST),
    # Plain, both would be refusals: sent again. What nobody can read proves nothing.
    "HTTP 429, compressed": (lambda: PlainTextResponse("?", 429, {"Content-Encoding": "br"}), LOST),
    "HTTP 402, compressed": (lambda: PlainTextResponse("?", 402, {"Content-Encoding": "br"}), LOST),
}


@pytest.mark.parametrize("name", OUTCOMES)
async def test_each_outcome(name: str, gateway: Gateway, upstream: Upstream) -> None:
    answer, expected = OUTCOMES[name]
    upstream.answers(answer)
    task = await gateway.create()
    assert {name: task[name] for name in expected} == expected
    assert len(upstream.creates) == 1


@pytest.mark.parametrize("code", [422, 429, 500])
async def test_the_history_shows_no_token_that_kie_quotes(
    code: int, gateway: Gateway, upstream: Upstream
) -> None:
    """Refused for good, put back or lost: kie.ai's words become the reason of the move."""

    async def quoting(body: Mapping[str, Any]) -> Response:
        return refused(code, f"cannot reach {body['callBackUrl']}")

    upstream.on_create = quoting
    task = await gateway.create()
    answer = await gateway.http.get(task["urls"]["events"])
    assert "cannot reach" in answer.text
    assert upstream.callback_path.rpartition("/")[2] not in answer.text


async def test_nothing_listening_is_proved_unsent(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(kie_base_url="http://127.0.0.1:1")
    task = await gateway.create()
    assert (task["state"], task["hold_reason"]) == ("queued", "kie_unreachable")


async def test_the_create_carries_the_tasks_own_callback_url(
    gateway: Gateway, upstream: Upstream
) -> None:
    task = await gateway.create()
    url = upstream.creates[0]["callBackUrl"]
    assert url.startswith(f"https://gateway.test/base/callbacks/kie/{task['id']}/")
    assert upstream.headers[0]["authorization"] == "Bearer sk-not-to-be-shown"


async def test_a_requeued_task_is_sent_by_whoever_comes_first(
    gateway: Gateway, wire: Wire, upstream: Upstream, sql: Any
) -> None:
    upstream.answers(lambda: refused(429, "slow down"))
    task = await gateway.create()
    upstream.on_create = None
    first, second = await wire(), await wire()
    probe_in = await first.submitter.submit_due(10)
    assert probe_in is not None
    assert 0 < probe_in <= 1.5
    await sql.execute("UPDATE kie_account SET held_until = now()")
    turns = [await first.submitter.submit_due(10), await second.submitter.submit_due(10)]
    assert turns == [0, None]
    await first.submitter.drain()
    assert (await gateway.task(task["id"]))["state"] == "running"
    assert len(upstream.creates) == 2
    moves = await sql.fetch("SELECT from_state, to_state, attempt FROM task_events ORDER BY id")
    assert [tuple(move) for move in moves] == [
        (None, "queued", 0),
        ("queued", "submitting", 1),
        ("submitting", "queued", 1),
        ("queued", "submitting", 2),
        ("submitting", "running", 2),
    ]


async def test_a_task_that_is_refused_again_steps_aside(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    """Maintenance can be one model's: the first refusal costs no place, the next ones do."""
    upstream.answers(lambda: refused(455, "maintenance"))
    await gateway.create()
    waits = [await _due_in(sql)]
    for _ in range(5):
        await sql.execute("UPDATE kie_breakers SET held_until = now()")
        await sql.execute("UPDATE tasks SET due_at = now()")
        assert await services.submitter.submit_due(1) == 0
        await services.submitter.drain()
        waits.append(await _due_in(sql))
    assert waits[0] < 0.5
    for wait, least in zip(waits[1:], [5, 10, 20, 40, 60], strict=True):
        assert least - 0.5 < wait <= least * 1.5


async def _due_in(sql: Any) -> float:
    query = "SELECT extract(epoch FROM due_at - updated_at)::float FROM tasks"
    return float(await sql.fetchval(query))


async def test_a_late_answer_still_counts_after_the_lease(
    start_gateway: StartGateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    gateway = await start_gateway(submit_wait=0)
    go = upstream.holds()
    task = await gateway.create()
    await sql.execute("UPDATE tasks SET leased_until = now()")
    assert await services.sweeper.sweep() == 0
    assert (await gateway.task(task["id"]))["state"] == "unconfirmed"
    go.set()
    after = await gateway.reaches(task["id"], "running")
    assert after["kie_task_id"] is not None
    assert len(upstream.creates) == 1


async def test_an_attempt_that_is_not_the_newest_moves_nothing(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    go = upstream.holds()
    task_id = await _sent_by(services, sql)
    await sql.execute("UPDATE tasks SET attempt = attempt + 1")
    go.set()
    await services.submitter.drain()
    assert (await gateway.task(task_id))["state"] == "submitting"


@pytest.mark.parametrize(
    "answer", [accepted("told-by-callback"), refused(422, "no"), accepted("z")]
)
async def test_the_answer_after_the_record_changes_nothing(
    answer: Response, gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def create(_: Mapping[str, Any]) -> Response:
        asked.set()
        await go.wait()
        return answer

    upstream.on_create = create
    task_id = await _sent_by(services, sql)
    await asked.wait()
    upstream.has("told-by-callback", succeeded("told-by-callback"))
    await gateway.call_back(upstream.callback_path, succeeded("told-by-callback"))
    await sql.execute("UPDATE tasks SET due_at = now(), leased_until = NULL")
    await ask(services)
    assert (await gateway.task(task_id))["state"] == "succeeded"
    before = await gateway.task(task_id)
    go.set()
    await services.submitter.drain()
    assert await gateway.task(task_id) == before


def test_a_key_fits_the_same_body_of_the_same_api() -> None:
    body: dict[str, Any] = {"model": "m", "input": {"a": 1}, "metadata": {}, "webhook_url": None}
    body |= {"priority": 5, "submit_within": None}
    native = Draft(**body)
    assert fingerprint(native) == fingerprint(Draft(**body))
    assert fingerprint(replace(native, priority=6)) != fingerprint(native)
    assert fingerprint(replace(native, dialect=Dialect.KIE)) != fingerprint(native)


async def _sent_by(services: Services, sql: Any) -> str:
    """Create a task in `services`, so that the test can wait for its sending."""
    draft = Draft(
        model="m", input={}, metadata={}, webhook_url=None, priority=5, submit_within=None
    )
    client_id = await sql.fetchval("SELECT id FROM clients")
    return str((await services.creates.create(client_id, draft, None)).id)


async def test_one_key_at_once_is_one_task(gateway: Gateway, upstream: Upstream, sql: Any) -> None:
    answers = await asyncio.gather(*(gateway.post(key="the-same") for _ in range(40)))
    assert sorted(answer.status_code for answer in answers) == [200] * 39 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(upstream.creates) == 1
    assert await sql.fetchval("SELECT count(*) FROM tasks") == 1


async def test_two_clients_may_use_the_same_key(
    start_gateway: StartGateway, upstream: Upstream
) -> None:
    gateway = await start_gateway()
    mine = await gateway.post(key="the-same")
    gateway.http.headers["Authorization"] = f"Bearer {await issue_key(gateway.settings, 'another')}"
    theirs = await gateway.post(key="the-same")
    assert (mine.status_code, theirs.status_code) == (201, 201)
    assert mine.json()["id"] != theirs.json()["id"]
    assert len(upstream.creates) == 2


LOSES_COMMIT = """
CREATE FUNCTION pg_temp_kill() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF nextval('kills') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
  RETURN NULL;
END $$;
CREATE SEQUENCE kills;
CREATE CONSTRAINT TRIGGER kill_at_commit AFTER INSERT ON tasks
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pg_temp_kill();
"""
FORGETS = """
DROP TRIGGER kill_at_commit ON tasks; DROP FUNCTION pg_temp_kill; DROP SEQUENCE kills;
"""


async def test_a_connection_lost_at_the_commit_makes_one_task(
    gateway: Gateway, upstream: Upstream, sql: Any
) -> None:
    await sql.execute(LOSES_COMMIT)
    try:
        task = await gateway.create()
    finally:
        await sql.execute(FORGETS)
    assert task["state"] == "running"
    assert len(upstream.creates) == 1
    assert await sql.fetchval("SELECT count(*) FROM tasks") == 1


async def test_leases_are_renewed_while_the_create_is_in_flight(
    gateway: Gateway, services: Services, sql: Any
) -> None:
    task = await gateway.create()
    task_id = UUID(task["id"])
    await sql.execute("UPDATE tasks SET leased_until = now() + interval '1 s'")
    with services.leases.hold(task_id):
        assert await services.leases.renew() == 1
    left = await sql.fetchval("SELECT extract(epoch FROM leased_until - now())::float FROM tasks")
    assert left > 25
    assert await services.leases.renew() == 0
