"""`GET /v1/tasks/{id}/events` and `GET /v1/events` as lists."""

from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from app.services.services import Services
from tests.api.conftest import IssueKey
from tests.api.stage import CURSOR_LOST, NOBODY, NOT_FOUND, Sql, bad_parameter, check_refusal
from tests.api.test_create import INSTANT
from tests.each import each
from tests.gateway import BODY, Gateway
from tests.stage import eventually
from tests.store.tasks.test_events import append
from tests.upstream import Upstream, succeeded

pytestmark = pytest.mark.usefixtures("numbering")

EVENT = ["id", "type", "task_id", "from_state", "to_state", "attempt", "reason", "at"]
LIFE = [
    (None, "queued", 0, None),
    ("queued", "submitting", 1, None),
    ("submitting", "running", 1, None),
    ("running", "succeeded", 1, "reported by callback"),
]


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """One for all of these tests: they leave nothing in it but rows."""
    return shared_gateway


async def listed(gateway: Gateway, path: str = "/v1/events", **params: object) -> Any:
    answer = await gateway.http.get(path, params={name: str(one) for name, one in params.items()})
    assert answer.status_code == 200, answer.text
    page = answer.json()
    assert list(page) == ["data", "next_cursor"]
    assert all(list(event) == EVENT for event in page["data"])
    return page


async def a_life(gateway: Gateway, upstream: Upstream) -> dict[str, Any]:
    task = await gateway.create()
    await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    return await gateway.task(task["id"])


async def fed(gateway: Gateway, count: int) -> Any:
    """Wait until so many have their places in the feed."""

    async def look() -> Any:
        page = await listed(gateway)
        return page if len(page["data"]) >= count else None

    return await eventually(look)


async def test_a_history_tells_a_whole_life(gateway: Gateway, upstream: Upstream) -> None:
    task = await a_life(gateway, upstream)
    page = await listed(gateway, task["urls"]["events"])
    said = [
        (event["from_state"], event["to_state"], event["attempt"], event["reason"])
        for event in page["data"]
    ]
    assert said == LIFE
    assert [event["type"] for event in page["data"]] == [f"task.{to}" for _, to, _, _ in LIFE]
    assert {event["task_id"] for event in page["data"]} == {task["id"]}
    assert all(INSTANT.fullmatch(event["at"]) for event in page["data"])
    assert [event["at"] for event in page["data"]] == sorted(e["at"] for e in page["data"])
    assert page["next_cursor"] == page["data"][-1]["id"]


@pytest.mark.parametrize("limit", [1, 3, 4, 200])
@pytest.mark.parametrize("feed", [True, False])
async def test_pages_go_on_where_they_ended(
    gateway: Gateway, upstream: Upstream, limit: int, *, feed: bool
) -> None:
    """And the last cursor stays good for what comes later."""
    task = await a_life(gateway, upstream)
    path = "/v1/events" if feed else task["urls"]["events"]
    whole = (await fed(gateway, 4))["data"] if feed else (await listed(gateway, path))["data"]
    found: list[Any] = []
    after: dict[str, str] = {}
    while True:
        page = await listed(gateway, path, limit=limit, **after)
        if not page["data"]:
            break
        assert len(page["data"]) <= limit
        found += page["data"]
        after = {"after": page["next_cursor"]}
    assert found == whole
    assert [event["to_state"] for event in found] == [to for _, to, _, _ in LIFE]
    assert page["next_cursor"] == after["after"]
    assert (await listed(gateway, path, after=found[1]["id"]))["data"] == found[2:]


async def test_the_feed_is_of_all_ones_tasks_in_order(
    gateway: Gateway, upstream: Upstream, new_key: IssueKey
) -> None:
    mine = [await a_life(gateway, upstream) for _ in range(3)]
    headers = {"Authorization": f"Bearer {await new_key('other')}"}
    theirs = await gateway.http.post("/v1/tasks", json=BODY, headers=headers)
    page = await fed(gateway, 12)
    assert [(event["task_id"], event["to_state"]) for event in page["data"]] == [
        (task["id"], to) for task in mine for _, to, _, _ in LIFE
    ]

    async def others() -> list[Any] | None:
        answer = await gateway.http.get("/v1/events", headers=headers)
        found: list[Any] = answer.json()["data"]
        return found if len(found) >= 3 else None

    assert {event["task_id"] for event in await eventually(others)} == {theirs.json()["id"]}
    last = page["next_cursor"]
    answer = await gateway.http.get("/v1/events", params={"after": last}, headers=headers)
    assert mine[0]["id"] not in answer.text


async def test_a_slow_transaction_holds_nothing_up_and_is_not_skipped(
    gateway: Gateway, upstream: Upstream, sql: Sql, dsn: str
) -> None:
    first = await a_life(gateway, upstream)
    after = (await fed(gateway, 4))["next_cursor"]
    client_id = await sql.fetchval("SELECT client_id FROM tasks")
    slow = await asyncpg.connect(dsn)
    try:
        transaction = slow.transaction()
        await transaction.start()
        await append(slow, UUID(first["id"]), client_id, attempt=9)
        second = await a_life(gateway, upstream)
        assert len((await listed(gateway, second["urls"]["events"]))["data"]) == 4
        await fed(gateway, 8)
        await transaction.commit()
    finally:
        await slow.close()
    await fed(gateway, 9)
    rest = (await listed(gateway, after=after))["data"]
    assert [event["attempt"] for event in rest] == [0, 1, 1, 1, 9]
    assert [event["task_id"] for event in rest] == [second["id"]] * 4 + [first["id"]]


async def test_a_history_does_not_wait_for_the_feed(
    gateway: Gateway, numbering: Services, upstream: Upstream, sql: Sql
) -> None:
    """Nor does it need its ids: a feed's are good there too, and those of older versions."""
    task = await a_life(gateway, upstream)
    whole = (await fed(gateway, 4))["data"]
    await numbering.numbering.release()
    await sql.execute("UPDATE feed_writer SET holder = $1, leased_until = 'infinity'", UUID(int=1))
    other = await a_life(gateway, upstream)
    assert len((await listed(gateway, other["urls"]["events"]))["data"]) == 4
    assert len((await listed(gateway))["data"]) == 4
    for after in (whole[1]["id"], f"777-{whole[1]['id'].split('.')[0].removeprefix('e')}"):
        rest = (await listed(gateway, task["urls"]["events"], after=after))["data"]
        assert [event["to_state"] for event in rest] == ["running", "succeeded"]


async def test_without_events_the_cursor_is_the_beginning(gateway: Gateway) -> None:
    page = await listed(gateway)
    assert page["data"] == []
    assert await listed(gateway, after=page["next_cursor"]) == page


BAD_PLACES = (
    *("x", "1", "1-", "-1", "1-2-3", "1.2", "-1-1", "1-1 ", "\0", "9" * 19 + "-1", "é"),
    *("e", "e1.", "e1.2", "e1.2.3", "e1.2.0000000g", "e-1", "e1.2.00000003x", "e" + "9" * 19),
)


@each("after", BAD_PLACES)
@each("path", ["/v1/events", f"/v1/tasks/{NOBODY}/events"])
async def test_a_place_that_is_not_ours_is_refused(gateway: Gateway, path: str, after: str) -> None:
    refusal = bad_parameter("after: not the id of an event")
    check_refusal(await gateway.http.get(path, params={"after": after}), refusal)


async def test_a_historys_place_is_none_in_the_feed(gateway: Gateway) -> None:
    refusal = bad_parameter("after: the id of a task's history")
    check_refusal(await gateway.http.get("/v1/events", params={"after": "e1"}), refusal)


LOST = {
    "of an older version": "737-1",
    "ahead of the feed": "e9.999999999.00000000",
    "far ahead": f"e{'9' * 18}.{'9' * 18}.ffffffff",
}


@pytest.mark.parametrize("after", [*LOST.values(), "another client's", "of another copy"])
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_a_place_that_the_feed_has_not_is_gone_and_never_silence(
    gateway: Gateway, upstream: Upstream, new_key: IssueKey, after: str, accept: str
) -> None:
    """Whoever believed that nothing happens any more would never fetch what it paid for."""
    await a_life(gateway, upstream)
    last = (await fed(gateway, 4))["next_cursor"]
    headers = {"Accept": accept}
    if after == "another client's":
        headers["Authorization"] = f"Bearer {await new_key('other')}"
        after = last
    elif after == "of another copy":
        after = f"{last[:-1]}{int(last[-1], 16) ^ 1:x}"
    for query, header in (({"after": after}, {}), ({}, {"Last-Event-ID": after})):
        answer = await gateway.http.get("/v1/events", params=query, headers={**headers, **header})
        check_refusal(answer, CURSOR_LOST)
        assert "GET /v1/tasks" in answer.json()["detail"]


@pytest.mark.parametrize("after", ["0-0", "e0.0.00000000", ""])
async def test_the_beginning_is_always_there(
    gateway: Gateway, upstream: Upstream, after: str
) -> None:
    task = await a_life(gateway, upstream)
    await fed(gateway, 4)
    for path in ("/v1/events", task["urls"]["events"]):
        assert len((await listed(gateway, path, after=after))["data"]) == 4


async def test_a_forged_place_harms_nobody(gateway: Gateway, upstream: Upstream) -> None:
    task = await a_life(gateway, upstream)
    for after in ("9" * 18 + "-" + "9" * 18, "e" + "9" * 18):
        assert (await listed(gateway, task["urls"]["events"], after=after))["data"] == []


@each("limit", ["0", "201", "-1", "x", ""])
@each("path", ["/v1/events", f"/v1/tasks/{NOBODY}/events"])
async def test_a_bad_limit_is_refused(gateway: Gateway, path: str, limit: str) -> None:
    refusal = bad_parameter("limit: Input should be ")
    check_refusal(await gateway.http.get(path, params={"limit": limit}), refusal)


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream", "*/*"])
async def test_a_strange_history_is_refused_and_never_streamed(
    gateway: Gateway, upstream: Upstream, new_key: IssueKey, accept: str
) -> None:
    task = await a_life(gateway, upstream)
    other = {"Authorization": f"Bearer {await new_key('other')}"}
    asked: list[tuple[str, dict[str, str]]] = [(NOBODY, {}), (task["id"], other)]
    for task_id, headers in asked:
        answer: httpx.Response = await gateway.http.get(
            f"/v1/tasks/{task_id}/events", headers={"Accept": accept, **headers}
        )
        check_refusal(answer, NOT_FOUND)
