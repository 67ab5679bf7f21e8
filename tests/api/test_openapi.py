"""The OpenAPI document: well formed and whole. That it is true is shown in `test_reached`."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from app.api.schemas.bodies import validated
from app.api.schemas.deliveries import DELIVERY_BODIES
from app.api.schemas.dropin import KIE_BODIES, kie_validated
from app.api.schemas.tasks import TaskCreate, TaskWait
from tests.api.stage import operations
from tests.gateway import Gateway

DROP_IN = ("/api/v1/", "/api/file-")


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
    assert 'href="openapi.json"' in page.text


def test_every_reference_leads_somewhere(spec: dict[str, Any]) -> None:
    refs = {node["$ref"] for _, node in nodes(spec) if isinstance(node.get("$ref"), str)}
    assert {"#/components/schemas/Task", "#/components/schemas/ProblemDocument"} <= refs
    for ref in refs:
        assert ref.startswith("#/")
        assert isinstance(resolved(spec, ref), dict)


def test_every_schema_is_used(spec: dict[str, Any]) -> None:
    used = {node["$ref"] for _, node in nodes(spec) if "$ref" in node}
    kinds = ("schemas", "headers")
    named = {f"#/components/{kind}/{one}" for kind in kinds for one in spec["components"][kind]}
    assert named == used


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


def test_operation_ids_are_names_for_generated_clients(spec: dict[str, Any]) -> None:
    ids = {name: operation["operationId"] for name, operation in operations(spec).items()}
    assert all(re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", one) for one in ids.values()), ids
    assert ids["POST", "/v1/tasks"] == "createTask"
    assert ids["GET", "/v1/tasks"] == "listTasks"
    assert ids["GET", "/v1/tasks/{task_id}"] == "getTask"
    assert ids["GET", "/v1/tasks/{task_id}/events"] == "listTaskEvents"


def test_what_needs_a_key_says_so(spec: dict[str, Any]) -> None:
    (scheme,) = spec["components"]["securitySchemes"]
    for (method, path), operation in operations(spec).items():
        needs = path.startswith(("/v1/", *DROP_IN))
        assert operation.get("security", []) == ([{scheme: []}] if needs else []), (method, path)
        told = needs and not path.startswith(DROP_IN)  # there, in the envelope of a 200
        for status in ("401", "429"):
            assert (status in operation["responses"]) == told, (method, path)
        for status, response in operation["responses"].items():
            said = "RateLimit" in response.get("headers", {})
            assert said == (needs and status != "401"), (method, path, status)
            assert ("Retry-After" in response.get("headers", {})) == (status == "429")


def test_the_drop_in_answers_envelopes_alone(spec: dict[str, Any]) -> None:
    found = [one for (_, path), one in operations(spec).items() if path.startswith(DROP_IN)]
    assert len(found) == 7
    for operation in found:
        assert operation["tags"] == ["drop-in"]
        assert list(operation["responses"]) == ["200"]
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        required = list(resolved(spec, schema["$ref"])["required"])
        assert [name for name in required if name != "success"] == ["code", "msg", "data"]


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
    assert set(bodies) == {
        ("POST", "/v1/tasks"),
        ("POST", "/v1/tasks/wait"),
        ("POST", "/v1/deliveries/redeliver"),
        ("POST", "/v1/deliveries/enable"),
        ("POST", "/callbacks/kie/{task_id}/{token}"),
        ("POST", "/api/v1/jobs/createTask"),
        ("POST", "/api/v1/common/download-url"),
        ("POST", "/v1/files"),
        ("POST", "/api/file-stream-upload"),
        ("POST", "/api/file-base64-upload"),
        ("POST", "/api/file-url-upload"),
    }
    for name, body in bodies.items():
        if list(body["content"]) == ["multipart/form-data"]:
            continue  # a file's bytes are no example
        content = body["content"]["application/json"]
        schema = content["schema"]
        schema = resolved(spec, schema["$ref"]) if "$ref" in schema else schema
        assert content.get("example") or schema.get("examples"), name


async def test_the_example_of_a_create_can_be_sent(gateway: Gateway, spec: dict[str, Any]) -> None:
    examples = spec["components"]["schemas"]["TaskCreate"]["examples"]
    assert examples
    for example in examples:
        assert validated(TaskCreate, example).model == example["model"]
        assert (await gateway.post(example)).status_code == 201


def test_the_example_of_a_wait_is_valid(spec: dict[str, Any]) -> None:
    examples = spec["components"]["schemas"]["TaskWait"]["examples"]
    assert examples
    for example in examples:
        assert [str(one) for one in validated(TaskWait, example).ids] == example["ids"]


def test_the_examples_about_deliveries_are_valid(spec: dict[str, Any]) -> None:
    for model in DELIVERY_BODIES:
        examples = spec["components"]["schemas"][model.__name__]["examples"]
        assert examples
        for example in examples:
            assert validated(model, example).model_fields_set == set(example)


def test_the_examples_of_the_drop_in_are_valid(spec: dict[str, Any]) -> None:
    for model in KIE_BODIES:
        examples = spec["components"]["schemas"][model.__name__]["examples"]
        assert examples
        for example in examples:
            assert kie_validated(model, example).model_fields_set == set(example)


async def test_a_task_has_the_members_of_its_schema(gateway: Gateway, spec: dict[str, Any]) -> None:
    schemas = spec["components"]["schemas"]
    task = await gateway.create()
    assert set(task) == set(schemas["Task"]["properties"]) == set(schemas["Task"]["required"])
    assert set(task["urls"]) == set(schemas["TaskUrls"]["properties"])
