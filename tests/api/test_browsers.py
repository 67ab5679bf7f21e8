"""What every answer says to browsers, and the page at /docs: nothing is loaded from elsewhere."""

import asyncio
import base64
import re
import shutil
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import SecretStr
from typing_extensions import override

from app.config import Settings
from app.main import Surface, create_app, create_worker
from tests.api.stage import NOBODY, Sql
from tests.gateway import issue_key
from tests.stage import serving

ADMIN_KEY = "an-admin-key-not-to-be-shown"
CHROMIUM = shutil.which("chromium")
METHODS = ("GET", "POST")
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
OTHERWISE = {"/docs": {"Content-Security-Policy": POLICY}}
CACHED = {"Cache-Control": "private, max-age=86400"}

Serve = Callable[[FastAPI], Awaitable[httpx.AsyncClient]]
Build = Callable[..., FastAPI]


@pytest.fixture
def build(
    sql: Sql,  # noqa: ARG001  # its rows go after the test
    make_settings: Callable[..., Settings],
) -> Build:
    def build(kind: str, **overrides: Any) -> FastAPI:
        settings = make_settings(**{"admin_key": SecretStr(ADMIN_KEY), **overrides})
        if kind == "worker":
            return create_worker(settings)
        return create_app(settings, worker=False, surface=Surface(kind))

    return build


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[Serve]:
    async with AsyncExitStack() as stack:

        async def serve(app: FastAPI) -> httpx.AsyncClient:
            serving_it = serving(app, server_header=False, proxy_headers=False)
            url = await stack.enter_async_context(serving_it)
            http = httpx.AsyncClient(base_url=url, trust_env=False, timeout=30)
            return await stack.enter_async_context(http)

        yield serve


def flat(routes: Any) -> Iterator[APIRoute]:
    """Walk the routes, also those of included routers."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        else:
            yield from flat(getattr(getattr(route, "original_router", route), "routes", ()))


def paths(app: FastAPI) -> set[str]:
    found = {route.path for route in flat(app.routes)}
    filled = {re.sub(r"{name}", "start.js", path) for path in found}
    return {re.sub(r"{\w+}", NOBODY, path) for path in filled} | {"/", "/nowhere"}


def wanted(path: str, status: int) -> Mapping[str, str]:
    if path.startswith("/docs/") and status == 200:
        return {**HEADERS, **CACHED}
    return {**HEADERS, **OTHERWISE.get(path, {})} if status == 200 else HEADERS


def check(path: str, answer: httpx.Response) -> None:
    for name, value in wanted(path, answer.status_code).items():
        assert answer.headers.get_list(name) == [value], (answer.request.method, path, name)
    assert "server" not in answer.headers
    assert "location" not in answer.headers


@pytest.mark.parametrize("kind", [*Surface, "worker"])
async def test_every_answer_of_every_route_is_safe_in_a_browser(
    build: Build, serve: Serve, kind: str
) -> None:
    app = build(kind)
    http = await serve(app)
    statuses = set()
    for path in paths(app):
        for method in METHODS:
            answer = await http.request(method, path)
            check(path, answer)
            assert "server-timing" not in answer.headers, path  # nobody showed a key
            statuses.add(answer.status_code)
    assert {200, 404, 405} <= statuses
    assert 401 in statuses or kind in {"callbacks", "worker"}


@pytest.mark.usefixtures("logged")  # a defect's traceback is plain then, and quick
async def test_defects_and_streams_are_dressed_too(
    build: Build, serve: Serve, make_settings: Callable[..., Settings]
) -> None:
    app = build("all")

    @app.get("/broken")
    async def broken_route() -> None:
        raise RuntimeError

    http = await serve(app)
    own = {"Authorization": f"Bearer {await issue_key(make_settings(), 'shop')}"}
    async with http.stream(
        "GET", "/v1/events", headers={**own, "Accept": "text/event-stream"}
    ) as stream:
        check("/v1/events", stream)
    app.state.services.waiters.close()
    broken = await http.get("/broken")
    assert broken.status_code == 500
    check("/broken", broken)


async def test_the_duration_is_for_those_with_a_key(
    build: Build, serve: Serve, make_settings: Callable[..., Settings]
) -> None:
    http = await serve(build("all"))
    own = {"Authorization": f"Bearer {await issue_key(make_settings(), 'shop')}"}
    admin = {"Authorization": f"Bearer {ADMIN_KEY}"}
    wrong = {"Authorization": f"Bearer {ADMIN_KEY}x"}
    for path, headers, timed in (
        ("/v1/tasks", own, True),
        (f"/v1/tasks/{NOBODY}", own, True),
        ("/api/v1/jobs/recordInfo", own, True),
        ("/v1/admin/admission", admin, True),
        ("/v1/tasks", wrong, False),
        ("/api/v1/jobs/recordInfo", wrong, False),
        ("/v1/admin/admission", own, False),
        ("/livez", own, False),
    ):
        answer = await http.get(path, headers=headers)
        assert ("server-timing" in answer.headers) is timed, (path, answer.status_code)


# -- /docs


class Links(HTMLParser):
    """Everything that a page makes a browser fetch or run."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert tag not in {"style", "iframe", "object", "base"}
        assert not [name for name in given if name.startswith("on") or name == "style"]
        assert tag != "script" or given.get("src")
        self.found += [value for name in ("src", "href") if (value := given.get(name))]


async def test_the_page_loads_only_what_is_ours(build: Build, serve: Serve) -> None:
    http = await serve(build("internal"))
    page = await http.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    links = Links(page.text).found
    assert len(links) == 5
    for link in links:
        url = urljoin(str(page.url), link)
        assert url.startswith(str(http.base_url)), link
        assert (await http.get(url)).status_code == 200, link
    start = (await http.get("/docs/start.js")).text
    assert "://" not in start
    assert 'url: "openapi.json"' in start
    document = (await http.get("/openapi.json")).json()
    assert "/v1/tasks" in document["paths"]
    assert "/docs" not in document["paths"]


async def test_the_page_may_be_for_operators_or_nobody(build: Build, serve: Serve) -> None:
    closed = await serve(build("all", docs="off"))
    guarded = await serve(build("all", docs="admin"))
    for path in ("/docs", "/openapi.json"):
        assert (await closed.get(path)).status_code == 404
        asked = await guarded.get(path)
        assert (asked.status_code, asked.json()["code"]) == (401, "unauthenticated")
        assert asked.headers["www-authenticate"].startswith("Basic ")
        check(path, asked)
        for user, key, status in (
            ("", ADMIN_KEY, 200),
            ("ops", ADMIN_KEY, 200),
            ("ops", "x", 401),
            (ADMIN_KEY, "", 401),
        ):
            answer = await guarded.get(path, auth=(user, key))
            assert answer.status_code == status, (user, key)
        for header, status in (
            (f"Bearer {ADMIN_KEY}", 200),
            ("Bearer x", 401),
            ("Basic !", 401),
            ("Basic " + base64.b64encode(b"\xff:\xff").decode(), 401),
            ("Basic", 401),
        ):
            answer = await guarded.get(path, headers={"Authorization": header})
            assert answer.status_code == status, header
    assert (await closed.get("/docs/start.js")).status_code == 404


@pytest.mark.long
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")
async def test_a_real_browser_shows_the_operations(build: Build, serve: Serve) -> None:
    """Its console has a line for whatever the policy forbids."""
    assert CHROMIUM is not None
    http = await serve(build("all"))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = await asyncio.create_subprocess_exec(
            CHROMIUM,
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--enable-logging=stderr", f"--user-data-dir={profile}"),
            *("--virtual-time-budget=20000", "--dump-dom", f"{http.base_url}/docs"),
            stdout=PIPE,
            stderr=PIPE,
        )
        shown, said = await browser.communicate()
    operations = set(re.findall(r'data-path="([^"]+)"', shown.decode()))
    assert {"/v1/tasks", "/v1/tasks/{task_id}/cancel", "/v1/admin/keys"} <= operations
    assert "CONSOLE" not in said.decode()
