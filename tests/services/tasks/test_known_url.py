"""What somebody can do who knows a task's callback URL: fill a little, ask little, stop nothing."""

import asyncio
import hashlib
import json
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from app.domain.callback_url import CallbackUrls, derive
from app.domain.keeping import ANYTHING, ENDS, HEAD
from app.services.services import Services
from app.services.tasks.read import CALLBACKS_WEIGHT
from app.wiring import DAY, new_id
from tests.fixtures.gateway import StartGateway, Wire
from tests.gateway import SECRET, Gateway
from tests.services.stage import ask, slots_are_free
from tests.services.tasks.test_receive import HMAC_KEY, _signed
from tests.upstream import Upstream, failed, running, succeeded

SIGNED = {"X-Webhook-Timestamp": "{now}", "X-Webhook-Signature": "{sign}"}
MIB = 1024 * 1024


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """One for all of these tests: they leave nothing in it but rows."""
    return shared_gateway


async def flood(gateway: Gateway, path: str, bodies: int, *, size: int = 0) -> None:
    for number in range(bodies):
        body = f"{number}".encode() + b" " * size
        assert (await gateway.call_back(path, body)).status_code == 200


async def fill(sql: Any, task: dict[str, Any], rows: int, *, size: int = 2, first: int = 1) -> None:
    """Store what so many callbacks left that were not believed."""
    await sql.execute(
        "INSERT INTO callbacks (id, task_id, source, body, headers, signature, verdict)"
        " SELECT ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, $1, 'callback',"
        " convert_to(lpad(n::text, $3), 'UTF8'), '{}', 'unchecked', 'unreadable'"
        " FROM generate_series($4::int, $4::int + $2::int - 1) n",
        UUID(task["id"]),
        rows,
        size,
        first,
    )


async def test_a_flood_leaves_so_many_rows_and_then_a_number(
    gateway: Gateway, upstream: Upstream, sql: Any
) -> None:
    task = await gateway.create()
    path = upstream.callback_path
    await fill(sql, task, ANYTHING.rows - 2)
    await flood(gateway, path, 9)
    assert await sql.fetchval("SELECT count(*) FROM callbacks") == ANYTHING.rows
    newest = (await gateway.callbacks(task["id"]))[0]
    assert (newest["verdict"], newest["more"]) == ("unreadable", 7)
    # What settles the task is kept all the same, to the last byte, whatever is there.
    await fill(sql, task, ENDS.rows, first=1000)
    body = json.dumps(succeeded(task["kie_task_id"])).encode()
    await gateway.call_back(path, body)
    newest = (await gateway.callbacks(task["id"]))[0]
    assert (newest["verdict"], newest["whole"], newest["raw"][:12]) == (
        "applied",
        True,
        '{"code": 200',
    )
    assert await sql.fetchval("SELECT body FROM callbacks ORDER BY id DESC LIMIT 1") == body
    assert (await gateway.task(task["id"]))["state"] == "succeeded"
    # And what fills it later.
    await flood(gateway, path, 2)
    page = await gateway.http.get("/metrics")
    assert 'callbacks_not_kept_total{reason="counted"} 7.0' in page.text
    assert 'callbacks_not_kept_total{reason="repeated"} 2.0' in page.text


async def test_a_signed_end_is_kept_whole_behind_a_flood(
    start_gateway: StartGateway, upstream: Upstream, sql: Any
) -> None:
    gateway = await start_gateway(
        kie_webhook_hmac_keys=(SecretStr(HMAC_KEY),), kie_confirm="before"
    )
    task = await gateway.create()
    path, kie_task_id = upstream.callback_path, task["kie_task_id"]
    forged = failed(kie_task_id)
    await gateway.call_back(path, forged, _signed(SIGNED, kie_task_id))  # holds the task
    await fill(sql, task, ANYTHING.rows)
    genuine = json.dumps(succeeded(kie_task_id)).encode()
    await gateway.call_back(path, genuine, _signed(SIGNED, kie_task_id))
    kept = await sql.fetchrow("SELECT verdict, whole, body FROM callbacks ORDER BY id DESC LIMIT 1")
    assert tuple(kept) == ("unverified", True, genuine)


async def test_large_bodies_have_a_bound_together_and_show_what_they_were(
    gateway: Gateway, upstream: Upstream, sql: Any
) -> None:
    task = await gateway.create()
    await flood(gateway, upstream.callback_path, 8, size=MIB)
    held = await sql.fetchval("SELECT sum(octet_length(body)) FROM callbacks")
    assert held <= ANYTHING.bytes + 8 * HEAD
    newest = (await gateway.callbacks(task["id"]))[0]
    body = b"7" + b" " * MIB
    assert (newest["whole"], newest["size"]) == (False, len(body))
    assert newest["sha256"] == hashlib.sha256(body).hexdigest()
    assert newest["raw"] == body[:HEAD].decode()
    # An end that is larger than all that is left settles the task, and is kept whole.
    large = succeeded(task["kie_task_id"], param="x" * 6 * MIB)
    await gateway.call_back(upstream.callback_path, large)
    assert (await gateway.task(task["id"]))["state"] == "succeeded"
    assert await sql.fetchval("SELECT whole FROM callbacks ORDER BY id DESC LIMIT 1")


async def test_the_same_again_is_counted_where_it_is_kept(
    gateway: Gateway, upstream: Upstream, sql: Any
) -> None:
    task = await gateway.create()
    for _ in range(9):
        await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    duplicate, applied = await gateway.callbacks(task["id"])
    assert (applied["verdict"], applied["times_seen"], applied["last_seen_at"]) == (
        "applied",
        1,
        None,
    )
    assert (duplicate["verdict"], duplicate["times_seen"]) == ("duplicate", 8)
    assert duplicate["last_seen_at"] > duplicate["received_at"]
    assert applied["sha256"] == duplicate["sha256"]
    # Another signature, or verdict, is another statement: the same bytes may come from a forger.
    assert await sql.fetchval("SELECT count(*) FROM callbacks") == 2


async def test_pages_of_callbacks_are_bounded_in_bytes(gateway: Gateway, sql: Any) -> None:
    task = await gateway.create()
    await fill(sql, task, 40, size=120 * 1024)
    pages, cursor, seen = 0, None, []
    while pages == 0 or cursor:
        path = f"/v1/tasks/{task['id']}/callbacks"
        answer = await gateway.http.get(path, params={"cursor": cursor} if cursor else {})
        assert len(answer.content) < 4 * MIB
        cursor, pages = answer.json()["next_cursor"], pages + 1
        seen += [callback["id"] for callback in answer.json()["data"]]
    assert pages > 1
    assert seen == sorted(set(seen), reverse=True)
    assert len(seen) == await sql.fetchval("SELECT count(*) FROM callbacks")
    assert CALLBACKS_WEIGHT < 4 * MIB


# --- questions -----------------------------------------------------------------------------------


async def asked(services: Services, sql: Any) -> None:
    """Ask about all that is due, slots aside."""
    for _ in range(3):
        await slots_are_free(sql)
        await ask(services)


async def test_callbacks_cause_one_question_a_minute(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    task = await gateway.create()
    path = upstream.callback_path
    for number in range(5):
        await flood(gateway, path, 3, size=number)
        await asked(services, sql)
    assert len(upstream.queries) == 1
    # It is not forgotten either: a minute later there is another one.
    again = await sql.fetchval(
        "SELECT extract(epoch FROM due_at - doubted_at + interval '60 s')::float FROM tasks"
    )
    assert 0 <= again <= 61
    await sql.execute("UPDATE tasks SET due_at = now(), doubted_at = now()")
    await asked(services, sql)
    assert len(upstream.queries) == 2
    # The first end that is reported is asked about at once, whatever came before it.
    before = await gateway.create()
    await flood(gateway, upstream.callback_path, 1)
    await asked(services, sql)
    count = len(upstream.queries)
    kie_task_id = before["kie_task_id"]
    turning = failed(kie_task_id, failCode="524")
    upstream.records[kie_task_id] = turning
    await gateway.call_back(upstream.callback_path, turning)
    await asked(services, sql)
    assert upstream.queries[count:] == [kie_task_id]
    assert task["state"] == "running"


async def test_an_end_that_kies_record_vouched_for_causes_no_question(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    task = await gateway.create()
    kie_task_id = task["kie_task_id"]
    upstream.records[kie_task_id] = succeeded(kie_task_id)
    await gateway.call_back(upstream.callback_path, succeeded(kie_task_id))
    await sql.execute("UPDATE tasks SET due_at = now()")
    await asked(services, sql)
    assert await sql.fetchval("SELECT confirmed_at IS NOT NULL FROM tasks")
    count = len(upstream.queries)
    for body in (b"{}", json.dumps(failed(kie_task_id)).encode(), b"not json"):
        await gateway.call_back(upstream.callback_path, body)
        await asked(services, sql)
    assert len(upstream.queries) == count
    assert await sql.fetchval("SELECT due_at FROM tasks") is None


async def test_what_the_record_lacked_is_asked_about(
    start_gateway: StartGateway, wire: Wire, upstream: Upstream, sql: Any
) -> None:
    """A callback that fills what kie.ai's record left out is no doubt of a stranger's."""
    gateway = await start_gateway(kie_confirm="before")
    services = await wire(kie_confirm="before")
    task = await gateway.create()
    kie_task_id = task["kie_task_id"]
    upstream.records[kie_task_id] = succeeded(kie_task_id, consumeCredits=None)
    await gateway.call_back(upstream.callback_path, succeeded(kie_task_id, consumeCredits=None))
    await asked(services, sql)
    assert (await gateway.task(task["id"]))["credits_consumed"] is None
    upstream.records[kie_task_id] = succeeded(kie_task_id)
    await gateway.call_back(upstream.callback_path, succeeded(kie_task_id))
    await sql.execute("UPDATE tasks SET due_at = now()")
    await asked(services, sql)
    assert (await gateway.task(task["id"]))["credits_consumed"] == 100


async def test_doubts_of_all_tasks_have_a_tenth_of_the_queries(
    gateway: Gateway, upstream: Upstream, sql: Any
) -> None:
    """Of 10 queries a second one: so five questions are spread over four seconds or more."""
    paths = []
    for _ in range(6):
        await gateway.create()
        paths.append(upstream.callback_path)
    await asyncio.gather(*(gateway.call_back(path, b"first") for path in paths))
    apart = "SELECT extract(epoch FROM max(doubted_at) - min(doubted_at))::float FROM tasks"
    assert await sql.fetchval(apart) < 3.0  # the first of each task: at once
    await sql.execute("UPDATE tasks SET doubted_at = now() - interval '61 s', due_at = NULL")
    await asyncio.gather(*(gateway.call_back(path, b"again") for path in paths))
    assert await sql.fetchval(apart) > 4.0
    assert await sql.fetchval("SELECT count(*) FROM tasks WHERE due_at >= doubted_at") == 6


# --- the URL's end, and what is logged -----------------------------------------------------------


async def test_a_url_ends_some_time_after_its_task(start_gateway: StartGateway, sql: Any) -> None:
    gateway = await start_gateway(callback_token_days=2)
    old = UUID(int=(new_id().int - (int(5 * DAY * 1000) << 80)))
    url = CallbackUrls([derive(SECRET, "callback-token")], "https://gateway.test").url(old)
    assert url is not None
    task = await gateway.create()
    await sql.execute("DELETE FROM task_events")
    await sql.execute("UPDATE tasks SET id = $1", old)
    kie_task_id = task["kie_task_id"]
    # However old the task is: until it is final its URL is good, and for two days after.
    assert (await gateway.call_back(url, succeeded(kie_task_id))).status_code == 200
    assert (await gateway.task(str(old)))["state"] == "succeeded"
    await sql.execute("UPDATE tasks SET finished_at = now() - interval '47 h'")
    assert (await gateway.call_back(url, running(kie_task_id))).status_code == 200
    await sql.execute("UPDATE tasks SET finished_at = now() - interval '49 h'")
    kept = await sql.fetchval("SELECT count(*) FROM callbacks")
    answer = await gateway.call_back(url, failed(kie_task_id))
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert await sql.fetchval("SELECT count(*) FROM callbacks") == kept
    # A task that is kept no more is no way in either.
    gone = UUID(int=old.int + 1)
    url = CallbackUrls([derive(SECRET, "callback-token")], "https://gateway.test").url(gone)
    assert url is not None
    assert (await gateway.call_back(url, failed(kie_task_id))).status_code == 404


async def test_wrong_tokens_are_counted_and_seldom_logged(
    gateway: Gateway, upstream: Upstream
) -> None:
    await gateway.create()
    wrong = upstream.callback_path[:-1] + "-"
    with capture_logs() as logged:
        for _ in range(30):
            assert (await gateway.call_back(wrong, b"{}")).status_code == 404
    lines = [line for line in logged if line["event"] == "callback.wrong_token"]
    assert [line["suppressed"] for line in lines] == [0]
    page = await gateway.http.get("/metrics")
    assert "kie_gateway_callbacks_rejected_total 30.0" in page.text


async def test_no_live_token_is_stored(gateway: Gateway, upstream: Upstream, sql: Any) -> None:
    """kie.ai echoes our URL: a copy of the database would otherwise open every task's."""
    task = await gateway.create()
    url = upstream.creates[-1]["callBackUrl"]
    token = url.rpartition("/")[2]
    spelled = "".join(f"\\u00{ord(char):02x}" for char in token)
    param = json.dumps({"callBackUrl": url})
    body = json.dumps(succeeded(task["kie_task_id"], param=param)).encode()
    body = b"\xff " + body[:-1] + f',"again":"{spelled}"}}'.encode()
    await gateway.call_back(upstream.callback_path, body)
    stored, digest, size = await sql.fetchrow("SELECT body, sha256, size FROM callbacks")
    assert token.encode() not in stored
    assert spelled.encode() not in stored
    assert stored == body.replace(token.encode(), b"[redacted]").replace(
        spelled.encode(), b"[redacted]"
    )
    assert (digest, size) == (hashlib.sha256(body).digest(), len(body))
    everything = await sql.fetch(
        "SELECT t::text AS row FROM tasks t UNION ALL SELECT c::text FROM callbacks c"
    )
    assert not [row for row in everything if token in row["row"]]
