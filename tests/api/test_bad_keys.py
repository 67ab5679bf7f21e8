"""Whatever is wrong with the keys of a request: the API key and the Idempotency-Key."""

import asyncio
from collections.abc import Callable

import pytest

from app.services.clients.known_keys import KEPT
from app.store.signals import CHANNEL, KEYS
from tests.api.conftest import IssueKey
from tests.api.stage import (
    NOBODY,
    NOT_FOUND,
    UNAUTHENTICATED,
    Refusal,
    Sql,
    check_nothing_happened,
    check_refusal,
    dialled,
    head_of,
    problem,
    with_fields,
)
from tests.each import each
from tests.gateway import BODY, Gateway
from tests.upstream import Upstream

UNKNOWN_KEY = "kgw_" + "A" * 43

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


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """One for all of these tests: they leave nothing in it but rows."""
    return shared_gateway


def _one_off(key: str) -> str:
    return key[:4] + ("B" if key[4] == "A" else "A") + key[5:]


@each("name", SCHEMES)
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
        ("GET", "/v1/tasks"),
        ("GET", "/v1/tasks?cursor=x&limit=0"),
        ("POST", "/v1/tasks/wait"),
        ("POST", f"/v1/tasks/{NOBODY}/cancel"),
        ("POST", f"/v1/tasks/{NOBODY}/refresh"),
        ("GET", f"/v1/tasks/{NOBODY}/events"),
        ("GET", "/v1/events?after=x"),
    ):
        content = check_refusal(await with_fields(gateway, fields, method, path), UNAUTHENTICATED)
        said.append({**content, "request_id": None})
    plain = problem(await with_fields(gateway, []))
    assert said == [{**plain, "request_id": None}] * len(said)
    await check_nothing_happened(sql, upstream)


@pytest.mark.parametrize("path", ["/v1/tasks?stat=x", f"/v1/tasks/{NOBODY}?wiat=1", "/v1/events?x"])
async def test_without_a_valid_key_no_parameter_is_explained(gateway: Gateway, path: str) -> None:
    check_refusal(await with_fields(gateway, [], "GET", path), UNAUTHENTICATED)


async def test_a_revoked_key_is_as_good_as_none(
    gateway: Gateway, sql: Sql, new_key: IssueKey
) -> None:
    fields = [("Authorization", f"Bearer {await new_key('revoked')}")]
    path = f"/v1/tasks/{NOBODY}"
    check_refusal(await with_fields(gateway, fields, "GET", path), NOT_FOUND)
    await sql.execute(
        "UPDATE api_keys SET revoked_at = now() FROM clients"
        " WHERE clients.id = client_id AND name = 'revoked'"
    )
    await sql.execute("SELECT pg_notify($1, $2)", CHANNEL, KEYS)
    async with asyncio.timeout(0.8 * KEPT):  # sooner than the key would be looked up again
        while (await with_fields(gateway, fields, "GET", path)).status_code == NOT_FOUND.status:
            pass
    content = check_refusal(await with_fields(gateway, fields, "GET", path), UNAUTHENTICATED)
    plain = problem(await with_fields(gateway, []))
    assert {**content, "request_id": None} == {**plain, "request_id": None}


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_has_no_case(gateway: Gateway, scheme: str) -> None:
    """RFC 9110 section 11.1."""
    fields = [("Authorization", f"{scheme} {gateway.api_key}")]
    check_refusal(await with_fields(gateway, fields, "GET", f"/v1/tasks/{NOBODY}"), NOT_FOUND)


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
