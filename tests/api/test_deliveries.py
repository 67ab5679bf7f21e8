"""`/v1/deliveries`: looking back, sending again, enabling a URL; and nobody else's."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from app.services.deliveries.history import MOST_REPEATED
from app.store.deliveries import history
from app.wiring import new_id
from tests.api.stage import (
    NOBODY,
    NOT_FOUND,
    UNAUTHENTICATED,
    Refusal,
    Sql,
    bad_parameter,
    check_refusal,
)
from tests.each import each
from tests.fixtures.gateway import StartGateway, Wire
from tests.gateway import Gateway, issue_key
from tests.hooks import Hook, listening
from tests.stage import eventually
from tests.upstream import Upstream, failed, succeeded

HOOK = "https://h.test/hook"
ADMIN_KEY = "an-admin-key-of-these-tests"
BUSY = b"busy \xff\x00" + "é".encode() * 600
DISABLED = Refusal(status=409, code="url_disabled", says="Enable it")


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """One for all of these tests: they leave nothing in it but rows."""
    return shared_gateway


@dataclass(frozen=True, slots=True)
class Outbox:
    """A gateway that delivers nothing by itself, and its outbox."""

    gateway: Gateway
    upstream: Upstream
    sql: Sql

    async def notified(self, url: str = HOOK) -> tuple[str, str]:
        """Have a task end; returns its id and the id of the delivery that it makes."""
        task = await self.gateway.create(webhook_url=url)
        body = succeeded(task["kie_task_id"])
        await self.gateway.call_back(self.upstream.callback_path, body)
        (found,) = (await self.get(f"/v1/tasks/{task['id']}/deliveries"))["data"]
        return task["id"], found["id"]

    async def ended(self, state: str, url: str = HOOK) -> str:
        """Put a delivery at its end; returns its id."""
        _, delivery_id = await self.notified(url)
        await self.end(delivery_id, state)
        return delivery_id

    async def end(self, delivery_id: str, state: str) -> None:
        await self.sql.execute(
            "UPDATE deliveries SET state = $2, due_at = NULL, finished_at = now() WHERE id = $1",
            UUID(delivery_id),
            state,
        )

    async def disable(self, url: str = HOOK) -> None:
        await self.sql.execute(
            "INSERT INTO disabled_urls (client_id, url) SELECT id, $1 FROM clients"
            " WHERE name = 'tests'",
            url,
        )

    async def get(self, path: str, **params: str) -> dict[str, Any]:
        return _object(await self.gateway.http.get(path, params=params))

    async def ids(self, **params: str) -> list[str]:
        return [one["id"] for one in (await self.get("/v1/deliveries", **params))["data"]]

    async def asks(self, path: str, body: object = None, key: str = "") -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return await self.gateway.http.post(
            f"/v1/deliveries{path}", content=content, headers=headers
        )

    async def again(self, **body: object) -> dict[str, Any]:
        """Repeat many; returns the answer."""
        return _object(await self.asks("/redeliver", body), 202)

    async def origins(self, ids: Sequence[str]) -> list[str]:
        """Return what these repeat, in their order."""
        found = await self.sql.fetch(
            "SELECT id, origin_id FROM deliveries WHERE id = ANY($1)", [UUID(one) for one in ids]
        )
        origin = {str(row["id"]): str(row["origin_id"]) for row in found}
        return [origin[one] for one in ids]


def _object(response: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert response.status_code == status, response.text
    found = response.json()
    assert isinstance(found, dict)
    return found


@pytest.fixture
def outbox(gateway: Gateway, upstream: Upstream, sql: Sql) -> Outbox:
    return Outbox(gateway, upstream, sql)


@pytest_asyncio.fixture
async def hook() -> AsyncIterator[Hook]:
    async with listening() as hook:
        yield hook


# -- looking back


async def test_a_delivery_is_shown_with_all_attempts(outbox: Outbox, spec: dict[str, Any]) -> None:
    task_id, delivery_id = await outbox.notified()
    await outbox.sql.executemany(
        "INSERT INTO delivery_attempts (delivery_id, number, seconds, status, error, address,"
        " answer) VALUES ($1, $2, 0.25, $3, $4, $5, $6)",
        [
            (UUID(delivery_id), 2, 503, None, "10.0.0.7", BUSY),
            (UUID(delivery_id), 1, None, "no answer within 15 s", None, b""),
        ],
    )
    (shown,) = (await outbox.get("/v1/deliveries"))["data"]
    schemas = spec["components"]["schemas"]
    assert set(shown) == set(schemas["Delivery"]["properties"])
    assert (shown["id"], shown["task_id"], shown["event"]) == (
        delivery_id,
        task_id,
        "task.succeeded",
    )
    assert (shown["url"], shown["state"], shown["origin_id"]) == (HOOK, "pending", None)
    assert shown["webhook_id"] == f"msg_{UUID(delivery_id).hex}"
    assert shown["due_at"].endswith("Z")
    first, second = shown["attempts"]
    assert set(first) == set(schemas["DeliveryAttempt"]["properties"])
    assert (first["number"], first["status"], first["answer"]) == (1, None, None)
    assert first["error"] == "no answer within 15 s"
    assert (second["status"], second["address"]) == (503, "10.0.0.7")
    assert (second["seconds"], second["answer"]) == (0.25, None)
    assert await outbox.get(f"/v1/deliveries/{delivery_id}") == shown
    assert (await outbox.get(f"/v1/tasks/{task_id}/deliveries"))["data"] == [shown]


@pytest.mark.parametrize(
    ("hosts", "shown"),
    [
        (["h.test"], "busy \ufffd\0" + "é" * 124),  # what was cut in two at 256 bytes is left out
        (["other.test", "H.TEST"], "busy \ufffd\0" + "é" * 124),
        (["other.test"], None),
        (None, None),
    ],
)
async def test_an_answer_is_shown_of_listed_hosts_only(
    hosts: list[str] | None, shown: str | None, outbox: Outbox
) -> None:
    """Else every key would read what any address of the private network says to a POST."""
    _, delivery_id = await outbox.notified()
    await outbox.sql.execute("UPDATE clients SET webhook_hosts = $1 WHERE name = 'tests'", hosts)
    await outbox.sql.execute(
        "INSERT INTO delivery_attempts (delivery_id, number, seconds, status, answer, answer_bytes)"
        " VALUES ($1, 1, 0.25, 503, $2, 4096)",
        UUID(delivery_id),
        BUSY,
    )
    (attempt,) = (await outbox.get(f"/v1/deliveries/{delivery_id}"))["attempts"]
    assert (attempt["answer"], attempt["answer_bytes"]) == (shown, 4096)


async def test_operators_see_more_of_an_answer_and_less_of_the_url(
    start_gateway: StartGateway, upstream: Upstream, sql: Sql
) -> None:
    gateway = await start_gateway(admin_key=SecretStr(ADMIN_KEY), submit_wait=5)
    outbox = Outbox(gateway, upstream, sql)
    _, delivery_id = await outbox.notified()
    await sql.execute(
        "INSERT INTO delivery_attempts (delivery_id, number, seconds, answer)"
        " VALUES ($1, 1, 0.25, $2)",
        UUID(delivery_id),
        b"x" * 16_384,  # as releases before this one have kept it
    )
    gateway.http.headers["Authorization"] = f"Bearer {ADMIN_KEY}"
    shown = await outbox.get(f"/v1/admin/deliveries/{delivery_id}")
    assert (shown["client"], shown["webhook_host"]) == ("tests", "h.test")
    assert HOOK not in str(shown)
    assert shown["attempts"][0]["answer"] == "x" * 1024
    refused = await gateway.http.get(f"/v1/admin/deliveries/{UUID(int=7)}")
    assert refused.status_code == 404


async def test_disabled_urls_are_listed_with_their_reasons(outbox: Outbox) -> None:
    await outbox.notified()
    await outbox.disable()
    await outbox.disable("https://h.test/old")
    await outbox.sql.execute("UPDATE disabled_urls SET reason = 'failing' WHERE url = $1", HOOK)
    await outbox.sql.execute(
        "UPDATE disabled_urls SET disabled_at = '2026-01-02T03:04:05Z' WHERE url <> $1", HOOK
    )
    first, second = (await outbox.get("/v1/deliveries/disabled-urls"))["data"]
    assert (first["url"], first["reason"]) == (HOOK, "failing")
    assert second == {
        "url": "https://h.test/old",
        "reason": "gone",
        "disabled_at": "2026-01-02T03:04:05Z",
    }
    assert (await outbox.asks("/enable", {"url": HOOK})).status_code == 200
    assert (await outbox.get("/v1/deliveries/disabled-urls"))["data"] == [second]


async def test_a_list_goes_from_new_to_old_page_by_page(outbox: Outbox) -> None:
    made = [(await outbox.notified())[1] for _ in range(5)]
    assert await outbox.ids() == made[::-1]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await outbox.get("/v1/deliveries", limit="2", **cursor)
        seen += [one["id"] for one in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
        await outbox.notified()  # what comes meanwhile moves nothing
    assert seen == made[::-1]


async def test_a_list_is_narrowed_by_state_and_time(outbox: Outbox) -> None:
    old, lost = await outbox.ended("delivered"), await outbox.ended("exhausted")
    await outbox.sql.execute(
        "UPDATE deliveries SET created_at = '2026-08-01T12:00:00Z' WHERE id = $1", UUID(old)
    )
    _, waiting = await outbox.notified()
    assert await outbox.ids(state="exhausted") == [lost]
    assert await outbox.ids(state="pending") == [waiting]
    assert await outbox.ids(created_before="2026-08-01T12:00:01Z") == [old]
    assert await outbox.ids(created_after="2026-08-01t12:00:00z") == [waiting, lost]
    assert await outbox.ids(created_after="2026-08-01T14:00:00+02:00", state="delivered") == []


async def test_a_task_has_its_own(outbox: Outbox) -> None:
    task_id, mine = await outbox.notified()
    await outbox.notified()
    made = _object(await outbox.asks(f"/{mine}/redeliver"), 202)
    found = await outbox.get(f"/v1/tasks/{task_id}/deliveries")
    assert [one["id"] for one in found["data"]] == [made["id"], mine]
    page = await outbox.get(f"/v1/tasks/{task_id}/deliveries", limit="1")
    rest = await outbox.get(f"/v1/tasks/{task_id}/deliveries", cursor=page["next_cursor"])
    assert [one["id"] for one in rest["data"]] == [mine]
    quiet = await outbox.gateway.create()
    assert await outbox.get(quiet["urls"]["deliveries"]) == {"data": [], "next_cursor": None}


# -- sending one again


async def test_a_repetition_is_a_new_delivery_of_the_same_body(outbox: Outbox) -> None:
    first = await outbox.ended("exhausted")
    answer = await outbox.asks(f"/{first}/redeliver")
    made = _object(answer, 202)
    assert set(made) == {"id", "origin_id"}
    assert made["origin_id"] == first != made["id"]
    shown = await outbox.get(answer.headers["location"])
    assert (shown["state"], shown["tries"], shown["attempts"]) == ("pending", 0, [])
    assert shown["origin_id"] == first
    assert await outbox.sql.fetchval("SELECT count(DISTINCT body) FROM deliveries") == 1
    assert (await outbox.get(f"/v1/deliveries/{first}"))["state"] == "exhausted"

    second = _object(await outbox.asks(f"/{made['id']}/redeliver"), 202)
    assert second["origin_id"] == first  # of several repetitions too


async def test_what_had_nowhere_to_go_is_sent_again_by_hand(outbox: Outbox) -> None:
    first = await outbox.ended("undeliverable")
    assert await outbox.ids(state="undeliverable") == [first]
    _object(await outbox.asks(f"/{first}/redeliver"), 202)
    other = await outbox.ended("undeliverable")
    made = await outbox.again(state="undeliverable")
    assert await outbox.origins(made["data"]) == [other]


async def test_nothing_is_sent_to_a_url_that_said_410_until_it_is_enabled(outbox: Outbox) -> None:
    gone = await outbox.ended("disabled")
    await outbox.disable()
    check_refusal(await outbox.asks(f"/{gone}/redeliver"), DISABLED)
    assert await outbox.sql.fetchval("SELECT count(*) FROM deliveries") == 1

    assert _object(await outbox.asks("/enable", {"url": HOOK})) == {"url": HOOK}
    check_refusal(await outbox.asks("/enable", {"url": HOOK}), NOT_FOUND)
    _object(await outbox.asks(f"/{gone}/redeliver"), 202)
    _, later = await outbox.notified()
    assert (await outbox.get(f"/v1/deliveries/{later}"))["state"] == "pending"


# -- sending many again


async def test_all_that_were_given_up_are_sent_again_once(outbox: Outbox) -> None:
    lost = [await outbox.ended("exhausted") for _ in range(3)]
    await outbox.ended("delivered")
    await outbox.notified()
    _object(await outbox.asks(f"/{lost[2]}/redeliver"), 202)

    made = await outbox.again(state="exhausted")
    assert (made["next_cursor"], made["disabled_urls"]) == (None, [])
    assert await outbox.origins(made["data"]) == lost[:2]
    assert (await outbox.again(state="exhausted"))["data"] == []  # they are on their way

    await outbox.end(made["data"][0], "exhausted")
    await outbox.end(made["data"][1], "delivered")
    again = await outbox.again(state="exhausted")
    assert await outbox.origins(again["data"]) == lost[:1]


async def test_many_are_chosen_by_time(outbox: Outbox) -> None:
    ends = ("delivered", "exhausted", "delivered")
    made = [await outbox.ended(state) for state in ends]
    for hour, one in enumerate(made):
        await outbox.sql.execute(
            "UPDATE deliveries SET created_at = '2026-08-01T00:30:00Z'::timestamptz"
            " + make_interval(hours => $2) WHERE id = $1",
            UUID(one),
            hour,
        )
    _, waiting = await outbox.notified()
    found = await outbox.again(
        created_after="2026-08-01T00:00:00Z", created_before="2026-08-01T02:00:00Z"
    )
    assert await outbox.origins(found["data"]) == made[:2]
    for one in found["data"]:
        await outbox.end(one, "delivered")
    # The same hours once more: each message once, not its repetition too.
    everything = await outbox.again(created_after="2026-07-01T00:00:00Z")
    assert await outbox.origins(everything["data"]) == [made[0], made[2]]
    assert waiting not in await outbox.origins(everything["data"])
    delivered = await outbox.again(state="delivered", created_before="2026-08-01T01:00:00Z")
    assert await outbox.origins(delivered["data"]) == made[:1]


async def test_what_goes_to_a_disabled_url_is_left_out_and_named(outbox: Outbox) -> None:
    gone = await outbox.ended("disabled")
    other = await outbox.ended("exhausted", "https://other.test/")
    await outbox.disable()
    await outbox.disable("https://nothing-waits.test/")
    found = await outbox.again(created_after="2026-08-01T00:00:00Z")
    assert await outbox.origins(found["data"]) == [other]
    assert found["disabled_urls"] == [HOOK]
    await outbox.asks("/enable", {"url": HOOK})
    found = await outbox.again(state="disabled")
    assert (await outbox.origins(found["data"]), found["disabled_urls"]) == ([gone], [])


async def test_more_than_a_thousand_take_several_calls(outbox: Outbox) -> None:
    await outbox.ended("delivered")
    await outbox.sql.execute(
        "INSERT INTO deliveries (id, client_id, task_id, event, url, host, body, state)"
        " SELECT gen_random_uuid(), client_id, task_id, event, url, host, body, state"
        " FROM deliveries, generate_series(1, $1)",
        MOST_REPEATED + 1,
    )
    first = await outbox.again(state="delivered")
    assert len(first["data"]) == MOST_REPEATED
    await outbox.sql.execute("UPDATE deliveries SET state = 'delivered', due_at = NULL")
    second = await outbox.again(state="delivered", cursor=first["next_cursor"])
    assert (len(second["data"]), second["next_cursor"]) == (2, None)
    origins = await outbox.origins([*first["data"], *second["data"]])
    assert len(set(origins)) == MOST_REPEATED + 2


async def test_repetitions_have_a_budget(
    start_gateway: StartGateway, upstream: Upstream, sql: Sql
) -> None:
    """Six at once, by single calls and by calls for many; what was refused costs nothing."""
    gateway = await start_gateway(client_redeliveries_per_minute=36)
    outbox = Outbox(gateway, upstream, sql)
    one = await outbox.ended("delivered")
    assert (await outbox.asks(f"/{UUID(int=7)}/redeliver")).status_code == 404
    assert [(await outbox.asks(f"/{one}/redeliver")).status_code for _ in range(3)] == [202] * 3
    await sql.execute(
        "INSERT INTO deliveries (id, client_id, task_id, event, url, host, body, state)"
        " SELECT gen_random_uuid(), client_id, task_id, event, url, host, body, state"
        " FROM deliveries, generate_series(1, 5) WHERE state = 'delivered'"
    )
    found = await outbox.again(state="delivered")
    assert len(found["data"]) == 3
    assert found["next_cursor"]
    for path, body in ((f"/{one}/redeliver", None), ("/redeliver", {"state": "delivered"})):
        refused = await outbox.asks(path, body)
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert 1 <= int(refused.headers["retry-after"]) <= 2


async def test_a_repetition_whose_commit_was_lost_is_there_once(outbox: Outbox, wire: Wire) -> None:
    first = UUID(await outbox.ended("exhausted"))
    client_id = await outbox.sql.fetchval("SELECT client_id FROM deliveries")
    database = (await wire()).deliveries._database
    new_ids = {first: new_id()}
    for _ in range(2):
        async with database.begin() as connection:
            await history.repeat(connection, client_id, new_ids)
    assert len(await outbox.ids()) == 2


async def test_what_was_given_up_arrives_at_last(
    start_gateway: StartGateway, upstream: Upstream, sql: Sql, hook: Hook
) -> None:
    """With loops and a receiver: given up, sent again, heard, each under an id of its own."""
    gateway = await start_gateway(
        worker=True, delivery_allow_loopback=True, delivery_schedule=(0.0,)
    )
    outbox = Outbox(gateway, upstream, sql)
    hook.status = 500
    task = await gateway.create(webhook_url=hook.url)
    await gateway.call_back(upstream.callback_path, failed(task["kie_task_id"]))

    async def ended(state: str) -> str | None:
        return next(iter(await outbox.ids(state=state)), None)

    lost = await eventually(lambda: ended("exhausted"))
    (attempt,) = (await outbox.get(f"/v1/deliveries/{lost}"))["attempts"]
    assert (attempt["status"], attempt["address"]) == (500, "127.0.0.1")
    assert (attempt["answer"], attempt["answer_bytes"]) == (None, 9)
    hook.status = 204
    made = await outbox.again(state="exhausted")
    assert await eventually(lambda: ended("delivered")) == made["data"][0]
    refused, heard = hook.told
    assert refused.body == heard.body
    assert heard.document["type"] == "task.failed"
    assert heard.id == f"msg_{UUID(made['data'][0]).hex}" != refused.id


# -- somebody else's


async def test_another_clients_deliveries_do_not_exist(outbox: Outbox) -> None:
    task_id, mine = await outbox.notified()
    await outbox.end(mine, "exhausted")
    await outbox.disable()
    other = await issue_key(outbox.gateway.settings, "other")
    key = {"Authorization": f"Bearer {other}"}
    for path in (f"/v1/deliveries/{mine}", f"/v1/tasks/{task_id}/deliveries"):
        check_refusal(await outbox.gateway.http.get(path, headers=key), NOT_FOUND)
    check_refusal(await outbox.asks(f"/{mine}/redeliver", key=other), NOT_FOUND)
    check_refusal(await outbox.asks("/enable", {"url": HOOK}, key=other), NOT_FOUND)
    listed = await outbox.gateway.http.get("/v1/deliveries", headers=key)
    assert listed.json() == {"data": [], "next_cursor": None}
    answer = await outbox.asks("/redeliver", {"state": "exhausted"}, key=other)
    assert answer.json() == {"data": [], "next_cursor": None, "disabled_urls": []}
    assert await outbox.sql.fetchval("SELECT count(*) FROM deliveries") == 1
    assert await outbox.sql.fetchval("SELECT count(*) FROM disabled_urls") == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/deliveries"),
        ("GET", f"/v1/deliveries/{NOBODY}"),
        ("GET", f"/v1/tasks/{NOBODY}/deliveries"),
        ("POST", f"/v1/deliveries/{NOBODY}/redeliver"),
        ("POST", "/v1/deliveries/redeliver"),
        ("POST", "/v1/deliveries/enable"),
    ],
)
async def test_without_a_key_nothing_is_said_of_the_rest(
    gateway: Gateway, method: str, path: str
) -> None:
    answer = await gateway.http.request(
        method, f"{path}?x=1", headers={"Authorization": ""}, content=b"{"
    )
    check_refusal(answer, UNAUTHENTICATED)


# -- wrong input

PARAMETERS = [
    ("/v1/deliveries?state=lost", "state: "),
    ("/v1/deliveries?status=exhausted", "status: unknown parameter; did you mean state?"),
    ("/v1/deliveries?limit=0", "limit: "),
    ("/v1/deliveries?limit=201", "limit: "),
    ("/v1/deliveries?limit=x", "limit: "),
    ("/v1/deliveries?cursor=", "cursor: not one of ours"),
    ("/v1/deliveries?cursor=0191", "cursor: not one of ours"),
    ("/v1/deliveries?cursor=" + "A" * 5000, "cursor: not one of ours"),
    ("/v1/deliveries?cursor=%00", "cursor: not one of ours"),
    ("/v1/deliveries?created_after=yesterday", "created_after: should say its zone"),
    ("/v1/deliveries?created_before=2026-08-01T12:00:00", "created_before: should say its zone"),
    ("/v1/deliveries?created_before=0001-01-01T00:00:00Z", "created_before: should say its zone"),
    ("/v1/deliveries/x", "delivery_id: "),
    (f"/v1/deliveries/{NOBODY}?state=pending", "state: unknown parameter"),
    ("/v1/tasks/x/deliveries", "task_id: "),
    (f"/v1/tasks/{NOBODY}/deliveries?created_after=x", "created_after: unknown parameter"),
]


@each(("path", "says"), PARAMETERS)
async def test_a_wrong_parameter_is_named(gateway: Gateway, path: str, says: str) -> None:
    answer = await gateway.http.get(path)
    check_refusal(answer, bad_parameter(says))


BODIES: list[tuple[str, object, str, str]] = [
    ("/redeliver", {}, "", "at least one of state, created_after and created_before"),
    ("/redeliver", {"cursor": "A" * 22}, "", "at least one of state"),
    ("/redeliver", {"state": None}, "", "at least one of state"),
    ("/redeliver", {"state": "pending"}, "/state", "'exhausted', 'disabled', 'undeliverable' or "),
    ("/redeliver", {"state": ["exhausted"]}, "/state", ""),
    ("/redeliver", {"status": "exhausted"}, "/status", "did you mean state?"),
    ("/redeliver", {"created_after": "soon"}, "/created_after", "should say its zone"),
    ("/redeliver", {"created_after": "2026-08-01"}, "/created_after", "should say its zone"),
    ("/redeliver", {"created_before": 1785585600}, "/created_before", ""),
    ("/redeliver", {"state": "exhausted", "cursor": 7}, "/cursor", ""),
    ("/redeliver", {"state": "exhausted", "cursor": "A" * 65}, "/cursor", ""),
    ("/redeliver", [], "", "object"),
    ("/enable", {}, "/url", "required"),
    ("/enable", {"url": None}, "/url", ""),
    ("/enable", {"url": "h.test/hook"}, "/url", "http or https URL"),
    ("/enable", {"url": "ftp://h.test/"}, "/url", "http or https URL"),
    ("/enable", {"url": "http://h.test/" + "x" * 2048}, "/url", "2048"),
    ("/enable", {"url": HOOK, "x": 1}, "/x", "unknown field"),
    ("/enable", HOOK, "", "object"),
]


@pytest.mark.parametrize(("path", "body", "pointer", "says"), BODIES)
async def test_a_wrong_body_is_refused_at_its_place(
    outbox: Outbox, path: str, body: object, pointer: str, says: str
) -> None:
    await outbox.ended("exhausted")
    refusal = Refusal(status=422, code="invalid_request", pointer=pointer, says=says)
    check_refusal(await outbox.asks(path, body), refusal)
    assert await outbox.sql.fetchval("SELECT count(*) FROM deliveries") == 1


async def test_a_cursor_in_a_body_is_one_of_ours_or_refused(outbox: Outbox) -> None:
    answer = await outbox.asks("/redeliver", {"state": "exhausted", "cursor": "nonsense"})
    check_refusal(
        answer,
        Refusal(status=422, code="invalid_request", pointer="/cursor", says="not one of ours"),
    )
    assert "cursor: not one of" in answer.json()["detail"]


@each("path", ["/redeliver", "/enable"])
@each("body", [b"", b"{", b"\xff", b'{"url": "\\u0000"}', b'{"a":1,"a":1}'])
async def test_what_is_no_json_is_refused(outbox: Outbox, path: str, body: bytes) -> None:
    answer = await outbox.asks(path, body)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")
