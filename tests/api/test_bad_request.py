"""Whatever is wrong with a request beside its body and its keys: paths, parameters, headers."""

import gzip
import json
import re

import pytest

from tests.api.conftest import IssueKey
from tests.api.stage import (
    NOBODY,
    NOT_FOUND,
    Refusal,
    Sql,
    bad_parameter,
    check_nothing_happened,
    check_refusal,
    with_fields,
)
from tests.each import each
from tests.gateway import BODY, Gateway
from tests.upstream import Upstream, succeeded

# -- paths, methods and parameters

UUID_PATHS = (
    "GET /v1/tasks/{}",
    "GET /v1/tasks/{}?wait=1",
    "GET /v1/tasks/{}/callbacks",
    "GET /v1/tasks/{}/events",
    "POST /v1/tasks/{}/cancel",
    "POST /v1/tasks/{}/refresh",
)
BAD_UUIDS = ("x", "0", NOBODY[:-1], NOBODY + "0", "%00", "%ED%A0%80", "..%2Fwait", "é")


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """One for all of these tests: they leave nothing in it but rows."""
    return shared_gateway


@each("given", BAD_UUIDS)
@each("path", UUID_PATHS)
async def test_a_bad_id_is_said_to_be_one(gateway: Gateway, path: str, given: str) -> None:
    method, url = path.format(given).split(" ", 1)
    answer = await gateway.http.request(method, url)
    if "%2F" in given:  # a slash, however it is written, makes it another path
        check_refusal(answer, NOT_FOUND)
    else:
        check_refusal(answer, bad_parameter("task_id: Input should be a valid UUID"))


WAITS = {
    "text": "wait: Input should be a valid number",
    "": "wait: Input should be a valid number",
    "5s": "wait: Input should be a valid number",
    "-1": "wait: Input should be greater than or equal to 0",
    "55.1": "wait: Input should be less than or equal to 55",
    "56": "wait: Input should be less than or equal to 55",
    "1e400": "wait: Input should be",
    "nan": "wait: Input should be",
    "inf": "wait: Input should be",
    "-inf": "wait: Input should be",
}


@each("wait", WAITS)
async def test_a_bad_wait_creates_nothing(
    gateway: Gateway, sql: Sql, upstream: Upstream, wait: str
) -> None:
    check_refusal(await gateway.post(wait=wait), bad_parameter(WAITS[wait]))
    answer = await gateway.http.get(f"/v1/tasks/{NOBODY}", params={"wait": wait})
    check_refusal(answer, bad_parameter(WAITS[wait]))
    await check_nothing_happened(sql, upstream)


@pytest.mark.parametrize("path", UUID_PATHS)
async def test_what_belongs_to_another_client_does_not_exist(
    gateway: Gateway, upstream: Upstream, new_key: IssueKey, path: str
) -> None:
    task = await gateway.create()
    await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    before = await gateway.task(task["id"])
    fields = [("Authorization", f"Bearer {await new_key('other')}")]
    said = []
    for given in (task["id"], NOBODY):
        method, url = path.format(given).split(" ", 1)
        content = check_refusal(await with_fields(gateway, fields, method, url), NOT_FOUND)
        said.append({**content, "request_id": None})
    assert said[0] == said[1]
    assert await gateway.task(task["id"]) == before


MISSPELT = {
    "GET /v1/tasks?stat=queued": "stat: unknown parameter; did you mean state?",
    "GET /v1/tasks?State=queued": "State: unknown parameter; did you mean state?",
    "GET /v1/tasks?metadata=a": "metadata: unknown parameter; known are: created_after, ",
    "GET /v1/tasks?limit=1&page=2": "page: unknown parameter; known are: created_after, ",
    "GET /v1/tasks?creatd_after=x": "creatd_after: unknown parameter; did you mean created_after?",
    "POST /v1/tasks?wiat=1": "wiat: unknown parameter; did you mean wait?",
    "POST /v1/tasks?metadata.a=b": "metadata.a: unknown parameter; known are: wait",
    "POST /v1/tasks/wait?timeout=1": "timeout: unknown parameter; this path has none",
    f"GET /v1/tasks/{NOBODY}?wating=1": "wating: unknown parameter; did you mean wait?",
    f"GET /v1/tasks/{NOBODY}/callbacks?limit=1": "limit: unknown parameter; known are: cursor",
    f"POST /v1/tasks/{NOBODY}/cancel?force=1": "force: unknown parameter; this path has none",
    f"POST /v1/tasks/{NOBODY}/refresh?wait=1": "wait: unknown parameter; this path has none",
    f"GET /v1/tasks/{NOBODY}/events?afetr=1-1": "afetr: unknown parameter; did you mean after?",
    "GET /v1/events?metadata.a=b": "metadata.a: unknown parameter; known are: after, limit",
    f"GET /v1/events?{'x' * 500}=1": f"{'x' * 80}: unknown parameter; known are: after, limit",
}


@each("request_line", MISSPELT)
async def test_an_unknown_parameter_is_refused_with_the_nearest_right_one(
    gateway: Gateway, sql: Sql, upstream: Upstream, request_line: str
) -> None:
    method, url = request_line.split(" ", 1)
    answer = await gateway.http.request(method, url, content=json.dumps(BODY))
    check_refusal(answer, bad_parameter(MISSPELT[request_line]))
    await check_nothing_happened(sql, upstream)


async def test_two_keys_are_none(gateway: Gateway, sql: Sql, upstream: Upstream) -> None:
    """Which of them counts would be a guess about money; a repeated field is one key."""
    content = json.dumps(BODY)
    keys = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = await gateway.http.post("/v1/tasks", content=content, headers=keys)
    check_refusal(answer, Refusal(status=400, code="invalid_idempotency_key", says="several"))
    await check_nothing_happened(sql, upstream)
    answer = await gateway.http.post("/v1/tasks", content=content, headers=keys[:1] * 2)
    assert answer.status_code == 201


async def test_a_compressed_body_is_said_to_be_one(gateway: Gateway) -> None:
    headers = {"Content-Encoding": "gzip"}
    content = gzip.compress(json.dumps(BODY).encode())
    answer = await gateway.http.post("/v1/tasks", content=content, headers=headers)
    unusable = Refusal(status=400, code="malformed_body", pointer="", says="not UTF-8")
    assert "send it as it is" in check_refusal(answer, unusable)["detail"]


async def test_a_key_of_one_client_is_free_for_another(
    gateway: Gateway, upstream: Upstream, new_key: IssueKey
) -> None:
    mine = await gateway.post(key="order-1")
    other = await gateway.http.post(
        "/v1/tasks",
        json={**BODY, "model": "other"},
        headers={
            "Idempotency-Key": "order-1",
            "Authorization": f"Bearer {await new_key('other')}",
        },
    )
    assert (mine.status_code, other.status_code) == (201, 201)
    assert len(upstream.creates) == 2


NOWHERE = (
    "/",
    "/v1",
    "/v1/tasks/",
    f"/v1/tasks/{NOBODY}/",
    f"/v1/tasks/{NOBODY}/nothing",
    "/V1/tasks",
    "//v1/tasks",
    "/callbacks/kie",
    f"/callbacks/kie/{NOBODY}",
)


@each("path", NOWHERE)
async def test_an_unknown_path_is_not_found(gateway: Gateway, path: str) -> None:
    url = f"{str(gateway.http.base_url).rstrip('/')}{path}"
    for method in ("GET", "POST"):
        answer = await gateway.http.request(method, url, content=b"{")
        check_refusal(answer, Refusal(status=404, code="not_found", says="/docs"))


@each(
    ("method", "path", "allowed"),
    [
        ("PUT", f"/v1/tasks/{NOBODY}", {"GET", "DELETE"}),
        ("DELETE", "/v1/tasks", {"GET", "POST"}),
        ("PUT", "/v1/tasks/wait", {"POST"}),
        ("GET", f"/v1/tasks/{NOBODY}/cancel", {"POST"}),
        ("GET", f"/v1/tasks/{NOBODY}/refresh", {"POST"}),
        ("POST", f"/v1/tasks/{NOBODY}/events", {"GET"}),
        ("POST", "/v1/events", {"GET"}),
        ("POST", f"/v1/tasks/{NOBODY}", {"GET", "DELETE"}),
        ("PUT", f"/v1/tasks/{NOBODY}/callbacks", {"GET"}),
        ("PATCH", "/v1/tasks", {"GET", "POST"}),
        ("GET", f"/callbacks/kie/{NOBODY}/token", {"POST"}),
        ("POST", "/livez", {"GET"}),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(
    gateway: Gateway, method: str, path: str, allowed: set[str]
) -> None:
    """RFC 9110 section 15.5.6: `Allow` must be there."""
    answer = await gateway.http.request(method, path)
    check_refusal(answer, Refusal(status=405, code="method_not_allowed", says="`Allow` lists"))
    assert allowed <= set(re.split(r",\s*", answer.headers.get("allow", "")))


@pytest.mark.parametrize(
    "path",
    [
        f"/callbacks/kie/{NOBODY}/wrong",
        f"/callbacks/kie/{NOBODY}/%00",
        "/callbacks/kie/no-uuid/wrong",
        "/callbacks/kie/%ED%A0%80/%ED%A0%80",
    ],
)
async def test_a_wrong_callback_address_keeps_nothing(
    gateway: Gateway, sql: Sql, path: str
) -> None:
    answer = await gateway.http.post(path, content=b"{}")
    check_refusal(answer, Refusal(status=404, code="not_found", says="No such callback address."))
    assert await sql.fetchval("SELECT count(*) FROM callbacks") == 0


# -- X-Request-ID

PATHS = ("/v1/tasks/no-uuid", "/livez", "/nowhere")
OURS = re.compile("[0-9a-f]{32}")


@each("given", ["a", "A-b_c.9", "r" * 128])
@each("path", PATHS)
async def test_a_callers_request_id_is_kept(gateway: Gateway, path: str, given: str) -> None:
    answer = await gateway.http.get(path, headers={"X-Request-ID": given})
    assert answer.headers["x-request-id"] == given


HOSTILE = {
    "empty": b"",
    "spaces": b"a b",
    "200 characters": b"r" * 200,
    "129 characters": b"r" * 129,
    "UTF-8": "é".encode(),
    "Latin-1": b"\xe9",
    "quotes": b'"}',
    "markup": b"<script>",
    "encoded line break": b"a%0d%0aX:y",
}


@each("name", HOSTILE)
@each("path", PATHS)
async def test_a_hostile_request_id_is_replaced(gateway: Gateway, path: str, name: str) -> None:
    answer = await gateway.http.get(path, headers=[(b"X-Request-ID", HOSTILE[name])])
    made = answer.headers["x-request-id"]
    assert OURS.fullmatch(made)
    assert answer.json().get("request_id", made) == made
