"""Whatever is wrong with a request beside its body: keys, headers, paths and parameters."""

import re
from collections.abc import Callable

import httpx
import pytest

from tests.api.conftest import IssueKey
from tests.api.stage import (
    NOT_FOUND,
    UNAUTHENTICATED,
    Refusal,
    Sql,
    check_nothing_happened,
    check_refusal,
    dialled,
    document,
    head_of,
)
from tests.gateway import BODY, Gateway
from tests.upstream import Upstream, succeeded

NOBODY = "019a0000-0000-7000-8000-000000000000"
UNKNOWN_KEY = "kgw_" + "A" * 43


def bad_parameter(says: str) -> Refusal:
    return Refusal(status=422, code="invalid_request", says=says)


# -- the API key

SCHEMES: dict[str, Callable[[str], list[tuple[str, str]]]] = {
    "none": lambda _: [],
    "empty": lambda _: [("Authorization", "")],
    "scheme alone": lambda _: [("Authorization", "Bearer")],
    "key alone": lambda key: [("Authorization", key)],
    "Basic": lambda key: [("Authorization", f"Basic {key}")],
    "Token": lambda key: [("Authorization", f"Token {key}")],
    "in X-API-Key": lambda key: [("X-API-Key", key)],
    "cut short": lambda key: [("Authorization", f"Bearer {key[:-1]}")],
    "too long": lambda key: [("Authorization", f"Bearer {key}A")],
    "twice in one": lambda key: [("Authorization", f"Bearer {key}, Bearer {key}")],
    "lower case": lambda key: [("Authorization", f"Bearer {key.lower()}")],
    "without its prefix": lambda key: [("Authorization", f"Bearer {key[4:]}")],
    "one character off": lambda key: [("Authorization", f"Bearer {_one_off(key)}")],
    "unknown": lambda _: [("Authorization", f"Bearer {UNKNOWN_KEY}")],
    "known, then unknown": lambda key: [
        ("Authorization", f"Bearer {key}"),
        ("Authorization", f"Bearer {UNKNOWN_KEY}"),
    ],
    "unknown, then known": lambda key: [
        ("Authorization", f"Bearer {UNKNOWN_KEY}"),
        ("Authorization", f"Bearer {key}"),
    ],
}


def _one_off(key: str) -> str:
    return key[:4] + ("B" if key[4] == "A" else "A") + key[5:]


async def _with_fields(
    gateway: Gateway, fields: list[tuple[str, str]], method: str = "POST", path: str = "/v1/tasks"
) -> httpx.Response:
    async with httpx.AsyncClient(base_url=gateway.http.base_url, trust_env=False) as http:
        return await http.request(
            method, path, headers=fields, content=b"{" if method == "POST" else b""
        )


@pytest.mark.parametrize("name", SCHEMES)
async def test_without_a_valid_key_nothing_is_said_but_that(
    gateway: Gateway, sql: Sql, upstream: Upstream, name: str
) -> None:
    """401 comes before anything about the body, and is the same whatever is wrong."""
    fields = SCHEMES[name](gateway.api_key)
    said = []
    for method, path in (
        ("POST", "/v1/tasks"),
        ("POST", "/v1/tasks?wait=x"),
        ("GET", f"/v1/tasks/{NOBODY}"),
        ("GET", "/v1/tasks/no-uuid?wait=x"),
        ("GET", f"/v1/tasks/{NOBODY}/callbacks"),
    ):
        content = check_refusal(await _with_fields(gateway, fields, method, path), UNAUTHENTICATED)
        said.append({**content, "request_id": None})
    plain = document(await _with_fields(gateway, []))
    assert said == [{**plain, "request_id": None}] * len(said)
    await check_nothing_happened(sql, upstream)


async def test_a_revoked_key_is_as_good_as_none(
    gateway: Gateway, sql: Sql, new_key: IssueKey
) -> None:
    fields = [("Authorization", f"Bearer {await new_key('revoked')}")]
    path = f"/v1/tasks/{NOBODY}"
    check_refusal(await _with_fields(gateway, fields, "GET", path), NOT_FOUND)
    await sql.execute(
        "UPDATE api_keys SET revoked_at = now() FROM clients"
        " WHERE clients.id = client_id AND name = 'revoked'"
    )
    content = check_refusal(await _with_fields(gateway, fields, "GET", path), UNAUTHENTICATED)
    plain = document(await _with_fields(gateway, []))
    assert {**content, "request_id": None} == {**plain, "request_id": None}


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_has_no_case(gateway: Gateway, scheme: str) -> None:
    """RFC 9110 section 11.1."""
    fields = [("Authorization", f"{scheme} {gateway.api_key}")]
    check_refusal(await _with_fields(gateway, fields, "GET", f"/v1/tasks/{NOBODY}"), NOT_FOUND)


# -- the Idempotency-Key

BAD_KEY = Refusal(
    status=400, code="invalid_idempotency_key", says="1 to 255 printable ASCII characters"
)
BAD_KEYS = {
    "empty": b"",
    "blank": b"   ",
    "256 characters": b"k" * 256,
    "UTF-8": "schlüssel".encode(),
    "Latin-1": "schlüssel".encode("latin-1"),
    "tab": b"a\tb",
}


@pytest.mark.parametrize("name", BAD_KEYS)
async def test_a_bad_idempotency_key_is_refused(
    gateway: Gateway, sql: Sql, upstream: Upstream, name: str
) -> None:
    fields = (f"Authorization: Bearer {gateway.api_key}", "Content-Length: 25")
    key = b"Idempotency-Key: " + BAD_KEYS[name] + b"\r\n\r\n"
    async with dialled(gateway.http.base_url) as line:
        head = head_of("POST", "/v1/tasks", *fields).removesuffix(b"\r\n")
        line.writer.write(head + key + b'{"model": "m","input":{}}')
        check_refusal(await line.answer(), BAD_KEY)
    await check_nothing_happened(sql, upstream)


@pytest.mark.parametrize("byte", [b"\0", b"\x01", b"\n", b"\r", b"\x7f"])
async def test_control_characters_never_get_past_the_server(
    gateway: Gateway, sql: Sql, upstream: Upstream, byte: bytes
) -> None:
    """The HTTP parser refuses the whole request, before there is one to answer."""
    fields = (f"Authorization: Bearer {gateway.api_key}", "Content-Length: 25")
    async with dialled(gateway.http.base_url) as line:
        head = head_of("POST", "/v1/tasks", *fields).removesuffix(b"\r\n")
        line.writer.write(head + b"Idempotency-Key: a" + byte + b"b\r\n\r\n")
        line.writer.write(b'{"model": "m","input":{}}')
        assert (await line.reader.readline()).startswith(b"HTTP/1.1 400 ")
    await check_nothing_happened(sql, upstream)


@pytest.mark.parametrize("key", ["k", "k" * 255, "a key with spaces", "~!\"#$%&'()*+,-./:;<=>?@"])
async def test_any_printable_key_is_taken(gateway: Gateway, key: str) -> None:
    created, repeated = [await gateway.post(key=key) for _ in range(2)]
    assert (created.status_code, repeated.status_code) == (201, 200)
    assert created.json()["id"] == repeated.json()["id"]


OTHERS = {
    "model": {**BODY, "model": "other"},
    "input": {**BODY, "input": {"prompt": "a dog"}},
    "metadata": {**BODY, "metadata": {"a": "b"}},
    "priority": {**BODY, "priority": 6},
    "webhook_url": {**BODY, "webhook_url": "https://h.test/"},
    "submit_within": {**BODY, "submit_within": 60},
}


@pytest.mark.parametrize("name", OTHERS)
async def test_a_key_stands_for_one_body(
    gateway: Gateway, sql: Sql, upstream: Upstream, name: str
) -> None:
    first = await gateway.post(key="order-1")
    answer = await gateway.post(OTHERS[name], key="order-1")
    reused = Refusal(status=422, code="idempotency_key_reused", says="Use a new key")
    check_refusal(answer, reused)
    assert await sql.fetchval("SELECT array_agg(id::text) FROM tasks") == [first.json()["id"]]
    assert len(upstream.creates) == 1


async def test_the_same_body_may_be_spelled_otherwise(gateway: Gateway) -> None:
    spellings = (
        b'{"model":"m","input":{"a":1,"b":"\xc3\xa9"}}',
        b' {"input": {"b": "\\u00e9", "a": 1}, "model": "m", "priority": 5, "metadata": {}}',
    )
    created, repeated = [await gateway.post(body, key="order-1") for body in spellings]
    assert (created.status_code, repeated.status_code) == (201, 200)


# -- paths, methods and parameters

UUID_PATHS = ("/v1/tasks/{}", "/v1/tasks/{}/callbacks", "/v1/tasks/{}?wait=1")
BAD_UUIDS = ("x", "0", NOBODY[:-1], NOBODY + "0", "%00", "%ED%A0%80", "..%2Fwait", "é")


@pytest.mark.parametrize("given", BAD_UUIDS)
@pytest.mark.parametrize("path", UUID_PATHS)
async def test_a_bad_id_is_said_to_be_one(gateway: Gateway, path: str, given: str) -> None:
    answer = await gateway.http.get(path.format(given))
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


@pytest.mark.parametrize("wait", WAITS)
async def test_a_bad_wait_creates_nothing(
    gateway: Gateway, sql: Sql, upstream: Upstream, wait: str
) -> None:
    check_refusal(await gateway.post(wait=wait), bad_parameter(WAITS[wait]))
    answer = await gateway.http.get(f"/v1/tasks/{NOBODY}", params={"wait": wait})
    check_refusal(answer, bad_parameter(WAITS[wait]))
    await check_nothing_happened(sql, upstream)


@pytest.mark.parametrize("path", ["/v1/tasks/{}", "/v1/tasks/{}?wait=1", "/v1/tasks/{}/callbacks"])
async def test_what_belongs_to_another_client_does_not_exist(
    gateway: Gateway, upstream: Upstream, new_key: IssueKey, path: str
) -> None:
    task = await gateway.create()
    await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    fields = [("Authorization", f"Bearer {await new_key('other')}")]
    said = [
        {
            **check_refusal(
                await _with_fields(gateway, fields, "GET", path.format(given)), NOT_FOUND
            ),
            "request_id": None,
        }
        for given in (task["id"], NOBODY)
    ]
    assert said[0] == said[1]
    assert (await gateway.http.get(path.format(task["id"]))).status_code == 200


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


@pytest.mark.parametrize("path", NOWHERE)
async def test_an_unknown_path_is_not_found(gateway: Gateway, path: str) -> None:
    url = f"{str(gateway.http.base_url).rstrip('/')}{path}"
    for method in ("GET", "POST"):
        answer = await gateway.http.request(method, url, content=b"{")
        check_refusal(answer, Refusal(status=404, code="not_found", says="/docs"))


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", f"/v1/tasks/{NOBODY}", {"GET"}),
        ("POST", f"/v1/tasks/{NOBODY}", {"GET"}),
        ("PUT", f"/v1/tasks/{NOBODY}/callbacks", {"GET"}),
        ("PATCH", "/v1/tasks", {"POST"}),
        ("GET", f"/callbacks/kie/{NOBODY}/token", {"POST"}),
        ("POST", "/livez", {"GET"}),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(
    gateway: Gateway, method: str, path: str, allowed: set[str]
) -> None:
    """RFC 9110 section 15.5.6: `Allow` must be there."""
    answer = await gateway.http.request(method, path)
    check_refusal(answer, Refusal(status=405, code="method_not_allowed", says="/docs"))
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


async def test_a_callback_over_the_limit_is_refused(
    gateway: Gateway, upstream: Upstream, sql: Sql
) -> None:
    await gateway.create()
    answer = await gateway.call_back(upstream.callback_path, b" " * 1_048_577)
    check_refusal(answer, Refusal(status=413, code="body_too_large", says="1048576 bytes"))
    assert await sql.fetchval("SELECT count(*) FROM callbacks") == 0


# -- X-Request-ID

PATHS = ("/v1/tasks/no-uuid", "/livez", "/nowhere")
OURS = re.compile("[0-9a-f]{32}")


@pytest.mark.parametrize("given", ["a", "A-b_c.9", "r" * 128])
@pytest.mark.parametrize("path", PATHS)
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


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("path", PATHS)
async def test_a_hostile_request_id_is_replaced(gateway: Gateway, path: str, name: str) -> None:
    answer = await gateway.http.get(path, headers=[(b"X-Request-ID", HOSTILE[name])])
    made = answer.headers["x-request-id"]
    assert OURS.fullmatch(made)
    assert answer.json().get("request_id", made) == made
