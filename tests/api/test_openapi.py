"""The OpenAPI document: well formed, whole, and true: each documented status can be reached."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from app.api.schemas import validated
from app.config import Settings
from app.main import create_app
from tests.api.conftest import Scratch
from tests.api.stage import document
from tests.conftest import StartGateway
from tests.gateway import BODY, Gateway
from tests.upstream import Upstream, succeeded

Operation = tuple[str, str]
"""A method and a path as the document has it."""

NOBODY = "019a0000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    """The document needs no running gateway."""
    secret = SecretStr("s" * 40)
    settings = Settings(
        database_url=SecretStr("postgresql://nobody@localhost/nothing"),
        secret_keys=(secret,),
        kie_api_key=secret,
    )
    return create_app(settings, worker=False).openapi()


def operations(spec: Mapping[str, Any]) -> dict[Operation, dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, item in spec["paths"].items()
        for method, operation in item.items()
    }


def nodes(value: Any, path: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object in the document with its place."""
    if isinstance(value, dict):
        yield path, value
        for name, member in value.items():
            yield from nodes(member, f"{path}/{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from nodes(item, f"{path}/{index}")


def resolved(spec: Mapping[str, Any], ref: str) -> Any:
    found: Any = spec
    for part in ref.removeprefix("#/").split("/"):
        found = found[part]
    return found


# -- its form


async def test_it_is_served_with_pages_to_read_it(gateway: Gateway) -> None:
    served = await gateway.http.get("/openapi.json", headers={"Authorization": ""})
    assert served.json()["openapi"].startswith("3.1.")
    assert served.json()["info"]["title"] == "kie-gateway"
    page = await gateway.http.get("/docs", headers={"Authorization": ""})
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "/openapi.json" in page.text


def test_every_reference_leads_somewhere(spec: dict[str, Any]) -> None:
    refs = {node["$ref"] for _, node in nodes(spec) if isinstance(node.get("$ref"), str)}
    assert {"#/components/schemas/Task", "#/components/schemas/ProblemDocument"} <= refs
    for ref in refs:
        assert ref.startswith("#/")
        assert isinstance(resolved(spec, ref), dict)


def test_every_schema_is_used(spec: dict[str, Any]) -> None:
    used = {node["$ref"].rpartition("/")[2] for _, node in nodes(spec) if "$ref" in node}
    assert set(spec["components"]["schemas"]) == used


def test_operations_are_told_apart_and_told_of(spec: dict[str, Any]) -> None:
    found = operations(spec)
    assert len({operation["operationId"] for operation in found.values()}) == len(found)
    for name, operation in found.items():
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name
        in_path = {part["name"] for part in operation.get("parameters", []) if part["in"] == "path"}
        assert in_path == {part[1:-1] for part in name[1].split("/") if part.startswith("{")}
        for response in operation["responses"].values():
            assert response["description"], name


def test_what_needs_a_key_says_so(spec: dict[str, Any]) -> None:
    (scheme,) = spec["components"]["securitySchemes"]
    for (method, path), operation in operations(spec).items():
        needs = path.startswith("/v1/")
        assert operation.get("security", []) == ([{scheme: []}] if needs else []), (method, path)
        assert ("401" in operation["responses"]) == needs, (method, path)


def test_refusals_are_problem_documents(spec: dict[str, Any]) -> None:
    for name, operation in operations(spec).items():
        for status, response in operation["responses"].items():
            if status[0] in "45" and name != ("GET", "/readyz"):
                content = response["content"]["application/problem+json"]
                assert content["schema"]["$ref"].endswith("/ProblemDocument"), (name, status)
                assert list(response["content"]) == ["application/problem+json"], (name, status)
                assert content["example"], (name, status)


def test_an_example_of_a_refusal_is_of_its_status(spec: dict[str, Any]) -> None:
    for name, operation in operations(spec).items():
        for status, response in operation["responses"].items():
            content = response.get("content", {}).get("application/problem+json")
            if content:
                assert content["example"]["status"] == int(status), (name, status)


def test_every_body_has_an_example(spec: dict[str, Any]) -> None:
    bodies = {
        name: op["requestBody"] for name, op in operations(spec).items() if "requestBody" in op
    }
    assert {("POST", "/v1/tasks"), ("POST", "/callbacks/kie/{task_id}/{token}")} <= set(bodies)
    for name, body in bodies.items():
        content = body["content"]["application/json"]
        schema = content["schema"]
        schema = resolved(spec, schema["$ref"]) if "$ref" in schema else schema
        assert content.get("example") or schema.get("examples"), name


async def test_the_example_of_a_create_can_be_sent(gateway: Gateway, spec: dict[str, Any]) -> None:
    examples = spec["components"]["schemas"]["TaskCreate"]["examples"]
    assert examples
    for example in examples:
        assert validated(example).model == example["model"]
        assert (await gateway.post(example)).status_code == 201


async def test_a_task_has_the_members_of_its_schema(gateway: Gateway, spec: dict[str, Any]) -> None:
    schemas = spec["components"]["schemas"]
    task = await gateway.create()
    assert set(task) == set(schemas["Task"]["properties"]) == set(schemas["Task"]["required"])
    assert set(task["urls"]) == set(schemas["TaskUrls"]["properties"])


# -- its truth


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A gateway with a task that ran, and what it takes to make every refusal."""

    gateway: Gateway
    task_id: str
    callback_path: str

    def get(self, path: str, **headers: str) -> Awaitable[httpx.Response]:
        return self.gateway.http.get(path, headers=headers)

    def own(self, rest: str = "", **headers: str) -> Awaitable[httpx.Response]:
        return self.get(f"/v1/tasks/{self.task_id}{rest}", **headers)

    def called(self, body: bytes = b"{}", path: str | None = None) -> Awaitable[httpx.Response]:
        return self.gateway.call_back(path or self.callback_path, body)

    async def again(self, second: object = BODY) -> httpx.Response:
        await self.gateway.post(key="order-1")
        return await self.gateway.post(second, key="order-1")


LARGE = b" " * 1_048_577
NO_KEY = {"Authorization": ""}

REACHED: dict[Operation, dict[int, Callable[[Scene], Awaitable[httpx.Response]]]] = {
    ("POST", "/v1/tasks"): {
        201: lambda scene: scene.gateway.post(),
        200: lambda scene: scene.again(),
        400: lambda scene: scene.gateway.post(b""),
        401: lambda scene: scene.gateway.http.post("/v1/tasks", headers=NO_KEY),
        413: lambda scene: scene.gateway.post(LARGE),
        422: lambda scene: scene.gateway.post({}),
    },
    ("GET", "/v1/tasks/{task_id}"): {
        200: lambda scene: scene.own(),
        401: lambda scene: scene.own(**NO_KEY),
        404: lambda scene: scene.get(f"/v1/tasks/{NOBODY}"),
        422: lambda scene: scene.own("?wait=x"),
    },
    ("GET", "/v1/tasks/{task_id}/callbacks"): {
        200: lambda scene: scene.own("/callbacks"),
        401: lambda scene: scene.own("/callbacks", **NO_KEY),
        404: lambda scene: scene.get(f"/v1/tasks/{NOBODY}/callbacks"),
        422: lambda scene: scene.get("/v1/tasks/x/callbacks"),
    },
    ("POST", "/callbacks/kie/{task_id}/{token}"): {
        200: lambda scene: scene.called(),
        404: lambda scene: scene.called(path=f"/callbacks/kie/{NOBODY}/wrong"),
        413: lambda scene: scene.called(LARGE),
    },
    ("GET", "/livez"): {200: lambda scene: scene.get("/livez")},
    ("GET", "/readyz"): {200: lambda scene: scene.get("/readyz")},
}
"""How each status of each operation comes about, while the database is there."""

AWAY: dict[Operation, Callable[[Scene], Awaitable[httpx.Response]]] = {
    ("POST", "/v1/tasks"): lambda scene: scene.gateway.post(),
    ("GET", "/v1/tasks/{task_id}"): lambda scene: scene.own(),
    ("GET", "/v1/tasks/{task_id}/callbacks"): lambda scene: scene.own("/callbacks"),
    ("POST", "/callbacks/kie/{task_id}/{token}"): lambda scene: scene.called(),
    ("GET", "/readyz"): lambda scene: scene.get("/readyz"),
}
"""What answers 503 without it."""


def test_every_documented_status_is_reached_below(spec: dict[str, Any]) -> None:
    documented = {
        name: {int(status) for status in operation["responses"]}
        for name, operation in operations(spec).items()
    }
    away = {name: {503} if name in AWAY else set() for name in REACHED}
    assert documented == {name: set(ways) | away[name] for name, ways in REACHED.items()}


@pytest_asyncio.fixture
async def scene(gateway: Gateway, upstream: Upstream) -> Scene:
    return await _scene(gateway, upstream)


async def _scene(gateway: Gateway, upstream: Upstream) -> Scene:
    task = await gateway.create()
    path = upstream.callback_path
    await gateway.call_back(path, succeeded(task["kie_task_id"]))
    return Scene(gateway=gateway, task_id=task["id"], callback_path=path)


@pytest.mark.parametrize(
    ("operation", "status"), [(name, status) for name, ways in REACHED.items() for status in ways]
)
async def test_a_documented_status_is_reached(
    scene: Scene, spec: dict[str, Any], operation: Operation, status: int
) -> None:
    answer = await REACHED[operation][status](scene)
    assert answer.status_code == status, answer.text
    documented = operations(spec)[operation]["responses"][str(status)]
    assert list(documented["content"]) == [answer.headers["content-type"]]
    if status >= 400:
        document(answer)


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
            assert document(answer)["code"] == "database_unavailable"
            assert answer.headers["retry-after"] == "2"
