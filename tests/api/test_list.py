"""`GET /v1/tasks`: pages, cursors and filters."""

import asyncio
import base64
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeAlias
from uuid import UUID

import pytest

from tests.api.conftest import IssueKey
from tests.api.stage import Sql, bad_parameter, check_refusal
from tests.each import each
from tests.gateway import BODY, Gateway
from tests.upstream import Upstream, refused, succeeded

Pair: TypeAlias = tuple[str, str | int | float | bool | None]
Params: TypeAlias = list[Pair]


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """One for all of these tests: they leave nothing in it but rows."""
    return shared_gateway


async def listed(gateway: Gateway, params: Sequence[Pair] = (), key: str | None = None) -> Any:
    """Return one page."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    answer = await gateway.http.get("/v1/tasks", params=list(params), headers=headers)
    assert answer.status_code == 200, answer.text
    page = answer.json()
    assert list(page) == ["data", "next_cursor"]
    return page


async def walked(gateway: Gateway, *params: Pair) -> list[list[str]]:
    """Return the ids of every page."""
    pages, cursor = [], None
    while True:
        here = [*params, *([("cursor", cursor)] if cursor else [])]
        page = await listed(gateway, here)
        pages.append([task["id"] for task in page["data"]])
        cursor = page["next_cursor"]
        if cursor is None:
            return pages


def flat(pages: list[list[str]]) -> list[str]:
    return [task_id for page in pages for task_id in page]


async def made(gateway: Gateway, count: int, **members: object) -> list[str]:
    """Create tasks one after the other; returns their ids, newest first."""
    return [(await gateway.create(**members))["id"] for _ in range(count)][::-1]


# -- pages


async def test_without_tasks_the_list_is_empty(gateway: Gateway) -> None:
    assert await listed(gateway) == {"data": [], "next_cursor": None}


async def test_a_task_is_listed_as_it_is_read(gateway: Gateway, upstream: Upstream) -> None:
    task = await gateway.create(metadata={"order": "A-1017"})
    await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    await gateway.create()
    page = await listed(gateway, [("include", "input")])
    assert [list(one) for one in page["data"]] == [list(task)] * 2
    assert page["data"][1] == await gateway.task(task["id"])
    members = [name for name in task if name != "input"]
    assert [list(one) for one in (await listed(gateway))["data"]] == [members] * 2


async def test_a_page_of_large_tasks_ends_before_4_mib(
    gateway: Gateway, upstream: Upstream
) -> None:
    upstream.answers(lambda: refused(422, "no"))
    ids = await made(gateway, 9, input={"prompt": "," * 1_000_000})
    assert [len(page) for page in await walked(gateway, ("include", "input"))] == [4, 4, 1]
    assert await walked(gateway) == [ids]


@pytest.mark.parametrize(
    ("count", "limit", "sizes"),
    [(5, 2, [2, 2, 1]), (4, 2, [2, 2]), (2, 2, [2]), (1, 2, [1]), (3, 1, [1, 1, 1])],
)
async def test_pages_are_full_but_the_last_and_none_is_empty(
    gateway: Gateway, count: int, limit: int, sizes: list[int]
) -> None:
    ids = await made(gateway, count)
    pages = await walked(gateway, ("limit", str(limit)))
    assert [len(page) for page in pages] == sizes
    assert [task_id for page in pages for task_id in page] == ids


async def test_every_task_is_met_once_while_others_are_created(
    gateway: Gateway, upstream: Upstream
) -> None:
    upstream.answers(lambda: refused(422, "no"))
    ids = await made(gateway, 30)
    busy = True

    async def create_on() -> int:
        created = 0
        while busy:
            await gateway.create()
            created += 1
        return created

    creators = [asyncio.create_task(create_on()) for _ in range(3)]
    walks = [await walked(gateway, ("limit", "7")) for _ in range(4)]
    busy = False
    created = await asyncio.gather(*creators)
    assert min(created) > 0
    for walk in walks:
        met = Counter(task_id for page in walk for task_id in page)
        assert set(met.values()) == {1}
        assert [task_id for page in walk for task_id in page if task_id in set(ids)] == ids
    assert len(flat(walks[-1])) > len(ids)


async def test_tasks_of_one_instant_are_all_met(gateway: Gateway, sql: Sql) -> None:
    ids = await made(gateway, 7)
    await sql.execute("UPDATE tasks SET created_at = '2026-08-01T12:00:00.000001Z'")
    found = flat(await walked(gateway, ("limit", "2")))
    assert found == sorted(ids, key=lambda one: UUID(one).bytes, reverse=True)


async def test_a_cursor_keeps_its_filter_to_the_caller(gateway: Gateway) -> None:
    mine = await made(gateway, 3, model="mine")
    await made(gateway, 2)
    found = await walked(gateway, ("limit", "2"), ("model", "mine"))
    assert found == [mine[:2], mine[2:]]


async def test_a_client_sees_its_own_tasks_alone(gateway: Gateway, new_key: IssueKey) -> None:
    """And a cursor of another client's leads to one's own."""
    ids = await made(gateway, 3, metadata={"a": "b"})
    theirs = await new_key("other")
    headers = {"Authorization": f"Bearer {theirs}"}
    created = await gateway.http.post("/v1/tasks", json=BODY, headers=headers)
    for params in ([], [("metadata.a", "b")], [("state", "running")], [("limit", "200")]):
        found = await listed(gateway, params, key=theirs)
        wanted = [] if ("metadata.a", "b") in params else [created.json()["id"]]
        assert [task["id"] for task in found["data"]] == wanted
    assert flat(await walked(gateway, ("limit", "1"))) == ids
    cursor = (await listed(gateway, [("limit", "1")]))["next_cursor"]
    found = await listed(gateway, [("cursor", cursor)], key=theirs)
    assert found == {"data": [], "next_cursor": None}


# -- what is refused

PLACE = "1785585600000000.019a0000000070008000000000000000"


def encoded(text: str | bytes) -> str:
    raw = text.encode() if isinstance(text, str) else text
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


CURSORS = {
    "empty": "",
    "text": "next",
    "not base64": "!!!!",
    "not ASCII": "é",
    "a NUL": "\0",
    "one character": "a",
    "an id": "019a0000-0000-7000-8000-000000000000",
    "not encoded": PLACE,
    "bytes": encoded(b"\xff\xfe"),
    "no instant": encoded(PLACE.partition(".")[2]),
    "no id": encoded("1785585600000000."),
    "a short id": encoded(PLACE[:-1]),
    "a long id": encoded(PLACE + "0"),
    "a line break": encoded(PLACE + "\n"),
    "before all": encoded("-" + PLACE),
    "a fraction": encoded("1.5" + PLACE),
    "beyond all": encoded("9" * 18 + PLACE[16:]),
    "SQL": encoded("1' OR '1'='1"),
    "64 KB": "A" * 60_000,
    "cut short": encoded(PLACE)[:-4],
}


@each("name", CURSORS)
async def test_a_cursor_that_is_not_ours_is_refused(gateway: Gateway, name: str) -> None:
    answer = await gateway.http.get("/v1/tasks", params={"cursor": CURSORS[name]})
    check_refusal(answer, bad_parameter("cursor: "))


@pytest.mark.parametrize("instant", ["0", "9" * 17])
async def test_a_forged_cursor_harms_nobody(gateway: Gateway, instant: str) -> None:
    ids = await made(gateway, 1)
    page = await listed(gateway, [("cursor", encoded(instant + PLACE[16:]))])
    assert [task["id"] for task in page["data"]] == ([] if instant == "0" else ids)


PAIRS17: Params = [(f"metadata.{number}", "x") for number in range(17)]
BAD: dict[str, tuple[Params, str]] = {
    "limit 0": ([("limit", "0")], "limit: Input should be greater than or equal to 1"),
    "limit 201": ([("limit", "201")], "limit: Input should be less than or equal to 200"),
    "limit of text": ([("limit", "all")], "limit: Input should be a valid integer"),
    "limit of 40 digits": ([("limit", "9" * 40)], "limit: Input should be less than"),
    "limit -1": ([("limit", "-1")], "limit: Input should be greater than or equal to 1"),
    "another state": ([("state", "done")], "state: Input should be 'queued', 'submitting'"),
    "one state of two": (
        [("state", "running"), ("state", "done")],
        "state: Input should be 'queued'",
    ),
    "states in one": ([("state", "running,failed")], "state: Input should be 'queued'"),
    "an empty state": ([("state", "")], "state: Input should be 'queued'"),
    "a long model": ([("model", "m" * 201)], "model: String should have at most 200"),
    "NUL in a model": ([("model", "m\0")], "model: has a NUL"),
    "no zone": ([("created_after", "2026-08-01T12:00:00")], "created_after: should say its zone"),
    "a day": ([("created_before", "2026-08-01")], "created_before: should say its zone"),
    "no instant": ([("created_after", "yesterday")], "created_after: "),
    "a Unix time": ([("created_after", "1785585600")], "created_after: "),
    "a small number": ([("created_before", "3.6e-133")], "created_before: "),
    "a lost plus": ([("created_after", "2026-08-01T12:00:00 02:00")], "created_after: "),
    "before year 1": ([("created_after", "0001-01-01T00:00:00+14:00")], "created_after: "),
    "after year 9999": ([("created_before", "9999-12-31T23:59:59-14:00")], "created_before: "),
    "17 keys": (PAIRS17, "metadata.16: at most 16"),
    "a key twice": ([("metadata.a", "x"), ("metadata.a", "y")], "metadata.a: each key once"),
    "NUL in metadata": ([("metadata.a", "\0")], "metadata.a: has a NUL"),
    "NUL in a key": ([("metadata.\0", "a")], "metadata.\0: has a NUL"),
}


@each("name", BAD)
async def test_a_bad_filter_is_refused(gateway: Gateway, name: str) -> None:
    params, says = BAD[name]
    check_refusal(await gateway.http.get("/v1/tasks", params=params), bad_parameter(says))
