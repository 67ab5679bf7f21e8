"""`/metrics`: what happens in the API and behind it is counted, and nothing leaks into labels."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.responses import PlainTextResponse, Response

from app.domain.callback_url import CallbackUrls, derive
from app.metrics.requests import REQUESTS
from app.services.services import Services
from app.wiring import new_id
from tests.api.conftest import Scratch
from tests.api.stage import dialled, head_of
from tests.fixtures.gateway import StartGateway, Wire
from tests.gateway import BODY, SECRET, Gateway
from tests.scrape import Samples, labels, moved, samples
from tests.stage import eventually
from tests.upstream import BALANCE, Upstream, accepted, failed, refused, running, succeeded

OWN = re.compile(
    r"kie_gateway_(?!clock|request|loop|pool|tasks|overdue|oldest|admission|create_slots|running_seats)"
    r"\w+(?<!_sum)(?<!_bucket)$"
)
"""What the table of things that happen looks at: no sums, no buckets, nothing that just is."""


async def scrape(gateway: Gateway) -> str:
    answer = await gateway.http.get("/metrics", headers={"Authorization": ""})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return answer.text


def counted(before: Samples, after: Samples) -> dict[str, float]:
    """What moved, by the names' own part."""
    found = moved(before, after)
    return {
        series.removeprefix("kie_gateway_"): value
        for series, value in found.items()
        if OWN.match(series.partition("{")[0])
    }


# -- requests


async def test_requests_are_counted_by_the_routes_template(gateway: Gateway) -> None:
    before = samples(await scrape(gateway))
    task = await gateway.create()
    await gateway.task(task["id"])
    await gateway.http.get("/v1/tasks/019a0000-0000-7000-8000-000000000000")
    await gateway.http.get(f"/v1/tasks/{task['id']}", headers={"Authorization": "Bearer wrong"})
    found = moved(before, samples(await scrape(gateway)))
    one = 'method="GET",route="/v1/tasks/{task_id}"'
    expected = {
        'kie_gateway_requests_total{method="POST",route="/v1/tasks",status="201"}': 1,
        f'kie_gateway_requests_total{{{one},status="200"}}': 1,
        f'kie_gateway_requests_total{{{one},status="404"}}': 1,
        f'kie_gateway_requests_total{{{one},status="401"}}': 1,
        f"kie_gateway_request_duration_seconds_count{{{one}}}": 3,
        'kie_gateway_requests_total{method="GET",route="/metrics",status="200"}': 1,
    }
    assert {series: found[series] for series in expected} == expected


HOSTILE = [
    ("GET", "/nothing/here/kgw_" + "x" * 43, 404),
    ("GET", "/%00%ff/../..", 404),
    ("DELETE", '/"};evil{a="b"}', 404),
    ("PROPFIND", "/v1/tasks", 405),
    ("PATCH", "/livez", 405),
    ("MKCOL", "/callbacks/kie/not-an-id/token-to-be-hidden", 405),
    ("POST", "/callbacks/kie/not-an-id/token-to-be-hidden", 404),
    ("GET", "/v1/tasks/not-an-id", 404),
    ("GET", "/docs", 200),
]


async def test_hostile_requests_make_no_labels_of_their_own(gateway: Gateway) -> None:
    known = await _routes(gateway) | {"unmatched", "/metrics", "/docs", "/openapi.json"}
    for method, path, status in HOSTILE:
        async with dialled(gateway.http.base_url) as line:
            line.writer.write(head_of(method, path, "Content-Length: 0"))
            answer = await line.answer()
        assert answer.status_code in (status, 401, 422), (method, path)
    page = await scrape(gateway)
    found = labels(page)[REQUESTS.name]
    assert found["route"] <= known
    assert "unmatched" in found["route"]
    assert found["method"] <= {"GET", "POST", "DELETE", "PATCH", "other"}
    assert "other" in found["method"]
    for hidden in ("kgw_", "token-to-be-hidden", "evil", "not-an-id", "PROPFIND"):
        assert hidden not in page


async def _routes(gateway: Gateway) -> set[str]:
    return set((await gateway.http.get("/openapi.json")).json()["paths"])


async def test_a_caller_who_leaves_is_counted_too(gateway: Gateway) -> None:
    async with dialled(gateway.http.base_url) as line:
        line.writer.write(
            head_of(
                "POST",
                "/v1/tasks",
                f"Authorization: Bearer {gateway.api_key}",
                "Content-Length: 1000",
            )
        )
        await line.writer.drain()

    async def look() -> bool | None:
        found = labels(await scrape(gateway)).get(REQUESTS.name, {})
        return "none" in found.get("status", ()) or None

    assert await eventually(look)


# -- what happens behind the API


async def create(gateway: Gateway, upstream: Upstream, answer: Callable[[], Response]) -> None:
    upstream.answers(answer)
    await gateway.create()


async def call_back(gateway: Gateway, upstream: Upstream, *bodies: object) -> None:
    """Have one task accepted as `an-id`, and tell of it."""
    upstream.answers(lambda: accepted("an-id"))
    await gateway.create()
    for body in bodies:
        await gateway.call_back(upstream.callback_path, body)


async def to_nobody(gateway: Gateway, token: str | None = None) -> None:
    urls = CallbackUrls([derive(SECRET, "callback-token")], "https://gateway.test")
    url = urls.url(new_id())
    assert url is not None
    await gateway.call_back(url + (token or ""), succeeded("an-id"))


SENT: dict[str, float] = {
    'submissions_total{outcome="accepted"}': 1,
    "create_duration_seconds_count": 1,
}


def sent(outcome: str, **more: int) -> dict[str, float]:
    return {
        f'submissions_total{{outcome="{outcome}"}}': 1,
        "create_duration_seconds_count": 1,
        **more,
    }


def failures(fail_class: str) -> str:
    return f'failures_total{{fail_class="{fail_class}"}}'


def ended(settled_by: str, state: str) -> str:
    return f'task_duration_seconds_count{{settled_by="{settled_by}",state="{state}"}}'


Happening = Callable[[Gateway, Upstream], Awaitable[None]]
EDGE: dict[str, tuple[Happening, dict[str, float]]] = {
    "accepted": (lambda g, u: create(g, u, lambda: accepted("an-id")), SENT),
    "refused for the request": (
        lambda g, u: create(g, u, lambda: refused(422, "no")),
        sent("refused_request", **{ended("create", "failed"): 1, failures("input"): 1}),
    ),
    "refused while busy": (
        lambda g, u: create(g, u, lambda: refused(429, "later")),
        sent("refused_busy"),
    ),
    "refused for the account": (
        lambda g, u: create(g, u, lambda: refused(402, "pay")),
        sent("refused_account"),
    ),
    "unknown": (
        lambda g, u: create(g, u, lambda: PlainTextResponse("<html>", 502)),
        sent("unknown"),
    ),
    "callback": (
        lambda g, u: call_back(g, u, succeeded("an-id")),
        SENT | {'callbacks_total{verdict="applied"}': 1, ended("callback", "succeeded"): 1},
    ),
    "callback of progress": (
        lambda g, u: call_back(g, u, running("an-id")),
        SENT | {'callbacks_total{verdict="applied"}': 1},
    ),
    "callback twice": (
        lambda g, u: call_back(g, u, failed("an-id"), failed("an-id")),
        SENT
        | {
            'callbacks_total{verdict="applied"}': 1,
            'callbacks_total{verdict="duplicate"}': 1,
            ended("callback", "failed"): 1,
            failures("provider"): 1,
        },
    ),
    "callback that disagrees": (
        lambda g, u: call_back(g, u, succeeded("an-id"), failed("an-id")),
        SENT
        | {
            'callbacks_total{verdict="applied"}': 1,
            'callbacks_total{verdict="disagreed"}': 1,
            'disagreements_total{source="callback"}': 1,
            ended("callback", "succeeded"): 1,
        },
    ),
    "callback that is no JSON": (
        lambda g, u: call_back(g, u, b"not json"),
        SENT | {'callbacks_total{verdict="unreadable"}': 1},
    ),
    "callback for nobody": (
        lambda g, _: to_nobody(g),
        {'callbacks_total{verdict="unmatched"}': 1},
    ),
    "callback with a wrong token": (
        lambda g, _: to_nobody(g, "x"),
        {"callbacks_rejected_total": 1},
    ),
}


@pytest.mark.parametrize("name", EDGE)
async def test_what_the_edge_sets_off_is_counted(
    name: str, gateway: Gateway, upstream: Upstream
) -> None:
    happens, expected = EDGE[name]
    before = samples(await scrape(gateway))
    await happens(gateway, upstream)
    assert counted(before, samples(await scrape(gateway))) == expected


async def test_nothing_listening_counts_as_unsent(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(kie_base_url="http://127.0.0.1:1")
    before = samples(await scrape(gateway))
    await gateway.create()
    assert counted(before, samples(await scrape(gateway))) == sent("unsent")


UNANSWERED = {"code": 500, "msg": "server error", "data": None}
ASKED: dict[str, tuple[Any, dict[str, float]]] = {
    "running": (running("an-id"), {}),
    "succeeded": (succeeded("an-id"), {ended("query", "succeeded"): 1}),
    "failed": (failed("an-id"), {ended("query", "failed"): 1, failures("provider"): 1}),
    "not_visible": ({"code": 422, "msg": "recordInfo is null", "data": None}, {}),
    "unanswered": (UNANSWERED, {}),
    "account": ({"code": 401, "msg": "no access", "data": None}, {}),
}


async def inside(services: Services) -> Samples:
    return samples((await services.metrics_page.page()).decode())


@pytest.mark.parametrize("answer", ASKED)
async def test_questions_are_counted_by_their_answer(
    answer: str, gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    record, more = ASKED[answer]
    await call_back(gateway, upstream)
    upstream.records["an-id"] = record
    before = await inside(services)
    await _ask(services, sql)
    expected = {f'queries_total{{answer="{answer}"}}': 1, "query_duration_seconds_count": 1, **more}
    assert counted(before, await inside(services)) == expected


async def test_a_confirmation_that_disagrees_is_counted(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    await call_back(gateway, upstream, succeeded("an-id"))
    upstream.records["an-id"] = failed("an-id")
    before = await inside(services)
    await _ask(services, sql)
    assert counted(before, await inside(services)) == {
        'queries_total{answer="failed"}': 1,
        "query_duration_seconds_count": 1,
        'disagreements_total{source="query"}': 1,
        ended("query", "failed"): 1,
        failures("provider"): 1,
    }


async def _ask(services: Services, sql: Any) -> None:
    await sql.execute("UPDATE tasks SET due_at = now() WHERE due_at IS NOT NULL")
    assert await services.poller.poll_due() == 0
    await services.poller.drain()


SWEPT: dict[str, tuple[str, dict[str, float]]] = {
    "submitting": ("unconfirmed", {}),
    "unconfirmed": ("expired", {ended("gateway", "expired"): 1}),
    "running": ("expired", {ended("gateway", "expired"): 1}),
    "queued": ("failed", {ended("gateway", "failed"): 1}),
}
LAPSE = "UPDATE tasks SET state = $1, expires_at = now(), leased_until = now(), submit_by = now()"


@pytest.mark.parametrize("state", SWEPT)
async def test_what_the_sweep_moves_is_counted(
    state: str, gateway: Gateway, services: Services, sql: Any
) -> None:
    end, more = SWEPT[state]
    await gateway.create()
    await sql.execute(LAPSE, state)
    before = await inside(services)
    assert await services.sweeper.sweep() == 0
    expected = {f'swept_tasks_total{{state="{end}"}}': 1, **more}
    assert counted(before, await inside(services)) == expected


async def test_a_second_id_for_one_task_rings_the_alarm(
    start_gateway: StartGateway, upstream: Upstream
) -> None:
    gateway = await start_gateway(submit_wait=0)
    arrived, go = asyncio.Event(), asyncio.Event()

    async def answer(_: object) -> Response:
        arrived.set()
        await go.wait()
        return accepted("another-id")

    upstream.on_create = answer
    before = samples(await scrape(gateway))
    await gateway.create()
    await arrived.wait()
    await gateway.call_back(upstream.callback_path, succeeded("an-id"))
    go.set()

    async def look() -> dict[str, float] | None:
        found = counted(before, samples(await scrape(gateway)))
        return found if "paid_twice_total" in found else None

    assert (await eventually(look))["paid_twice_total"] == 1


# -- how things are


async def test_what_waits_in_the_database_is_shown(
    start_gateway: StartGateway, upstream: Upstream, sql: Any
) -> None:
    gateway = await start_gateway()
    await gateway.create()
    upstream.answers(lambda: refused(429, "later"))
    await gateway.create()
    await gateway.create()
    await sql.execute(FREE)
    await sql.execute(
        "UPDATE tasks SET created_at = now() - interval '90 s', due_at = now() - interval '50 s'"
        " WHERE state = 'queued'"
    )
    await sql.execute(
        "UPDATE tasks SET expires_at = now() - interval '7 s' WHERE state = 'running'"
    )
    found = samples(await scrape(gateway))
    assert found["kie_gateway_database_up"] == 1
    tasks = {state: found[f'kie_gateway_tasks{{state="{state}"}}'] for state in OPEN}
    assert tasks == {"queued": 2, "submitting": 0, "unconfirmed": 0, "running": 1}
    assert 90 <= found["kie_gateway_oldest_queued_seconds"] < 100
    overdue = {work: found[f'kie_gateway_overdue_seconds{{work="{work}"}}'] for work in WORK}
    assert 50 <= overdue["submit"] < 60
    assert (overdue["poll"], overdue["probe"]) == (0, 0)
    assert 7 <= overdue["sweep"] < 17
    assert 0 < overdue["number"] < 10  # nobody works
    assert found["kie_gateway_feed_lag_seconds"] == overdue["number"]


LOOPS = {"submit", "poll", "deliver", "archive", "probe", "sweep", "number", "balance", "retain"}
FREE = "UPDATE kie_account SET hold_reason = NULL, held_until = NULL"
OPEN = ("queued", "submitting", "unconfirmed", "running")
WORK = ("submit", "poll", "deliver", "probe", "sweep", "number")


async def test_an_idle_gateway_has_nothing_overdue(gateway: Gateway) -> None:
    found = samples(await scrape(gateway))
    assert [found[f'kie_gateway_overdue_seconds{{work="{work}"}}'] for work in WORK] == [0] * 6
    assert found["kie_gateway_oldest_queued_seconds"] == 0
    assert found["kie_gateway_pool_size"] == 10
    assert found["kie_gateway_pool_checked_out"] == 0
    assert found["process_resident_memory_bytes"] > 0


PUT_OFF: dict[str, str] = {
    "paused": "UPDATE kie_account SET paused_at = now()",
    "its client paused": "UPDATE client_queues SET paused_at = now()",
    "held": "UPDATE kie_account SET hold_reason = 'kie_busy', held_until = now() + '1 min'",
    "to be probed": "UPDATE kie_account SET hold_reason = 'kie_account', held_until = now()",
    "no slot": "INSERT INTO kie_slots (kind, slot, free_at, taken_at)"
    " SELECT 'create', number, now() + interval '5 s', now() FROM generate_series(1, 20) number",
    "no seat": "INSERT INTO tasks (id, client_id, state, model, input, metadata, priority,"
    " fingerprint, submit_by) SELECT gen_random_uuid(), client_id, 'running', 'm', '{}', '{}', 5,"
    " '', now() FROM tasks, generate_series(1, 100)",
}


@pytest.mark.parametrize("why", PUT_OFF)
async def test_what_may_not_be_sent_is_not_overdue(
    why: str, gateway: Gateway, wire: Wire, sql: Any
) -> None:
    """Else every full queue would ring the alarm, and operators would look for a worker."""
    await sql.execute("UPDATE kie_account SET paused_at = now()")
    await gateway.create()
    await sql.execute("UPDATE kie_account SET paused_at = NULL")
    await sql.execute("UPDATE tasks SET due_at = now() - interval '150 s'")
    series = 'kie_gateway_overdue_seconds{work="submit"}'
    assert 150 <= (await inside(await wire()))[series] < 160
    await sql.execute(PUT_OFF[why])
    assert (await inside(await wire()))[series] == 0


async def test_a_credit_call_that_nobody_makes_is_overdue(gateway: Gateway, sql: Any) -> None:
    await sql.execute(
        "UPDATE kie_account SET hold_reason = 'kie_account', held_until = now() - interval '150 s'"
    )
    found = samples(await scrape(gateway))
    assert 150 <= found['kie_gateway_overdue_seconds{work="probe"}'] < 160


async def test_held_pairs_are_counted(gateway: Gateway, upstream: Upstream) -> None:
    upstream.answers(lambda: refused(455, "maintenance"))
    for model in ("one", "two", "two"):
        await gateway.create(model=model)
    page = await scrape(gateway)
    found = samples(page)
    assert found['kie_gateway_held_pairs{reason="kie_busy"}'] == 2
    assert found['kie_gateway_held_pairs{reason="kie_unanswered"}'] == 0
    assert found['kie_gateway_admission_held{reason="kie_busy"}'] == 0
    assert found['kie_gateway_overdue_seconds{work="submit"}'] == 0
    assert "two" not in page


async def test_the_accounts_room_is_shown(
    start_gateway: StartGateway, upstream: Upstream, sql: Any
) -> None:
    gateway = await start_gateway(kie_creates_per_10s=8, kie_max_running=5)
    await gateway.create()
    await gateway.create()
    upstream.answers(lambda: refused(429, "later"))
    await gateway.create()
    await sql.execute("UPDATE tasks SET parked_at = now(), due_at = now() - interval '1 hour'")
    found = samples(await scrape(gateway))
    assert found['kie_gateway_admission_held{reason="kie_busy"}'] == 1
    assert found['kie_gateway_admission_held{reason="admission_paused"}'] == 0
    assert found["kie_gateway_create_slots_free"] == 8 * 3 // 4 - 3  # others use it too
    assert found["kie_gateway_running_seats_free"] == 3
    assert found["kie_gateway_tasks_set_aside"] == 3
    assert found['kie_gateway_overdue_seconds{work="poll"}'] == 0


@pytest.mark.parametrize("worker", [True, False])
async def test_loops_are_shown_where_they_run(start_gateway: StartGateway, *, worker: bool) -> None:
    gateway = await start_gateway(worker=worker)
    found = labels(await scrape(gateway)).get("kie_gateway_loop_stuck", {})
    assert found == ({"loop": LOOPS} if worker else {})


@pytest.mark.long
async def test_without_its_database_the_rest_is_told(
    start_gateway: StartGateway, scratch: Scratch
) -> None:
    gateway = await start_gateway(worker=True, database_url=SecretStr(scratch.dsn))
    await scratch.goes_away()
    found = samples(await scrape(gateway))
    assert found["kie_gateway_database_up"] == 0
    assert [series for series in found if series.startswith("kie_gateway_tasks")] == []
    assert found['kie_gateway_loop_stuck{loop="submit"}'] == 0
    assert found["process_resident_memory_bytes"] > 0


async def test_scrapes_share_one_look_at_the_database(gateway: Gateway, sql: Any) -> None:
    first = samples(await scrape(gateway))
    await gateway.create()
    pages = await asyncio.gather(*(scrape(gateway) for _ in range(20)))
    shown = {samples(page)['kie_gateway_tasks{state="running"}'] for page in pages}
    assert shown == {first['kie_gateway_tasks{state="running"}']} == {0}
    assert await sql.fetchval("SELECT count(*) FROM tasks") == 1


async def test_two_gateways_in_one_process_share_no_counts(start_gateway: StartGateway) -> None:
    one, other = await start_gateway(), await start_gateway()
    await one.create()
    series = 'kie_gateway_submissions_total{outcome="accepted"}'
    assert samples(await scrape(one))[series] == 1
    assert samples(await scrape(other))[series] == 0


async def test_no_secret_id_or_callers_word_is_told(
    start_gateway: StartGateway, upstream: Upstream
) -> None:
    gateway = await start_gateway(worker=True)
    task = await gateway.create(metadata={"order": "not-to-be-counted"})
    token = upstream.callback_path.rpartition("/")[2]
    await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    await gateway.task(task["id"])
    page = await scrape(gateway)
    settings = gateway.settings
    assert settings.database_url is not None
    hidden = [
        *(task["id"], task["kie_task_id"], token, gateway.api_key, SECRET, str(BALANCE)),
        *("not-to-be-counted", "sk-not-to-be-shown", settings.database_url.get_secret_value()),
        *(str(BODY["model"]), "tests", "gateway.test", upstream.url),
    ]
    assert [word for word in hidden if word in page] == []


async def test_it_is_no_part_of_the_public_interface(gateway: Gateway) -> None:
    assert "/metrics" not in await _routes(gateway)
    answer = await gateway.http.post("/metrics")
    assert answer.status_code == httpx.codes.METHOD_NOT_ALLOWED
