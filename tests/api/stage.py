"""What the tests of the API share: refusals taken apart, and requests written by hand."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import asyncpg
import httpx

from app.api.browsers import HEADERS
from app.api.errors import STATUS
from app.domain import errors
from app.domain.errors import GatewayError
from tests.gateway import Gateway
from tests.stage import PATIENCE
from tests.upstream import Upstream

Sql: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

NOBODY = "019a0000-0000-7000-8000-000000000000"
"""The id of no task."""

Operation: TypeAlias = tuple[str, str]
"""A method and a path as the OpenAPI document has it."""

MEMBERS = ("type", "title", "status", "detail", "code", "request_id")
"""What every problem document has, in order; `errors` may follow."""

KINDS: Mapping[str, type[GatewayError]] = {kind.code: kind for kind in STATUS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What a request is to be refused with."""

    status: int
    code: str
    pointer: str | None = None
    """Of some entry in `errors`, for what is wrong in the body."""
    parameter: str | None = None
    """Of some entry in `errors`, for what is wrong beside it; with neither, there is no `errors`.
    """
    says: str = ""
    """What `detail`, and the entry's own, must contain."""


UNAUTHENTICATED = Refusal(status=401, code="unauthenticated", says="Authorization: Bearer")
NOT_FOUND = Refusal(status=404, code="not_found")
CURSOR_LOST = Refusal(status=410, code="cursor_lost", says="without a cursor")


PAYMENT_REQUIRED = 402
BUDGET = (
    *("period", "credits", "mode", "thresholds", "spent", "reserved", "remaining", "cost"),
    *("period_start", "renews_at"),
)
"""What a refusal says of the budget that it is about."""


def problem(response: httpx.Response) -> dict[str, Any]:
    """Take a problem document (RFC 9457) apart; everything that all of them share holds."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    assert re.fullmatch(r"(total;dur=\d+\.\d)?", response.headers.get("server-timing", ""))
    assert {name: response.headers[name] for name in HEADERS} == dict(HEADERS)
    content: dict[str, Any] = response.json()
    assert tuple(content)[: len(MEMBERS)] == MEMBERS
    beside = {"errors", *(BUDGET if content["status"] == PAYMENT_REQUIRED else ())}
    if content["status"] == 503:
        beside.add("task_id")  # of a create that may have been stored
    assert set(content) - set(MEMBERS) <= beside, content
    assert content["request_id"] == response.headers["x-request-id"]
    assert content["status"] == response.status_code
    kind = KINDS[content["code"]]
    assert content["status"] == STATUS[kind]
    assert content["type"] == f"urn:kie-gateway:error:{kind.code}"
    assert content["title"] == kind.title
    assert content["detail"]
    if kind is errors.UnauthenticatedError:
        assert response.headers["www-authenticate"] == "Bearer"
        assert "server-timing" not in response.headers
    return content


def check_refusal(response: httpx.Response, expected: Refusal) -> dict[str, Any]:
    """Prove that the answer is this refusal; returns its body."""
    content = problem(response)
    assert (content["status"], content["code"]) == (expected.status, expected.code), content
    assert expected.says in content["detail"]
    if expected.pointer is None and expected.parameter is None:
        assert "errors" not in content
        return content
    name = "parameter" if expected.pointer is None else "pointer"
    place = getattr(expected, name)
    details = [flaw["detail"] for flaw in content["errors"] if flaw.get(name) == place]
    if name == "parameter":  # the whole text names it as well
        details = [f"{place}: {detail}" for detail in details]
        assert all(detail in content["detail"] for detail in details)
    assert any(expected.says in detail for detail in details), content
    return content


def bad_parameter(says: str) -> Refusal:
    """Describe the refusal of a parameter or header, whose name `says` begins with."""
    name = says.partition(":")[0]
    return Refusal(status=422, code="invalid_request", parameter=name, says=says)


async def check_nothing_happened(sql: Sql, upstream: Upstream) -> None:
    """A 4xx means that no task exists: not here, and not at kie.ai's."""
    assert await sql.fetchval("SELECT count(*) FROM tasks") == 0
    assert upstream.creates == []


def operations(spec: Mapping[str, Any]) -> dict[Operation, dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, item in spec["paths"].items()
        for method, operation in item.items()
    }


@dataclass
class Line:
    """A connection to speak HTTP/1.1 on by hand."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> httpx.Response:
        """Read one answer; the connection may stay open."""
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
            headers = httpx.Headers([_field(line) for line in lines])
            body = await self.reader.readexactly(int(headers["content-length"]))
        return httpx.Response(int(first.split()[1]), headers=headers, content=body)


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.strip()


@asynccontextmanager
async def dialled(url: str | httpx.URL) -> AsyncIterator[Line]:
    """Open a connection to the server at `url`; it is cut at the end."""
    parts = urlsplit(str(url))
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield Line(reader, writer)
    finally:
        writer.transport.abort()


def head_of(method: str, path: str, *fields: str) -> bytes:
    """Write the head of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway", *fields]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def with_fields(
    gateway: Gateway, fields: list[tuple[str, str]], method: str = "POST", path: str = "/v1/tasks"
) -> httpx.Response:
    """Send a request with these header fields and no others of the tests'."""
    async with httpx.AsyncClient(base_url=gateway.http.base_url, trust_env=False) as http:
        return await http.request(
            method, path, headers=fields, content=b"{" if method == "POST" else b""
        )


async def is_held(gateway: Gateway, waiting: "asyncio.Task[Any]") -> None:
    """Prove that an answer is held back."""
    for _ in range(3):  # requests behind it: it is under way
        await gateway.http.get("/livez")
    assert not waiting.done()
