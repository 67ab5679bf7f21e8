"""Whether the OpenAPI document is true: every documented status of every operation is reached."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from tests.api.conftest import Scratch, one_for_all
from tests.api.stage import NOBODY, Operation, Sql, dialled, head_of, operations, problem
from tests.fixtures.gateway import StartGateway, settings_of_tests
from tests.gateway import BODY, Gateway
from tests.shelf import Served
from tests.upstream import Upstream, refused, succeeded

FORM = {"Content-Type": "multipart/form-data; boundary=b"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A gateway with a task that ran, and what it takes to make every refusal."""

    gateway: Gateway
    upstream: Upstream
    task_id: str
    callback_path: str
    sql: Any = None
    services: Any = None

    def get(self, path: str, **headers: str) -> Awaitable[httpx.Response]:
        return self.gateway.http.get(path, headers=headers)

    def post(self, path: str, content: object = None, **headers: str) -> Awaitable[httpx.Response]:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.gateway.http.post(path, content=body, headers=headers)

    def own(self, rest: str = "", **headers: str) -> Awaitable[httpx.Response]:
        return self.get(f"/v1/tasks/{self.task_id}{rest}", **headers)

    def called(self, body: bytes = b"{}", path: str | None = None) -> Awaitable[httpx.Response]:
        return self.gateway.call_back(path or self.callback_path, body)

    async def delivery(self, rest: str = "") -> str:
        """Return the path of the delivery that told of the task."""
        (found,) = (await self.own("/deliveries")).json()["data"]
        return f"/v1/deliveries/{found['id']}{rest}"

    async def read_delivery(self, **headers: str) -> httpx.Response:
        return await self.get(await self.delivery(), **headers)

    async def redelivered(self) -> httpx.Response:
        return await self.post(await self.delivery("/redeliver"))

    async def artifact(
        self, link: str | None = None, state: str = "stored", **headers: str
    ) -> httpx.Response:
        """Read a file of the task; `link`: of an object store, which answers this."""
        archive = self.services.handout._archive
        await archive.put("x", _once(b"0123456789"), "image/png")

        async def presign(_: str) -> str | None:
            return link

        archive.presign = presign
        await self.sql.execute(
            "INSERT INTO artifacts (task_id, n, client_id, kind, digest, state, due_at, object,"
            " bytes) SELECT id, 1, client_id, 'result', '', $1,"
            " CASE WHEN $1 = 'waiting' THEN now() END, 'x', 10 FROM tasks",
            state,
        )
        return await self.own("/artifacts/1", **headers)

    async def disabled(self) -> None:
        assert self.sql is not None
        await self.sql.execute(
            "INSERT INTO disabled_urls (client_id, url) SELECT client_id, url FROM deliveries"
        )

    async def enabled(self) -> httpx.Response:
        await self.disabled()
        return await self.post("/v1/deliveries/enable", {"url": HOOK})

    async def redelivered_in_vain(self) -> httpx.Response:
        await self.disabled()
        return await self.redelivered()

    async def uploaded(
        self, data: bytes = b"GIF89a", *, refused_by_kie: bool = False
    ) -> httpx.Response:
        self.upstream.on_upload = (lambda: refused(401, "no")) if refused_by_kie else None
        return await self.gateway.http.post("/v1/files", files={"file": ("a.gif", data)})

    async def read_file(self) -> httpx.Response:
        return await self.get((await self.uploaded()).headers["location"])

    async def stalled(self) -> httpx.Response:
        """Upload the beginning of a form and no more."""
        fields = (f"{name}: {value}" for name, value in FORM.items())
        key = f"Authorization: Bearer {self.gateway.api_key}"
        async with dialled(self.gateway.http.base_url) as line:
            line.writer.write(head_of("POST", "/v1/files", key, *fields, "Content-Length: 9"))
            return await line.answer()

    async def commanded(self, command: str) -> httpx.Response:
        return await self.post(f"/v1/tasks/{self.task_id}/{command}")

    async def queued(self, command: str) -> httpx.Response:
        """Give the command to a task that waits in the queue."""
        self.upstream.answers(lambda: refused(429, "slow down"))
        task = await self.gateway.create()
        return await self.post(f"/v1/tasks/{task['id']}/{command}")

    async def beyond_budget(self) -> httpx.Response:
        assert self.sql is not None
        await self.sql.execute(
            "INSERT INTO budgets (client_id, period, credits, mode, thresholds)"
            " SELECT id, 'total', 0, 'hard', '{}' FROM clients"
        )
        return await self.gateway.post()

    async def erased(self, rest: str = "", method: str = "GET") -> httpx.Response:
        """Ask for the task, or what is below it, once it is erased."""
        await self.gateway.http.delete(f"/v1/tasks/{self.task_id}")
        return await self.gateway.http.request(method, f"/v1/tasks/{self.task_id}{rest}")

    async def open_erased(self) -> httpx.Response:
        task = await self.gateway.create()
        return await self.gateway.http.delete(f"/v1/tasks/{task['id']}")

    async def erased_key(self) -> httpx.Response:
        task = (await self.gateway.post(key="order-1")).json()
        assert self.sql is not None
        await self.sql.execute("UPDATE tasks SET state = 'canceled', finished_at = now()")
        await self.gateway.http.delete(f"/v1/tasks/{task['id']}")
        return await self.gateway.post(key="order-1")

    async def waited_in_vain(self) -> httpx.Response:
        await self.erased()
        return await self.post("/v1/tasks/wait", {"ids": [self.task_id]})

    async def emptied(self) -> httpx.Response:
        """Repeat a delivery whose body is gone."""
        path = await self.delivery("/redeliver")
        assert self.sql is not None
        await self.sql.execute("UPDATE deliveries SET raw_deleted_at = now()")
        return await self.post(path)

    async def again(self, second: object = BODY) -> httpx.Response:
        await self.gateway.post(key="order-1")
        return await self.gateway.post(second, key="order-1")


HOOK = "https://h.test/hook"
LARGE = b" " * 1_048_577
NO_KEY = {"Authorization": ""}

REACHED: dict[Operation, dict[int, Callable[[Scene], Awaitable[httpx.Response]]]] = {
    ("POST", "/v1/tasks"): {
        201: lambda scene: scene.gateway.post(),
        200: lambda scene: scene.again(),
        400: lambda scene: scene.gateway.post(b""),
        401: lambda scene: scene.gateway.http.post("/v1/tasks", headers=NO_KEY),
        402: lambda scene: scene.beyond_budget(),
        413: lambda scene: scene.gateway.post(LARGE),
        422: lambda scene: scene.gateway.post({}),
        410: lambda scene: scene.erased_key(),
    },
    ("GET", "/v1/tasks"): {
        200: lambda scene: scene.get("/v1/tasks"),
        401: lambda scene: scene.get("/v1/tasks", **NO_KEY),
        422: lambda scene: scene.get("/v1/tasks?limit=0"),
    },
    ("POST", "/v1/tasks/wait"): {
        200: lambda scene: scene.post("/v1/tasks/wait", {"ids": [scene.task_id]}),
        400: lambda scene: scene.post("/v1/tasks/wait", b""),
        401: lambda scene: scene.post("/v1/tasks/wait", **NO_KEY),
        404: lambda scene: scene.post("/v1/tasks/wait", {"ids": [NOBODY]}),
        413: lambda scene: scene.post("/v1/tasks/wait", LARGE),
        422: lambda scene: scene.post("/v1/tasks/wait", {"ids": []}),
        410: lambda scene: scene.waited_in_vain(),
    },
    ("GET", "/v1/tasks/{task_id}"): {
        200: lambda scene: scene.own(),
        401: lambda scene: scene.own(**NO_KEY),
        404: lambda scene: scene.get(f"/v1/tasks/{NOBODY}"),
        422: lambda scene: scene.own("?wait=x"),
        410: lambda scene: scene.erased(),
    },
    ("DELETE", "/v1/tasks/{task_id}"): {
        204: lambda scene: scene.erased(method="DELETE"),
        401: lambda scene: scene.gateway.http.delete(f"/v1/tasks/{NOBODY}", headers=NO_KEY),
        404: lambda scene: scene.gateway.http.delete(f"/v1/tasks/{NOBODY}"),
        409: lambda scene: scene.open_erased(),
        422: lambda scene: scene.gateway.http.delete("/v1/tasks/x"),
    },
    ("GET", "/v1/tasks/{task_id}/callbacks"): {
        200: lambda scene: scene.own("/callbacks"),
        401: lambda scene: scene.own("/callbacks", **NO_KEY),
        404: lambda scene: scene.get(f"/v1/tasks/{NOBODY}/callbacks"),
        422: lambda scene: scene.get("/v1/tasks/x/callbacks"),
        410: lambda scene: scene.erased("/callbacks"),
    },
    ("POST", "/v1/tasks/{task_id}/cancel"): {
        200: lambda scene: scene.queued("cancel"),
        401: lambda scene: scene.post(f"/v1/tasks/{NOBODY}/cancel", **NO_KEY),
        404: lambda scene: scene.post(f"/v1/tasks/{NOBODY}/cancel"),
        409: lambda scene: scene.commanded("cancel"),
        422: lambda scene: scene.post("/v1/tasks/x/cancel"),
        410: lambda scene: scene.erased("/cancel", "POST"),
    },
    ("POST", "/v1/tasks/{task_id}/refresh"): {
        200: lambda scene: scene.commanded("refresh"),
        401: lambda scene: scene.post(f"/v1/tasks/{NOBODY}/refresh", **NO_KEY),
        404: lambda scene: scene.post(f"/v1/tasks/{NOBODY}/refresh"),
        409: lambda scene: scene.queued("refresh"),
        422: lambda scene: scene.post("/v1/tasks/x/refresh"),
        410: lambda scene: scene.erased("/refresh", "POST"),
    },
    ("GET", "/v1/tasks/{task_id}/artifacts/{n}"): {
        200: lambda scene: scene.artifact(),
        206: lambda scene: scene.artifact(Range="bytes=1-2"),
        302: lambda scene: scene.artifact("https://a-bucket.test/x?signed"),
        401: lambda scene: scene.own("/artifacts/1", **NO_KEY),
        404: lambda scene: scene.own("/artifacts/1"),
        409: lambda scene: scene.artifact(state="waiting"),
        416: lambda scene: scene.artifact(Range="bytes=10-"),
        422: lambda scene: scene.own("/artifacts/x"),
        410: lambda scene: scene.erased("/artifacts/1"),
    },
    ("GET", "/v1/tasks/{task_id}/events"): {
        200: lambda scene: scene.own("/events"),
        401: lambda scene: scene.own("/events", **NO_KEY),
        404: lambda scene: scene.get(f"/v1/tasks/{NOBODY}/events"),
        422: lambda scene: scene.own("/events?after=x"),
        410: lambda scene: scene.erased("/events"),
    },
    ("GET", "/v1/events"): {
        200: lambda scene: scene.get("/v1/events"),
        401: lambda scene: scene.get("/v1/events", **NO_KEY),
        410: lambda scene: scene.get("/v1/events?after=1-1"),
        422: lambda scene: scene.get("/v1/events?after=x"),
    },
    ("GET", "/v1/tasks/{task_id}/deliveries"): {
        200: lambda scene: scene.own("/deliveries"),
        401: lambda scene: scene.own("/deliveries", **NO_KEY),
        404: lambda scene: scene.get(f"/v1/tasks/{NOBODY}/deliveries"),
        422: lambda scene: scene.own("/deliveries?cursor=x"),
        410: lambda scene: scene.erased("/deliveries"),
    },
    ("GET", "/v1/deliveries"): {
        200: lambda scene: scene.get("/v1/deliveries"),
        401: lambda scene: scene.get("/v1/deliveries", **NO_KEY),
        422: lambda scene: scene.get("/v1/deliveries?state=lost"),
    },
    ("GET", "/v1/deliveries/disabled-urls"): {
        200: lambda scene: scene.get("/v1/deliveries/disabled-urls"),
        401: lambda scene: scene.get("/v1/deliveries/disabled-urls", **NO_KEY),
        422: lambda scene: scene.get("/v1/deliveries/disabled-urls?x=1"),
    },
    ("GET", "/v1/deliveries/{delivery_id}"): {
        200: lambda scene: scene.read_delivery(),
        401: lambda scene: scene.read_delivery(**NO_KEY),
        404: lambda scene: scene.get(f"/v1/deliveries/{NOBODY}"),
        422: lambda scene: scene.get("/v1/deliveries/x"),
    },
    ("POST", "/v1/deliveries/{delivery_id}/redeliver"): {
        202: lambda scene: scene.redelivered(),
        401: lambda scene: scene.post(f"/v1/deliveries/{NOBODY}/redeliver", **NO_KEY),
        404: lambda scene: scene.post(f"/v1/deliveries/{NOBODY}/redeliver"),
        409: lambda scene: scene.redelivered_in_vain(),
        422: lambda scene: scene.post("/v1/deliveries/x/redeliver"),
        410: lambda scene: scene.emptied(),
    },
    ("POST", "/v1/deliveries/redeliver"): {
        202: lambda scene: scene.post("/v1/deliveries/redeliver", {"state": "exhausted"}),
        400: lambda scene: scene.post("/v1/deliveries/redeliver", b""),
        401: lambda scene: scene.post("/v1/deliveries/redeliver", **NO_KEY),
        413: lambda scene: scene.post("/v1/deliveries/redeliver", LARGE),
        422: lambda scene: scene.post("/v1/deliveries/redeliver", {}),
    },
    ("POST", "/v1/deliveries/enable"): {
        200: lambda scene: scene.enabled(),
        400: lambda scene: scene.post("/v1/deliveries/enable", b""),
        401: lambda scene: scene.post("/v1/deliveries/enable", **NO_KEY),
        404: lambda scene: scene.post("/v1/deliveries/enable", {"url": HOOK}),
        413: lambda scene: scene.post("/v1/deliveries/enable", LARGE),
        422: lambda scene: scene.post("/v1/deliveries/enable", {}),
    },
    ("GET", "/v1/usage"): {
        200: lambda scene: scene.get("/v1/usage?group_by=day,model"),
        401: lambda scene: scene.get("/v1/usage", **NO_KEY),
        422: lambda scene: scene.get("/v1/usage?group_by=client"),
    },
    ("GET", "/v1/budget"): {
        200: lambda scene: scene.get("/v1/budget"),
        401: lambda scene: scene.get("/v1/budget", **NO_KEY),
        422: lambda scene: scene.get("/v1/budget?x=1"),
    },
    ("GET", "/v1/models"): {
        200: lambda scene: scene.get("/v1/models"),
        401: lambda scene: scene.get("/v1/models", **NO_KEY),
        422: lambda scene: scene.get("/v1/models?x=1"),
    },
    ("POST", "/callbacks/kie/{task_id}/{token}"): {
        200: lambda scene: scene.called(),
        404: lambda scene: scene.called(path=f"/callbacks/kie/{NOBODY}/wrong"),
    },
    ("POST", "/api/v1/jobs/createTask"): {
        200: lambda scene: scene.post("/api/v1/jobs/createTask", BODY),
    },
    ("GET", "/api/v1/jobs/recordInfo"): {
        200: lambda scene: scene.get(f"/api/v1/jobs/recordInfo?taskId={scene.task_id}"),
    },
    ("GET", "/api/v1/chat/credit"): {200: lambda scene: scene.get("/api/v1/chat/credit")},
    ("POST", "/api/v1/common/download-url"): {
        200: lambda scene: scene.post("/api/v1/common/download-url", {"url": HOOK}),
    },
    ("GET", "/v1/files"): {
        200: lambda scene: scene.get("/v1/files"),
        401: lambda scene: scene.get("/v1/files", **NO_KEY),
        422: lambda scene: scene.get("/v1/files?limit=0"),
    },
    ("POST", "/v1/files"): {
        201: lambda scene: scene.uploaded(),
        400: lambda scene: scene.post("/v1/files", b"", **FORM),
        401: lambda scene: scene.post("/v1/files", **NO_KEY),
        408: lambda scene: scene.stalled(),
        413: lambda scene: scene.post("/v1/files", LARGE),
        415: lambda scene: scene.uploaded(b"MZ"),
        422: lambda scene: scene.post("/v1/files", {"url": "http://10.0.0.1/a.png"}),
        502: lambda scene: scene.uploaded(refused_by_kie=True),
    },
    ("GET", "/v1/files/{file_id}"): {
        200: lambda scene: scene.read_file(),
        401: lambda scene: scene.get(f"/v1/files/{NOBODY}", **NO_KEY),
        404: lambda scene: scene.get(f"/v1/files/{NOBODY}"),
        422: lambda scene: scene.get("/v1/files/x"),
    },
    ("POST", "/api/file-stream-upload"): {
        200: lambda scene: scene.post("/api/file-stream-upload", b"", **FORM),
    },
    ("POST", "/api/file-base64-upload"): {
        200: lambda scene: scene.post("/api/file-base64-upload", {}),
    },
    ("POST", "/api/file-url-upload"): {
        200: lambda scene: scene.post("/api/file-url-upload", {}),
    },
    ("GET", "/livez"): {200: lambda scene: scene.get("/livez")},
    ("GET", "/readyz"): {200: lambda scene: scene.get("/readyz")},
}
"""How each status of each operation comes about, while the database is there."""

FILE = ("GET", "/v1/tasks/{task_id}/artifacts/{n}")

AWAY: dict[Operation, Callable[[Scene], Awaitable[httpx.Response]]] = {
    ("POST", "/v1/tasks"): lambda scene: scene.gateway.post(),
    ("GET", "/v1/tasks/{task_id}"): lambda scene: scene.own(),
    ("GET", "/v1/tasks/{task_id}/callbacks"): lambda scene: scene.own("/callbacks"),
    ("GET", "/v1/tasks"): lambda scene: scene.get("/v1/tasks"),
    ("GET", "/v1/usage"): lambda scene: scene.get("/v1/usage"),
    ("GET", "/v1/budget"): lambda scene: scene.get("/v1/budget"),
    ("GET", "/v1/models"): lambda scene: scene.get("/v1/models"),
    ("POST", "/v1/tasks/wait"): lambda scene: scene.post("/v1/tasks/wait", {"ids": [NOBODY]}),
    ("DELETE", "/v1/tasks/{task_id}"): lambda scene: scene.gateway.http.delete(
        f"/v1/tasks/{NOBODY}"
    ),
    ("POST", "/v1/tasks/{task_id}/cancel"): lambda scene: scene.commanded("cancel"),
    ("POST", "/v1/tasks/{task_id}/refresh"): lambda scene: scene.commanded("refresh"),
    ("GET", "/v1/tasks/{task_id}/artifacts/{n}"): lambda scene: scene.own("/artifacts/1"),
    ("GET", "/v1/tasks/{task_id}/events"): lambda scene: scene.own("/events"),
    ("GET", "/v1/events"): lambda scene: scene.get("/v1/events"),
    ("GET", "/v1/tasks/{task_id}/deliveries"): lambda scene: scene.own("/deliveries"),
    ("GET", "/v1/deliveries"): lambda scene: scene.get("/v1/deliveries"),
    ("GET", "/v1/deliveries/{delivery_id}"): lambda scene: scene.get(f"/v1/deliveries/{NOBODY}"),
    ("GET", "/v1/deliveries/disabled-urls"): lambda scene: scene.get(
        "/v1/deliveries/disabled-urls"
    ),
    ("POST", "/v1/deliveries/{delivery_id}/redeliver"): lambda scene: scene.post(
        f"/v1/deliveries/{NOBODY}/redeliver"
    ),
    ("POST", "/v1/deliveries/redeliver"): lambda scene: scene.post(
        "/v1/deliveries/redeliver", {"state": "exhausted"}
    ),
    ("POST", "/v1/deliveries/enable"): lambda scene: scene.post(
        "/v1/deliveries/enable", {"url": HOOK}
    ),
    ("POST", "/callbacks/kie/{task_id}/{token}"): lambda scene: scene.called(),
    ("GET", "/v1/files"): lambda scene: scene.get("/v1/files"),
    ("POST", "/v1/files"): lambda scene: scene.uploaded(),
    ("GET", "/v1/files/{file_id}"): lambda scene: scene.get(f"/v1/files/{NOBODY}"),
    ("GET", "/readyz"): lambda scene: scene.get("/readyz"),
}
"""What answers 503 without it."""


def test_every_documented_status_is_reached_below(spec: dict[str, Any]) -> None:
    """Wherever a key is needed, 403 is in `test_isolation` and 429 in `test_limits`."""
    documented = {
        name: {int(status) for status in operation["responses"]}
        for name, operation in operations(spec).items()
    }
    away = {name: {503} if name in AWAY else set() for name in REACHED}
    keys = {name: {403, 429} if 401 in ways else set() for name, ways in REACHED.items()}
    assert documented == {
        name: set(ways) | away[name] | keys[name] for name, ways in REACHED.items()
    }


@pytest_asyncio.fixture(scope="module")
async def inside(
    dsn: str,
    upstream_server: Upstream,
    pools_are_lent: None,  # noqa: ARG001  # the gateway has such pools
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Served]:
    archive = f"file://{tmp_path_factory.mktemp('reached')}/archive"
    stall = {"upload_stall_timeout": 0.5, "archive_url": archive}
    settings = settings_of_tests(dsn, upstream_server.url, **stall)
    async with one_for_all(settings, refresh_wait=0.05) as served:
        yield served


@pytest_asyncio.fixture
async def scene(inside: Served, upstream: Upstream, sql: Sql) -> AsyncIterator[Scene]:
    url, settings, services = inside
    async with Gateway.at(url, settings) as gateway:
        await sql.execute("UPDATE clients SET archives = false")
        yield replace(await _scene(gateway, upstream, sql), services=services)
        await services.submitter.drain()


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def _scene(gateway: Gateway, upstream: Upstream, sql: Any = None) -> Scene:
    task = await gateway.create(webhook_url=HOOK)
    path = upstream.callback_path
    await gateway.call_back(path, succeeded(task["kie_task_id"]))
    return Scene(
        gateway=gateway, upstream=upstream, task_id=task["id"], callback_path=path, sql=sql
    )


@pytest.mark.parametrize(
    ("operation", "status"), [(name, status) for name, ways in REACHED.items() for status in ways]
)
async def test_a_documented_status_is_reached(
    scene: Scene, spec: dict[str, Any], operation: Operation, status: int
) -> None:
    answer = await REACHED[operation][status](scene)
    assert answer.status_code == status, answer.text
    documented = operations(spec)[operation]["responses"][str(status)]
    # A file has the type that its source gave it, and 204 has none.
    if status != 204 and (operation != FILE or status >= 400):
        assert answer.headers["content-type"] in documented["content"]
    if status >= 400:
        problem(answer)


@pytest.mark.long
async def test_without_the_database_everything_says_so(
    start_gateway: StartGateway, upstream: Upstream, scratch: Scratch
) -> None:
    """Together, because a callback is held for 12 s in the hope that it comes back."""
    gateway = await start_gateway(database_url=SecretStr(scratch.dsn))
    scene = await _scene(gateway, upstream)
    await scratch.goes_away()
    answers = await asyncio.gather(*(ask(scene) for ask in AWAY.values()))
    assert {answer.status_code for answer in answers} == {503}
    for operation, answer in zip(AWAY, answers, strict=True):
        if operation != ("GET", "/readyz"):
            assert problem(answer)["code"] == "database_unavailable"
            assert answer.headers["retry-after"] == "2"


@pytest.mark.parametrize("path", ["/v1/events", "/v1/tasks/{task_id}/events"])
async def test_the_documented_streams_are_streams(
    scene: Scene, spec: dict[str, Any], path: str
) -> None:
    documented = operations(spec)[("GET", path)]["responses"]["200"]["content"]
    assert set(documented) == {"application/json", "text/event-stream"}
    url = path.format(task_id=scene.task_id)
    headers = {"Accept": "text/event-stream"}
    async with scene.gateway.http.stream("GET", url, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].partition(";")[0] in documented
