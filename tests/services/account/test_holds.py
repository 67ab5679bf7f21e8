"""The account holds itself: what makes it, what ends it, and one probe at a time.

What holds a client's model before is in `test_pairs`.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.responses import PlainTextResponse, Response

from app.services.services import Services
from tests.fixtures.gateway import StartGateway, Wire
from tests.gateway import Gateway, issue_key
from tests.services.stage import (
    Answer,
    account,
    breaker,
    has_creates,
    is_free,
    is_held,
    lost,
    pause_of,
    probe_is_due,
    says,
    slots_are_free,
    state,
    states,
    stays_held,
    turn,
    until_probe,
)
from tests.stage import eventually
from tests.upstream import Upstream, accepted, refused

NOWHERE = "http://127.0.0.1:1"

# -- what holds the account


TROUBLES: dict[str, tuple[Answer, str, str]] = {
    **{str(code): (says(code, "no"), "kie_busy", f"{code}: no") for code in (405, 429, 430)},
    "HTTP 429": (
        lambda: PlainTextResponse("slow down", 429),
        "kie_busy",
        "429: HTTP 429 without a kie.ai envelope",
    ),
    **{str(code): (says(code, "no"), "kie_account", f"{code}: no") for code in (401, 402, 433)},
}
FIRST_PROBE = {"kie_busy": 1, "kie_account": 5, "kie_unreachable": 1}


@pytest.mark.parametrize("name", TROUBLES)
async def test_what_is_refused_for_now_goes_back_and_holds_the_account(
    name: str, gateway: Gateway, upstream: Upstream, sql: Any
) -> None:
    answer, reason, detail = TROUBLES[name]
    upstream.answers(answer)
    task = await gateway.create()
    assert (task["state"], task["hold_reason"]) == ("queued", reason)
    assert task["submitted_at"] is None
    held = await account(sql)
    assert (held["hold_reason"], held["hold_detail"]) == (reason, detail)
    assert (held["hold_tries"], held["failures"], held["probed_at"]) == (1, 0, None)
    assert await breaker(sql) is None  # it is not the pair's trouble
    assert held["held_since"] is not None
    first = FIRST_PROBE[reason]
    assert first <= await pause_of(sql) <= 1.5 * first


async def test_who_is_not_reached_holds_the_account(start_gateway: StartGateway, sql: Any) -> None:
    gateway = await start_gateway(kie_base_url=NOWHERE)
    task = await gateway.create()
    assert (task["state"], task["hold_reason"]) == ("queued", "kie_unreachable")
    held = await account(sql)
    assert held["hold_detail"].startswith("ClientConnectorError")
    assert 1 <= await pause_of(sql) <= 1.5


async def test_while_held_nothing_is_sent_and_every_waiting_task_says_why(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    upstream.answers(says(429, "slow down"))
    ids = [(await gateway.create())["id"]]
    await stays_held(sql)
    upstream.on_create = None
    ids += [(await gateway.create(priority=9))["id"] for _ in range(3)]
    mine = gateway.http.headers["Authorization"]
    gateway.http.headers["Authorization"] = f"Bearer {await issue_key(gateway.settings, 'another')}"
    theirs = await gateway.create()
    gateway.http.headers["Authorization"] = mine

    rest = await turn(services)
    assert rest is not None
    assert await until_probe(sql) <= rest <= 601.5
    assert len(upstream.creates) == 1
    for task_id in ids:
        task = await gateway.task(task_id)
        assert (task["state"], task["hold_reason"]) == ("queued", "kie_busy")
    assert (theirs["state"], theirs["hold_reason"]) == ("queued", "kie_busy")
    listed = (await gateway.http.get("/v1/tasks", params={"state": "queued"})).json()["data"]
    assert [task["hold_reason"] for task in listed] == ["kie_busy"] * 4

    await probe_is_due(sql)
    assert [await turn(services), await turn(services)] == [0, 0]
    after = [await gateway.task(task_id) for task_id in ids]
    assert {(task["state"], task["hold_reason"]) for task in after} == {("running", None)}
    assert len(upstream.creates) == 6


async def test_what_it_tells_operators_holds_no_token(
    gateway: Gateway, upstream: Upstream, sql: Any
) -> None:
    async def quoting(body: Mapping[str, Any]) -> Response:
        return refused(430, f"cannot reach {body['callBackUrl']}")

    upstream.on_create = quoting
    await gateway.create()
    detail = (await account(sql))["hold_detail"]
    assert detail.startswith("430: cannot reach https://gateway.test/")
    assert upstream.callback_path.rpartition("/")[2] not in detail


# -- how long it holds


PAUSES = {
    "kie_busy": (says(429, "slow down"), [1, 2, 4, 8, 16, 32, 60, 60]),
    "kie_account": (says(402, "no credits"), [5, 10, 20, 40, 80, 160, 300, 300]),
}


@pytest.mark.parametrize("reason", PAUSES)
async def test_the_back_off_grows_and_an_accepted_create_resets_it(
    reason: str, gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    answer, expected = PAUSES[reason]
    upstream.answers(answer)
    await gateway.create()
    waits = [await pause_of(sql)]
    for _ in expected[1:]:
        await _probe(services, sql)
        waits.append(await pause_of(sql))
    assert (await account(sql))["hold_reason"] == reason
    assert len(upstream.creates) == len(expected)
    for wait, least in zip(waits, expected, strict=True):
        assert least <= wait <= 1.5 * least

    upstream.on_create = None
    await _probe(services, sql)
    assert await is_free(sql)
    await slots_are_free(sql)
    upstream.answers(answer)
    await gateway.create()
    assert (await account(sql))["hold_tries"] == 1
    assert expected[0] <= await pause_of(sql) <= 1.5 * expected[0]


async def test_who_is_not_reached_is_tried_ever_more_slowly(
    start_gateway: StartGateway, wire: Wire, sql: Any
) -> None:
    gateway = await start_gateway(kie_base_url=NOWHERE)
    services = await wire(kie_base_url=NOWHERE)
    await gateway.create()
    waits = [await pause_of(sql)]
    for _ in range(3):
        await _probe(services, sql)
        waits.append(await pause_of(sql))
    for wait, least in zip(waits, [1, 2, 4, 8], strict=True):
        assert least <= wait <= 1.5 * least


async def _probe(services: Services, sql: Any) -> None:
    """Let the wait pass, then do what the loops do: the credit call where it is due, and send."""
    await probe_is_due(sql)
    await slots_are_free(sql)  # a 429 leaves few
    await services.account.probe_due()
    assert await turn(services) == 0


async def test_another_trouble_begins_anew(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    upstream.answers(says(429, "slow down"))
    await gateway.create()
    await _probe(services, sql)
    before = await account(sql)
    assert before["hold_tries"] == 2
    upstream.answers(says(402, "no credits"))
    await _probe(services, sql)
    after = await account(sql)
    assert (after["hold_reason"], after["hold_tries"]) == ("kie_account", 1)
    assert after["held_since"] > before["held_since"]


async def test_it_tells_since_when(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    upstream.answers(says(429, "slow down"))
    await gateway.create()
    before = await account(sql)
    await _probe(services, sql)
    after = await account(sql)
    assert after["held_since"] == before["held_since"]
    assert after["held_at"] > before["held_at"]


# -- what ends it


async def test_a_refused_request_ends_most_holds_too(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    """kie.ai read the request and judged it: it is there, and works."""
    upstream.answers(says(429, "slow down"))
    ids = [(await gateway.create())["id"]]
    await stays_held(sql)
    ids += [(await gateway.create())["id"] for _ in range(2)]
    upstream.answers(says(422, "a bad prompt"))
    await probe_is_due(sql)
    assert await turn(services) == 0
    assert [await state(sql, one) for one in ids] == ["failed", "queued", "queued"]
    assert await is_free(sql)
    upstream.on_create = None
    assert await turn(services) == 0
    assert [await state(sql, one) for one in ids] == ["failed", "running", "running"]


async def test_half_open_sends_one_alone(
    start_gateway: StartGateway, wire: Wire, upstream: Upstream, sql: Any
) -> None:
    """However many replicas look, and callers create, at that moment."""
    gateway = await start_gateway(submit_wait=0)
    replicas = [await wire() for _ in range(3)]
    upstream.answers(says(429, "slow down"))
    await gateway.create()
    await eventually(lambda: is_held(sql))
    await stays_held(sql)
    for _ in range(8):
        await gateway.create()

    go = upstream.holds()
    await probe_is_due(sql)
    turns = [replica.submitter.submit_due(50) for replica in replicas]
    await asyncio.gather(*turns, *(gateway.create() for _ in range(4)))
    assert sorted(await states(sql)) == ["queued"] * 12 + ["submitting"]
    assert [await replica.submitter.submit_due(50) for replica in replicas] == [None] * 3
    go.set()
    await eventually(lambda: is_free(sql))
    assert len(upstream.creates) == 2
    upstream.on_create = None
    assert await turn(replicas[0]) == 0
    for replica in replicas:
        await replica.submitter.drain()
    assert set(await states(sql)) == {"running"}


async def test_with_nothing_in_the_queue_the_next_create_is_the_probe(
    gateway: Gateway, upstream: Upstream, sql: Any
) -> None:
    upstream.answers(says(429, "slow down"))
    held = await gateway.create()
    await gateway.http.post(held["urls"]["cancel"])
    upstream.on_create = None
    await probe_is_due(sql)
    assert (await gateway.create())["state"] == "running"
    assert await is_free(sql)


async def test_a_probe_whose_process_dies_is_unconfirmed_and_another_follows(
    start_gateway: StartGateway, wire: Wire, upstream: Upstream, sql: Any
) -> None:
    gateway = await start_gateway(submit_wait=0)
    dying, living = await wire(), await wire()
    upstream.answers(says(429, "slow down"))
    await gateway.create()
    await eventually(lambda: is_held(sql))
    await stays_held(sql)
    await gateway.create()
    go = upstream.holds()
    await probe_is_due(sql)
    assert await dying.submitter.submit_due(50) == 0
    await eventually(lambda: has_creates(upstream, 2))
    await sql.execute("UPDATE tasks SET leased_until = now() WHERE state = 'submitting'")
    assert await living.sweeper.sweep() == 0
    upstream.on_create = None
    assert await turn(living) == 0
    assert await states(sql) == ["unconfirmed", "running"]
    assert len(upstream.creates) == 3
    assert await is_free(sql)
    go.set()
    await dying.submitter.drain()


@pytest.mark.parametrize("refusal", [429, 402])
async def test_work_resumes_by_itself(
    refusal: int, start_gateway: StartGateway, upstream: Upstream, sql: Any
) -> None:
    gateway = await start_gateway(worker=True)
    upstream.answers(says(refusal, "not now"))
    ids = [(await gateway.create())["id"]]
    await stays_held(sql)
    ids += [(await gateway.create())["id"] for _ in range(2)]
    upstream.on_create = None
    await probe_is_due(sql)
    await sql.execute("SELECT pg_notify('kie_gateway', 'probe,queue')")
    for task_id in ids:
        await gateway.reaches(task_id, "running")
    assert len(upstream.creates) == 4


# -- what was under way before it


LATE: dict[str, tuple[Answer, str]] = {
    "accepted": (lambda: accepted("an-id"), "running"),
    "refused for the request": (says(422, "no"), "failed"),
    "busy": (says(429, "slow down"), "queued"),
    "account": (says(402, "no credits"), "queued"),
    "lost": (lost, "unconfirmed"),
}


@pytest.mark.parametrize("late", LATE)
async def test_what_was_under_way_neither_prolongs_nor_ends_it(
    late: str, start_gateway: StartGateway, upstream: Upstream, sql: Any
) -> None:
    answer, end = LATE[late]
    gateway = await start_gateway(submit_wait=0)
    arrived, go = asyncio.Event(), asyncio.Event()

    async def create(body: Mapping[str, Any]) -> Response:
        if body["model"] != "early":
            return refused(429, "slow down")
        arrived.set()
        await go.wait()
        return answer()

    upstream.on_create = create
    early = await gateway.create(model="early")
    await arrived.wait()
    await gateway.create(model="late")
    await eventually(lambda: is_held(sql))
    await stays_held(sql)
    before = await _held_as(sql)
    go.set()
    await gateway.reaches(early["id"], end)
    await eventually(lambda: _slots_settled(sql))
    assert await _held_as(sql) == before


async def _held_as(sql: Any) -> dict[str, Any]:
    """The account without the last success and the beats, which go on whatever holds."""
    found = await account(sql)
    return {name: found[name] for name in found if not name.startswith(("succeeded_", "counter"))}


async def _slots_settled(sql: Any) -> bool | None:
    query = "SELECT count(*) = 0 FROM kie_slots WHERE task_id IS NOT NULL"
    return await sql.fetchval(query) or None
