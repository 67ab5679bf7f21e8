"""Hostile text in every parameter, header and member of every route: no defect, and no leak.

The places are those of the OpenAPI document, so that a new route or member is among them.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr
from typing_extensions import override

from app.config import Settings
from app.main import create_app
from tests.api.neighbours import HOOK, OPEN, PROMPT, Neighbours, neighbours
from tests.api.stage import NOBODY
from tests.each import each
from tests.upstream import Upstream

HOSTILE: Mapping[str, str] = {
    "sql": "' OR '1'='1' --",
    "stacked": "x'); DELETE FROM tasks; SELECT pg_sleep(9); -- $$ $1 %s %(a)s :a {0} {{7*7}}",
    "json": '"},{"$ne": null,"state":{"$gt":""}} ../../../etc/passwd',
    "header": 'x\r\nX-Injected: yes\r\n\r\n{"event": "audit"} \x1b[2J ${jndi:ldap://h.test/a}',
    "nul": "a\0b\u202e\ufeff\uff07\U0001f4a3",
}
HEADERS = ("Idempotency-Key", "Last-Event-ID", "Prefer", "X-Request-ID", "User-Agent", "Accept")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a text may stand in a request."""

    route: str
    kind: str
    """`path`, `query`, `header`, or `body`."""
    name: str

    @override
    def __str__(self) -> str:
        return f"{self.route} {self.kind} {self.name}"


def _spec() -> dict[str, Any]:
    secret = SecretStr("k3Jx9Qm2Vt7Lw5Zr8Bn4Hc6Yd1")
    settings = Settings(
        database_url=SecretStr("postgresql://nobody@localhost/nothing"),
        secret_keys=(secret,),
        admin_key=secret,
    )
    return create_app(settings, worker=False).openapi()


SPEC = _spec()


def _members(operation: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the members of the route's body, and the example's values of them."""
    content = operation.get("requestBody", {}).get("content", {})
    ref = content.get("application/json", {}).get("schema", {}).get("$ref")
    if ref is None:
        return {}
    schema: dict[str, Any] = SPEC["components"]["schemas"][ref.rpartition("/")[2]]
    example = schema.get("examples", [{}])[0]
    return {name: example.get(name) for name in schema["properties"]}


def _places() -> Iterator[Place]:
    for path, operations in SPEC["paths"].items():
        for method, operation in operations.items():
            route = f"{method.upper()} {path}"
            if route in OPEN - {"POST /callbacks/kie/{task_id}/{token}"}:
                continue
            for parameter in operation.get("parameters", ()):
                if parameter["in"] in ("path", "query"):
                    yield Place(route, parameter["in"], parameter["name"])
            for name in _members(operation):
                yield Place(route, "body", name)
    for name in HEADERS:
        yield Place("POST /v1/tasks", "header", name)
        yield Place("GET /v1/events", "header", name)


PLACES = tuple(_places())


def test_there_are_enough_cases() -> None:
    assert len(PLACES) * len(HOSTILE) >= 476
    assert {place.kind for place in PLACES} == {"path", "query", "header", "body"}


@pytest_asyncio.fixture(scope="module")
async def made(dsn: str, upstream_server: Upstream) -> AsyncIterator[Neighbours]:
    async with neighbours(dsn, upstream_server) as made:
        yield made


async def _send(made: Neighbours, place: Place, text: str) -> httpx.Response:
    method, path = place.route.split()
    operation = SPEC["paths"][path][method.lower()]
    body: Any = {name: value for name, value in _members(operation).items() if value is not None}
    ids, params, headers = {}, {}, {}
    match place.kind:
        case "path":
            ids[place.name] = quote(text, safe="")[:4000]
        case "query":
            params[place.name] = text
        case "header":
            headers[place.name] = text.encode("utf-8", "replace").replace(b"\r\n", b" ")
        case _:
            body[place.name] = _wrapped(body.get(place.name), text)
    for name in ("token", "task_id", "delivery_id", "key_id", "file_id"):
        ids.setdefault(name, NOBODY)
    key = "admin" if "/v1/admin" in path else "valid"
    content = json.dumps(body).encode() if "requestBody" in operation else b""
    return await made.ask(
        place.route, key, content=content, ids=ids, params=params, headers=headers
    )


def _wrapped(example: Any, text: str) -> Any:
    """Put the text where a text may be: into a list, under a name, or as it is."""
    if isinstance(example, list):
        return [text]
    return {text: text, "a": [text, {text: text}]} if isinstance(example, dict) else text


@each("place", PLACES)
async def test_hostile_text_is_only_text(
    made: Neighbours, capfd: pytest.CaptureFixture[str], place: Place
) -> None:
    before = await made.victims()
    for name, text in HOSTILE.items():
        answer = await _send(made, place, text)
        assert answer.status_code < 500, (name, answer.text)
        assert "x-injected" not in answer.headers, name
        told = f"{answer.headers}{answer.text}"
        secrets = (PROMPT, HOOK, *made.ids.values(), "Traceback", "sqlalchemy", "asyncpg")
        if "/v1/admin" not in place.route:
            assert [one for one in secrets if one in told] == [], name
        if place.route.startswith("POST /v1/admin/admission/pause"):
            await made.sql.execute("UPDATE kie_account SET paused_at = NULL")
    assert await made.victims() == before
    lines = capfd.readouterr()
    assert '\n{"event"' not in lines.out + lines.err
