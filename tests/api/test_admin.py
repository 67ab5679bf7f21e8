"""`/v1/admin`: what operators can do and see, what they cannot, and who is no operator."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr
from schemathesis import GenerationMode
from starlette.responses import PlainTextResponse

from app.config import Settings
from app.main import create_app
from app.services.clients.refusals import TRIES
from tests.api.conftest import Scratch
from tests.api.stage import (
    NOBODY,
    NOT_FOUND,
    UNAUTHENTICATED,
    Operation,
    Refusal,
    Sql,
    bad_parameter,
    check_refusal,
    operations,
    problem,
)
from tests.api.test_schema import sent
from tests.each import each
from tests.fixtures.gateway import StartGateway
from tests.gateway import BODY, SECRET, Gateway, issue_key
from tests.upstream import BALANCE, Upstream, failed, refused, running, succeeded

ADMIN_KEY = "an-admin-key-not-to-be-shown"
FOUND = "f" * 32
"""An id in kie.ai's log."""


@dataclass(frozen=True, slots=True)
class Admin:
    """A gateway as its operator sees it."""

    gateway: Gateway
    http: httpx.AsyncClient

    async def get(self, path: str) -> dict[str, Any]:
        return _object(await self.http.get(f"/v1/admin{path}"))

    async def list(self, path: str) -> list[dict[str, Any]]:
        found = await self.get(path)
        assert set(found) == {"data", "next_cursor"}
        assert found["next_cursor"] is None
        rows: list[dict[str, Any]] = found["data"]
        return rows

    async def post(self, path: str, body: object = None, status: int = 200) -> dict[str, Any]:
        return _object(await self.asks("POST", path, body), status)

    async def asks(self, method: str, path: str, body: object = None) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.http.request(method, f"/v1/admin{path}", content=content)


def _object(response: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert response.status_code == status, response.text
    found = response.json()
    assert isinstance(found, dict)
    return found


def operator(url: httpx.URL, key: str = ADMIN_KEY) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=30)


@pytest_asyncio.fixture
async def admin(start_shared: StartGateway) -> AsyncIterator[Admin]:
    """The one gateway of most of these tests: they leave nothing in it but rows."""
    gateway = await start_shared(admin_key=SecretStr(ADMIN_KEY))
    async with operator(gateway.http.base_url) as http:
        yield Admin(gateway, http)


@pytest_asyncio.fixture
async def guessed(start_gateway: StartGateway) -> AsyncIterator[Admin]:
    """A gateway of the test's own: it remembers from where wrong keys came."""
    gateway = await start_gateway(admin_key=SecretStr(ADMIN_KEY))
    async with operator(gateway.http.base_url) as http:
        yield Admin(gateway, http)


@pytest.fixture(scope="module")
def admin_spec() -> dict[str, Any]:
    settings = Settings(
        database_url=SecretStr("postgresql://nobody@localhost/nothing"),
        secret_keys=(SecretStr(SECRET),),
        admin_key=SecretStr(ADMIN_KEY),
    )
    return create_app(settings, worker=False).openapi()


async def lost(admin: Admin, sql: Sql, upstream: Upstream) -> str:
    """Create a task whose create's answer is lost; returns its id."""
    upstream.answers(lambda: PlainTextResponse("oops", status_code=500))
    task = await admin.gateway.create()
    assert task["state"] == "unconfirmed"
    upstream.on_create = None
    await sql.execute("UPDATE tasks SET due_at = NULL")
    return str(task["id"])


# -- the brake


async def test_a_pause_stops_spending_and_a_resume_goes_on(
    admin: Admin, upstream: Upstream
) -> None:
    before = await admin.get("/admission")
    assert (before["paused_at"], before["hold_reason"]) == (None, None)
    assert (before["creates_free"], before["running"]) == (20, 0)
    assert (before["creates_allowed"], before["running_limit"]) == (20, 100)

    paused = await admin.post("/admission/pause", {"note": "wrong prompt"})
    assert paused["paused_at"].endswith("Z")
    assert paused["pause_note"] == "wrong prompt"
    task = await admin.gateway.create()
    assert (task["state"], task["hold_reason"]) == ("queued", "admission_paused")
    assert upstream.creates == []
    (client,) = (await admin.get("/admission"))["clients"]
    assert client["queued"] == 1

    resumed = await admin.post("/admission/resume", {})
    assert (resumed["paused_at"], resumed["pause_note"]) == (None, None)
    await admin.gateway.create()  # it sends whoever's turn it is
    assert len(upstream.creates) == 2
    after = await admin.get("/admission")
    assert (after["creates_free"], after["running"]) == (18, 2)


async def test_held_pairs_are_listed_with_what_kie_said(admin: Admin, upstream: Upstream) -> None:
    upstream.answers(lambda: refused(455, "back at noon"))
    await admin.gateway.create(model="resting")
    found = await admin.get("/admission")
    assert (found["hold_reason"], found["held_pairs_total"]) == (None, 1)
    (pair,) = found["held_pairs"]
    assert (pair["client"], pair["model"]) == ("tests", "resting")
    assert (pair["hold_reason"], pair["hold_detail"]) == ("kie_busy", "455: back at noon")
    assert pair["held_since"] < pair["held_until"]
    assert pair["hold_tries"] == 1


async def test_one_clients_pause_stops_that_client_alone(
    admin: Admin, upstream: Upstream, sql: Sql
) -> None:
    other_key = await issue_key(admin.gateway.settings, "other")
    paused = await admin.post("/admission/pause", {"client": "tests", "note": "budget"})
    assert paused["paused_at"] is None
    assert {one["client"]: one["pause_note"] for one in paused["clients"]} == {
        "tests": "budget",
        "other": None,
    }
    waiting = await admin.gateway.create()
    assert (waiting["state"], waiting["hold_reason"]) == ("queued", "client_paused")
    other = {"Authorization": f"Bearer {other_key}"}
    answer = await admin.gateway.http.post("/v1/tasks", json=dict(BODY), headers=other)
    assert answer.json()["state"] == "running"
    assert len(upstream.creates) == 1
    await admin.post("/admission/resume", {"client": "tests"})
    assert await sql.fetchval("SELECT count(paused_at) FROM client_queues") == 0


async def test_a_hold_is_shown_with_what_kie_said(admin: Admin, upstream: Upstream) -> None:
    upstream.answers(lambda: refused(402, "Insufficient credits"))
    await admin.gateway.create()
    found = await admin.get("/admission")
    assert found["hold_reason"] == "kie_account"
    assert "Insufficient credits" in found["hold_detail"]
    assert found["held_since"] < found["held_until"]


# -- clients and keys


async def test_a_client_gets_another_weight(admin: Admin) -> None:
    changed = _object(await admin.asks("PATCH", "/clients/tests", {"weight": 7}))
    assert (changed["client"], changed["weight"]) == ("tests", 7)
    assert await admin.list("/clients") == [changed]
    (entry,) = [one for one in await admin.list("/audit") if one["action"] == "client_changed"]
    assert (entry["actor"], entry["client"]) == ("admin_api", "tests")
    assert entry["detail"] == {"weight": "7"}


async def test_the_life_of_a_key(admin: Admin) -> None:
    answer = await admin.asks("POST", "/keys", {"client": "shop"})
    issued = _object(answer, 201)
    assert list(issued) == ["id", "client", "api_key", "scopes", "expires_at"]
    assert answer.headers["cache-control"] == "no-store"
    key = {"Authorization": f"Bearer {issued['api_key']}"}
    assert (await admin.gateway.http.get("/v1/tasks", headers=key)).status_code == 200

    listed = {one["id"]: one for one in await admin.list("/keys")}
    assert issued["api_key"].startswith(listed[issued["id"]]["hint"])
    assert issued["api_key"] not in json.dumps(listed)

    revoked = await admin.asks("DELETE", f"/keys/{issued['id']}")
    assert (revoked.status_code, revoked.content) == (204, b"")
    assert (await admin.gateway.http.get("/v1/tasks", headers=key)).status_code == 401
    check_refusal(await admin.asks("DELETE", f"/keys/{issued['id']}"), NOT_FOUND)
    kept = [(one["action"], one["client"], one["actor"]) for one in await admin.list("/audit")]
    assert kept[:2] == [("key_revoked", "shop", "admin_api"), ("key_created", "shop", "admin_api")]


# -- stuck work


async def test_an_unconfirmed_task_is_bound_and_settled(
    admin: Admin, sql: Sql, upstream: Upstream, start_gateway: StartGateway
) -> None:
    task_id = await lost(admin, sql, upstream)
    (stuck,) = await admin.list("/stuck")
    assert (stuck["id"], stuck["why"], stuck["client"]) == (task_id, "unconfirmed", "tests")
    upstream.records[FOUND] = succeeded(FOUND)

    bound = await admin.post(f"/tasks/{task_id}/bind", {"kie_task_id": FOUND})
    assert (bound["id"], bound["kie_task_id"]) == (task_id, FOUND)
    await start_gateway(worker=True)
    task = await admin.gateway.reaches(task_id, "succeeded")
    assert (task["kie_task_id"], task["settled_by"]) == (FOUND, "query")
    assert await admin.list("/stuck") == []
    (entry,) = [one for one in await admin.list("/audit") if one["action"] == "task_bound"]
    assert (entry["task_id"], entry["detail"]) == (task_id, {"kie_task_id": FOUND})


async def test_a_requeue_says_that_it_may_pay_again(
    admin: Admin, sql: Sql, upstream: Upstream
) -> None:
    task_id = await lost(admin, sql, upstream)
    for unsaid in ({}, {"may_pay_again": False}):
        answer = await admin.asks("POST", f"/tasks/{task_id}/requeue", unsaid)
        check_refusal(answer, Refusal(status=409, code="may_pay_again", says="kie.ai's log"))
    assert (await admin.gateway.task(task_id))["state"] == "unconfirmed"

    queued = await admin.post(f"/tasks/{task_id}/requeue", {"may_pay_again": True})
    assert (queued["state"], queued["why"]) == ("queued", None)
    (entry,) = [one for one in await admin.list("/audit") if one["action"] == "task_requeued"]
    assert entry["detail"] == {"may_pay_again": "true", "attempt": "1"}
    again = await admin.asks("POST", f"/tasks/{task_id}/requeue", {"may_pay_again": True})
    check_refusal(again, Refusal(status=409, code="not_stuck", says="The task is queued"))


async def test_a_task_with_an_id_at_kie_is_never_put_back(
    admin: Admin, sql: Sql, upstream: Upstream
) -> None:
    """It was created: a second create would be paid for certain, and its id not even kept."""
    task_id = await lost(admin, sql, upstream)
    await admin.post(f"/tasks/{task_id}/bind", {"kie_task_id": FOUND})
    answer = await admin.asks("POST", f"/tasks/{task_id}/requeue", {"may_pay_again": True})
    check_refusal(answer, Refusal(status=409, code="not_stuck", says="it was created"))


async def test_a_task_that_was_set_aside_is_released(admin: Admin, sql: Sql) -> None:
    task = await admin.gateway.create()
    await sql.execute("UPDATE tasks SET parked_at = now(), last_poll_error = 'KeyError'")
    (stuck,) = await admin.list("/stuck")
    assert (stuck["why"], stuck["breakdown"]) == ("set_aside", "KeyError")
    released = await admin.post(f"/tasks/{task['id']}/release")
    assert (released["why"], released["set_aside_at"]) == (None, None)
    answer = await admin.asks("POST", f"/tasks/{task['id']}/release")
    check_refusal(answer, Refusal(status=409, code="not_stuck", says="not parked"))


async def test_a_task_of_any_client_is_erased(admin: Admin, sql: Sql, upstream: Upstream) -> None:
    """And only a final one; a repeat is no second act."""
    task = await admin.gateway.create()
    path = f"/tasks/{task['id']}"
    check_refusal(
        await admin.asks("DELETE", path), Refusal(status=409, code="not_erasable", says="running")
    )
    done = await admin.gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    assert done.status_code == 200
    for _ in range(2):
        answer = await admin.asks("DELETE", path)
        assert (answer.status_code, answer.content) == (204, b"")
    assert await sql.fetchval("SELECT count(*) FROM tasks") == 0
    gone = await admin.gateway.http.get(f"/v1{path}")
    assert (gone.status_code, gone.json()["code"]) == (410, "task_erased")
    entry, before = (await admin.list("/audit"))[:2]
    assert (entry["action"], entry["client"], entry["task_id"]) == (
        "task_erased",
        "tests",
        task["id"],
    )
    assert before["action"] == "key_created"


# -- binding what is not the task's


def _of_another(upstream: Upstream) -> None:
    url = f"https://gateway.test/callbacks/kie/{uuid4()}/token"
    param = json.dumps({"callBackUrl": url})
    upstream.records[FOUND] = succeeded(FOUND, param=param)


def _of_another_id(upstream: Upstream) -> None:
    upstream.records[FOUND] = succeeded("e" * 32)


def _unknown(upstream: Upstream) -> None:
    upstream.records[FOUND] = {"code": 422, "msg": "recordInfo is null", "data": None}


def _away(upstream: Upstream) -> None:
    upstream.records[FOUND] = {"code": 500, "msg": "try later", "data": None}


NOT_ITS_OWN: dict[str, tuple[Callable[[Upstream], None], Refusal]] = {
    "another task's": (
        _of_another,
        Refusal(status=422, code="invalid_request", says="something else than this task"),
    ),
    "a record of another id": (
        _of_another_id,
        Refusal(status=422, code="invalid_request", says="something else than this task"),
    ),
    "nobody's": (
        _unknown,
        Refusal(status=422, code="invalid_request", says="knows no task with this id"),
    ),
    "unknown whose": (
        _away,
        Refusal(status=502, code="kie_not_answering", says="Nothing was bound"),
    ),
}


@pytest.mark.parametrize("whose", NOT_ITS_OWN)
async def test_an_id_that_is_not_the_tasks_is_not_bound(
    admin: Admin, sql: Sql, upstream: Upstream, whose: str
) -> None:
    """An id is never replaced, and its result would go to the wrong client."""
    task_id = await lost(admin, sql, upstream)
    tell, refusal = NOT_ITS_OWN[whose]
    tell(upstream)
    check_refusal(
        await admin.asks("POST", f"/tasks/{task_id}/bind", {"kie_task_id": FOUND}), refusal
    )
    assert await sql.fetchval("SELECT count(kie_task_id) FROM tasks") == 0
    assert "task_bound" not in {one["action"] for one in await admin.list("/audit")}


async def test_an_id_of_another_task_here_is_not_bound(
    admin: Admin, sql: Sql, upstream: Upstream
) -> None:
    other = await admin.gateway.create()
    task_id = await lost(admin, sql, upstream)
    answer = await admin.asks(
        "POST", f"/tasks/{task_id}/bind", {"kie_task_id": other["kie_task_id"]}
    )
    check_refusal(answer, Refusal(status=422, code="invalid_request", says="another task"))
    assert upstream.queries == []


async def test_an_id_is_never_replaced(admin: Admin, sql: Sql, upstream: Upstream) -> None:
    task_id = await lost(admin, sql, upstream)
    for found, status in ((FOUND, 200), (FOUND, 200), ("e" * 32, 409)):
        answer = await admin.asks("POST", f"/tasks/{task_id}/bind", {"kie_task_id": found})
        assert answer.status_code == status, answer.text
    assert await sql.fetchval("SELECT kie_task_id FROM tasks") == FOUND


@pytest.mark.parametrize("record", [running, succeeded, failed])
async def test_only_a_lost_task_is_bound(
    admin: Admin, upstream: Upstream, record: Callable[[str], Mapping[str, Any]]
) -> None:
    task = await admin.gateway.create()
    await admin.gateway.call_back(upstream.callback_path, record(task["kie_task_id"]))
    answer = await admin.asks(
        "POST", f"/tasks/{task['id']}/bind", {"kie_task_id": task["kie_task_id"]}
    )
    check_refusal(answer, Refusal(status=409, code="not_stuck", says="only an unconfirmed"))


# -- the balance


async def test_the_balance_is_asked_for_now(admin: Admin) -> None:
    assert await admin.get("/balance") == {"balance": BALANCE}


@pytest.mark.parametrize(
    ("url", "says"),
    [("http://127.0.0.1:9", "There is no answer: "), (None, "refuses the gateway's key")],
)
async def test_where_kie_does_not_say_the_answer_does(
    start_gateway: StartGateway, upstream: Upstream, url: str | None, says: str
) -> None:
    upstream.answers_credit(lambda: refused(401, "You do not have access permissions"))
    gateway = await start_gateway(admin_key=SecretStr(ADMIN_KEY), kie_base_url=url or upstream.url)
    async with operator(gateway.http.base_url) as http:
        answer = await http.get("/v1/admin/balance")
    check_refusal(answer, Refusal(status=502, code="kie_not_answering", says=says))


# -- who is no operator

PATHS: tuple[Operation, ...] = (
    ("GET", "/admission"),
    ("POST", "/admission/pause"),
    ("POST", "/admission/resume"),
    ("POST", "/admission/expect-move"),
    ("GET", "/review"),
    ("GET", "/stuck"),
    ("GET", "/audit"),
    ("POST", f"/tasks/{NOBODY}/bind"),
    ("POST", f"/tasks/{NOBODY}/requeue"),
    ("POST", f"/tasks/{NOBODY}/release"),
    ("DELETE", f"/tasks/{NOBODY}"),
    ("GET", "/tasks"),
    ("POST", "/tasks/cancel"),
    ("POST", "/tasks/requeue"),
    ("POST", "/tasks/fail"),
    ("GET", "/clients"),
    ("PATCH", "/clients/tests"),
    ("POST", "/clients/tests/rotate-secret"),
    ("GET", "/keys"),
    ("POST", "/keys"),
    ("DELETE", f"/keys/{NOBODY}"),
    ("GET", "/balance"),
    ("GET", f"/deliveries/{NOBODY}"),
    ("GET", "/admin-keys"),
    ("POST", "/admin-keys"),
    ("DELETE", "/admin-keys/ann"),
    ("GET", "/usage"),
    ("GET", "/models"),
    ("GET", "/reconciliation"),
    ("GET", "/budgets"),
    ("GET", "/clients/tests/budgets"),
    ("GET", "/clients/tests/budgets/day"),
    ("PUT", "/clients/tests/budgets/day"),
    ("DELETE", "/clients/tests/budgets/day"),
)

WRONG: dict[str, Callable[[str], list[tuple[str, str]]]] = {
    "none": lambda _: [],
    "empty": lambda _: [("Authorization", "Bearer")],
    "wrong": lambda _: [("Authorization", "Bearer wrong")],
    "a client's": lambda key: [("Authorization", f"Bearer {key}")],
    "cut short": lambda _: [("Authorization", f"Bearer {ADMIN_KEY[:-1]}")],
    "longer": lambda _: [("Authorization", f"Bearer {ADMIN_KEY}x")],
    "not ASCII": lambda _: [("Authorization", "Bearer schl\u00fcssel")],
    "Basic": lambda _: [("Authorization", f"Basic {ADMIN_KEY}")],
    "twice": lambda _: [("Authorization", f"Bearer {ADMIN_KEY}")] * 2,
}
NO_GUESS = {"none", "empty", "Basic", "twice"}
"""What names no key makes nobody wait."""


@pytest.mark.parametrize("name", WRONG)
async def test_without_the_key_nothing_is_done_or_said(
    guessed: Admin, upstream: Upstream, sql: Sql, name: str
) -> None:
    """401 comes before anything about the body, the path or the parameters; then the wait."""
    fields = [(n.encode(), v.encode("latin-1")) for n, v in WRONG[name](guessed.gateway.api_key)]
    entries = await sql.fetchval("SELECT count(*) FROM audit_entries")
    seen: list[str] = []
    async with operator(guessed.gateway.http.base_url, "") as http:
        for method, path in (*PATHS, ("GET", "/audit?x=1"), ("DELETE", "/keys/x")):
            answer = await http.request(method, f"/v1/admin{path}", headers=fields, content=b"{")
            content = problem(answer)
            seen.append(content["code"])
            assert content["code"] == "rate_limited" or "GATEWAY_ADMIN_KEY" in content["detail"]
    guesses = 0 if name in NO_GUESS else TRIES
    assert seen == ["unauthenticated"] * (guesses or len(seen)) + ["rate_limited"] * (
        len(seen) - guesses if guesses else 0
    )
    assert await sql.fetchval("SELECT count(*) FROM audit_entries") == entries
    assert upstream.queries == []


async def test_the_operators_key_is_no_clients(admin: Admin) -> None:
    check_refusal(await admin.http.get("/v1/tasks"), UNAUTHENTICATED)


async def test_without_the_setting_there_is_nothing_there(gateway: Gateway) -> None:
    """The same answer as at any path that does not exist, whatever key and method."""
    nowhere = problem(await gateway.http.get("/v1/nowhere"))
    async with operator(gateway.http.base_url) as http:
        for method, path in (*PATHS, ("PUT", "/admission"), ("GET", "/nothing"), ("GET", "")):
            content = check_refusal(await http.request(method, f"/v1/admin{path}"), NOT_FOUND)
            assert {**content, "request_id": None} == {**nowhere, "request_id": None}
        spec = (await http.get("/openapi.json")).text
        metrics = (await http.get("/metrics")).text
    assert "/v1/admin" not in spec + metrics
    assert "AdminKey" not in spec


# -- wrong input

UNKNOWN = Refusal(status=422, code="invalid_request", says="unknown field", pointer="/x")
MALFORMED = Refusal(status=400, code="malformed_body", pointer="")
NO_OBJECT = Refusal(status=422, code="invalid_request", pointer="", says="object")
NO_UUID = bad_parameter("task_id: Input should be a valid UUID")
BODIES: Mapping[Operation, Mapping[str, Any]] = {
    ("POST", "/admission/pause"): {},
    ("POST", "/admission/resume"): {},
    ("POST", "/admission/expect-move"): {"hours": 4},
    ("POST", f"/tasks/{NOBODY}/bind"): {"kie_task_id": FOUND},
    ("POST", f"/tasks/{NOBODY}/requeue"): {"may_pay_again": True},
    ("PATCH", "/clients/tests"): {"weight": 3},
    ("POST", "/clients/tests/rotate-secret"): {"grace": 60},
    ("PUT", "/clients/tests/budgets/day"): {"credits": 5},
    ("POST", "/keys"): {"client": "shop"},
    ("POST", "/admin-keys"): {"name": "dana", "role": "read"},
    ("POST", "/tasks/cancel"): {"client": "tests"},
    ("POST", "/tasks/requeue"): {"client": "tests", "may_pay_again": True},
    ("POST", "/tasks/fail"): {"client": "tests", "reason": "called off"},
}


@pytest.mark.parametrize("operation", BODIES, ids=" ".join)
async def test_a_body_means_what_it_says(admin: Admin, sql: Sql, operation: Operation) -> None:
    method, path = operation
    entries = await sql.fetchval("SELECT count(*) FROM audit_entries")
    check_refusal(await admin.asks(method, path, {**BODIES[operation], "x": 1}), UNKNOWN)
    for malformed in (b"", b"{", b'{"client": "\\u0000"}', b"\xff"):
        answer = await admin.asks(method, path, malformed)
        assert problem(answer)["code"] == "malformed_body", answer.text
    check_refusal(await admin.asks(method, path, []), NO_OBJECT)
    large = b" " * (1_048_576 + 1)
    assert problem(await admin.asks(method, path, large))["code"] == "body_too_large"
    assert await sql.fetchval("SELECT count(*) FROM audit_entries") == entries


FLAWED: list[tuple[Operation, object, str]] = [
    (("POST", "/admission/pause"), {"client": ""}, "/client"),
    (("POST", "/admission/pause"), {"client": 7}, "/client"),
    (("POST", "/admission/pause"), {"note": "n" * 501}, "/note"),
    (("POST", "/admission/resume"), {"client": "c" * 65}, "/client"),
    (("POST", "/admission/resume"), {"restored": "yes"}, "/restored"),
    (("POST", "/admission/expect-move"), {"hours": 25}, "/hours"),
    (("POST", f"/tasks/{NOBODY}/bind"), {}, "/kie_task_id"),
    (("POST", f"/tasks/{NOBODY}/bind"), {"kie_task_id": "k" * 201}, "/kie_task_id"),
    (("POST", f"/tasks/{NOBODY}/requeue"), {"may_pay_again": "true"}, "/may_pay_again"),
    (("POST", f"/tasks/{NOBODY}/requeue"), {"may_pay_again": 1}, "/may_pay_again"),
    (("PATCH", "/clients/tests"), {}, ""),
    (("PATCH", "/clients/tests"), {"weight": None}, "/weight"),
    (("PATCH", "/clients/tests"), {"weight": 0}, "/weight"),
    (("PATCH", "/clients/tests"), {"weight": 101}, "/weight"),
    (("PATCH", "/clients/tests"), {"weight": 1.5}, "/weight"),
    (("PATCH", "/clients/tests"), {"weight": True}, "/weight"),
    (("PUT", "/clients/tests/budgets/day"), {}, "/credits"),
    (("PUT", "/clients/tests/budgets/day"), {"credits": "5"}, "/credits"),
    (("PUT", "/clients/tests/budgets/day"), {"credits": True}, "/credits"),
    (("PUT", "/clients/tests/budgets/day"), {"credits": -1}, "/credits"),
    (("PUT", "/clients/tests/budgets/day"), {"credits": 0.1234567}, "/credits"),
    (("PUT", "/clients/tests/budgets/day"), {"credits": 5, "mode": "soft"}, "/mode"),
    (("PUT", "/clients/tests/budgets/day"), {"credits": 5, "thresholds": [0]}, "/thresholds/0"),
    (("POST", "/keys"), {}, "/client"),
    (("POST", "/keys"), {"client": None}, "/client"),
]


@each(("operation", "body", "pointer"), FLAWED)
async def test_a_flaw_is_named(
    admin: Admin, operation: Operation, body: object, pointer: str
) -> None:
    answer = await admin.asks(*operation, body)
    check_refusal(answer, Refusal(status=422, code="invalid_request", pointer=pointer))


REFUSED: list[tuple[Operation, object, Refusal]] = [
    (
        ("POST", "/admission/pause"),
        {"note": "two\nlines"},
        Refusal(status=422, code="invalid_request", says="one line"),
    ),
    (
        ("POST", "/admission/pause"),
        {"note": "\u00e4" * 251},
        Refusal(status=422, code="invalid_request", says="500 bytes"),
    ),
    (
        ("POST", "/keys"),
        {"client": "two words"},
        Refusal(status=422, code="invalid_request", says="letters, digits"),
    ),
    (
        ("POST", f"/tasks/{NOBODY}/bind"),
        {"kie_task_id": "an id"},
        Refusal(status=422, code="invalid_request", says="printable ASCII"),
    ),
    (("POST", f"/tasks/{NOBODY}/bind"), {"kie_task_id": FOUND}, NOT_FOUND),
    (("POST", f"/tasks/{NOBODY}/requeue"), {"may_pay_again": True}, NOT_FOUND),
    (("POST", f"/tasks/{NOBODY}/release"), None, NOT_FOUND),
    (("DELETE", f"/tasks/{NOBODY}"), None, NOT_FOUND),
    (("DELETE", f"/keys/{NOBODY}"), None, NOT_FOUND),
    (("POST", "/admission/pause"), {"client": "nobody"}, NOT_FOUND),
    (("POST", "/admission/resume"), {"client": "nobody"}, NOT_FOUND),
    (("POST", "/admission/pause"), {"client": "\u202e; DROP"}, NOT_FOUND),
    (("PATCH", "/clients/nobody"), {"weight": 3}, NOT_FOUND),
    (("PATCH", "/clients/%00"), {"weight": 3}, NOT_FOUND),
    (("PATCH", "/clients/%ff%fe"), {"weight": 3}, NOT_FOUND),
    (("PATCH", "/clients/" + "c" * 5000), {"weight": 3}, NOT_FOUND),
    (("POST", "/tasks/no-uuid/bind"), {"kie_task_id": FOUND}, NO_UUID),
    (("POST", "/tasks/no-uuid/requeue"), {"may_pay_again": True}, NO_UUID),
    (("POST", "/tasks/%00/release"), None, NO_UUID),
    (("DELETE", "/keys/kgw_abcdef"), None, bad_parameter("key_id: Input should be a valid UUID")),
]


@each(("operation", "body", "refusal"), REFUSED)
async def test_what_cannot_be_done_is_refused(
    admin: Admin, operation: Operation, body: object, refusal: Refusal
) -> None:
    check_refusal(await admin.asks(*operation, body), refusal)
    assert [one["action"] for one in await admin.list("/audit")] == ["key_created"]


@each("operation", PATHS)
async def test_no_parameter_is_passed_over(admin: Admin, operation: Operation) -> None:
    method, path = operation
    answer = await admin.asks(method, f"{path}?whose=tests", BODIES.get(operation))
    says = bad_parameter("whose: unknown parameter")
    check_refusal(answer, says)


@pytest.mark.parametrize("path", ["/admission", "/keys", "/clients/tests", "/stuck"])
async def test_another_method_is_refused_with_the_right_ones(admin: Admin, path: str) -> None:
    answer = await admin.asks("PUT", path, {})
    assert problem(answer)["code"] == "method_not_allowed"
    assert answer.headers["allow"]


# -- what nobody is shown

HOOK = "https://h.test/hooks/of-one-client"
PROMPT = "a prompt of one client's own"


async def test_operators_see_names_and_no_secrets(
    admin: Admin, sql: Sql, upstream: Upstream
) -> None:
    task_id = await lost(admin, sql, upstream)
    budget = {"credits": 9, "mode": "warn"}
    assert (await admin.asks("PUT", "/clients/tests/budgets/day", budget)).is_success
    await admin.gateway.create(input={"prompt": PROMPT}, webhook_url=HOOK, metadata={"m": PROMPT})
    await sql.execute("UPDATE tasks SET parked_at = now()")
    token = upstream.creates[-1]["callBackUrl"].rpartition("/")[2]
    secret = await sql.fetchval("SELECT signing_secret FROM clients")
    paths = [
        path
        for method, path in PATHS
        if method == "GET" and path != "/balance" and NOBODY not in path
    ]
    told = [await admin.http.get(f"/v1/admin{path}") for path in paths]
    told.append(await admin.asks("POST", f"/tasks/{task_id}/release"))
    told.append(await admin.asks("POST", "/admission/pause", {"client": "tests"}))
    said = "\n".join(f"{answer.headers}\n{answer.text}" for answer in told)
    assert {answer.status_code for answer in told} == {200}
    hidden = (HOOK, PROMPT, token, admin.gateway.api_key, ADMIN_KEY, SECRET, secret.decode())
    assert [one for one in (*hidden, str(BALANCE), "whsec_") if one in said] == []
    assert "tests" in said
    assert task_id in said
    assert not re.search(r"kgw_[\w-]{12}", said)


async def test_the_key_is_in_no_line_of_the_settings(admin: Admin) -> None:
    assert ADMIN_KEY not in repr(admin.gateway.settings)


# -- the document


def test_the_document_tells_of_every_path(admin_spec: dict[str, Any]) -> None:
    described = {
        name: operation
        for name, operation in operations(admin_spec).items()
        if name[1].startswith("/v1/admin")
    }
    assert len(described) == len(PATHS)
    for name, operation in described.items():
        assert operation["tags"] == ["admin"], name
        assert operation["security"] == [{"AdminKey": []}], name
        assert "401" in operation["responses"], name
        good = next(status for status in operation["responses"] if status[0] == "2")
        if good != "204":
            content = operation["responses"][good]["content"]["application/json"]
            assert content["schema"]["$ref"], name
        if name[0] in {"POST", "PATCH"} and not name[1].endswith("/release"):
            ref = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            assert admin_spec["components"]["schemas"][ref.rpartition("/")[2]]["examples"], name


def test_every_schema_of_the_document_is_used(admin_spec: dict[str, Any]) -> None:
    text = json.dumps(admin_spec)
    unused = [
        name
        for name in admin_spec["components"]["schemas"]
        if f'"#/components/schemas/{name}"' not in text
    ]
    assert unused == []


SHOWN: Mapping[str, str] = {
    "/admission": "AdmissionState",
    "/stuck": "AdminTask",
    "/audit": "AuditEntry",
    "/clients": "AdminClient",
    "/keys": "AdminKey",
    "/admin-keys": "OperatorKey",
}


@pytest.mark.parametrize("path", SHOWN)
async def test_answers_have_the_members_of_their_schema(
    admin: Admin, sql: Sql, upstream: Upstream, admin_spec: dict[str, Any], path: str
) -> None:
    await lost(admin, sql, upstream)
    await admin.post("/admin-keys", {"name": "ann", "role": "read"}, 201)
    found = await admin.get(path)
    one = found["data"][0] if "data" in found else found
    assert set(one) == set(admin_spec["components"]["schemas"][SHOWN[path]]["properties"])


SPELLED: tuple[Operation, ...] = (
    ("GET", "/admission"),
    ("POST", "/admission/pause"),
    ("POST", "/admission/resume"),
    ("POST", "/admission/expect-move"),
    ("GET", "/review"),
    ("GET", "/stuck"),
    ("GET", "/audit"),
    ("POST", "/tasks/{task_id}/bind"),
    ("POST", "/tasks/{task_id}/requeue"),
    ("POST", "/tasks/{task_id}/release"),
    ("DELETE", "/tasks/{task_id}"),
    ("GET", "/tasks"),
    ("POST", "/tasks/cancel"),
    ("POST", "/tasks/requeue"),
    ("POST", "/tasks/fail"),
    ("GET", "/clients"),
    ("PATCH", "/clients/{name}"),
    ("POST", "/clients/{name}/rotate-secret"),
    ("GET", "/keys"),
    ("POST", "/keys"),
    ("DELETE", "/keys/{key_id}"),
    ("GET", "/balance"),
    ("GET", "/deliveries/{delivery_id}"),
    ("GET", "/admin-keys"),
    ("POST", "/admin-keys"),
    ("DELETE", "/admin-keys/{name}"),
    ("GET", "/usage"),
    ("GET", "/models"),
    ("GET", "/reconciliation"),
    ("GET", "/budgets"),
    ("GET", "/clients/{name}/budgets"),
    ("GET", "/clients/{name}/budgets/{period}"),
    ("PUT", "/clients/{name}/budgets/{period}"),
    ("DELETE", "/clients/{name}/budgets/{period}"),
)


def test_every_operation_is_tried(admin_spec: dict[str, Any]) -> None:
    described = {name for name in operations(admin_spec) if name[1].startswith("/v1/admin")}
    assert described == {(method, f"/v1/admin{path}") for method, path in SPELLED}


TRIED = [
    (operation, mode)
    for operation in SPELLED
    for mode in GenerationMode
    # Nothing can be wrong with a request that says nothing, or any name.
    if mode is GenerationMode.POSITIVE
    or (operation[0] != "GET" and operation != ("DELETE", "/admin-keys/{name}"))
    or "{period}" in operation[1]
]


@pytest.mark.parametrize(
    ("operation", "mode"), TRIED, ids=[f"{' '.join(op)} {mode.value}" for op, mode in TRIED]
)
async def test_an_operation_keeps_to_the_document(
    admin: Admin,
    sql: Sql,
    upstream: Upstream,
    admin_spec: dict[str, Any],
    operation: Operation,
    mode: GenerationMode,
) -> None:
    """Whatever the document allows, and forbids, is sent."""
    task_id = await lost(admin, sql, upstream)
    method, path = operation[0], f"/v1/admin{operation[1]}"
    real = {"task_id": task_id, "name": "tests", "key_id": NOBODY, "period": "day"}
    at: list[Mapping[str, str] | None] = [None]
    if mode is GenerationMode.POSITIVE:
        at += [{name: real[name]} for name in real if f"{{{name}}}" in path]
    by_operator = Gateway(admin.http, admin.gateway.settings, ADMIN_KEY)
    await asyncio.to_thread(sent(by_operator, admin_spec, (method, path), at, mode))


# -- the rest


@pytest.mark.parametrize("key", ["short", "fifteen-letters"])
def test_a_weak_key_is_refused_at_start(key: str) -> None:
    with pytest.raises(ValueError, match="at least 16 characters") as refusal:
        Settings(admin_key=SecretStr(key))
    assert key not in str(refusal.value)


@pytest.mark.long
async def test_without_the_database_it_says_so(
    start_gateway: StartGateway, scratch: Scratch
) -> None:
    gateway = await start_gateway(
        admin_key=SecretStr(ADMIN_KEY), database_url=SecretStr(scratch.dsn)
    )
    await scratch.goes_away()
    async with operator(gateway.http.base_url) as http:
        answers = await asyncio.gather(
            *(
                http.request(method, f"/v1/admin{path}", json=BODIES.get((method, path)))
                for method, path in PATHS
            )
        )
    codes = {asked: problem(answer)["code"] for asked, answer in zip(PATHS, answers, strict=True)}
    assert codes == dict.fromkeys(PATHS, "database_unavailable")
