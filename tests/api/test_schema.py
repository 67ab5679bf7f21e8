"""The OpenAPI document against the gateway: whatever it allows, and forbids, is sent to it.

Every run sends the same requests.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import pytest_asyncio
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, CheckContext, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.conftest import one_for_all
from tests.api.stage import NOBODY, Operation, Sql
from tests.fixtures.gateway import settings_of_tests
from tests.gateway import Gateway
from tests.shelf import Served
from tests.upstream import Upstream, failed, refused, succeeded

EXAMPLES = settings().max_examples
"""Requests to each operation that keep to the document, and as many that do not."""

HOOK = "https://h.test/hook"

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]

OPERATIONS: tuple[Operation, ...] = (
    ("GET", "/v1/tasks"),
    ("POST", "/v1/tasks"),
    ("POST", "/v1/tasks/wait"),
    ("GET", "/v1/tasks/{task_id}"),
    ("DELETE", "/v1/tasks/{task_id}"),
    ("POST", "/v1/tasks/{task_id}/cancel"),
    ("POST", "/v1/tasks/{task_id}/refresh"),
    ("GET", "/v1/tasks/{task_id}/callbacks"),
    ("GET", "/v1/tasks/{task_id}/artifacts/{n}"),
    ("GET", "/v1/tasks/{task_id}/events"),
    ("GET", "/v1/events"),
    ("GET", "/v1/tasks/{task_id}/deliveries"),
    ("GET", "/v1/deliveries"),
    ("POST", "/v1/deliveries/redeliver"),
    ("POST", "/v1/deliveries/enable"),
    ("GET", "/v1/deliveries/disabled-urls"),
    ("GET", "/v1/deliveries/{delivery_id}"),
    ("POST", "/v1/deliveries/{delivery_id}/redeliver"),
    ("GET", "/v1/usage"),
    ("GET", "/v1/budget"),
    ("GET", "/v1/models"),
    ("POST", "/callbacks/kie/{task_id}/{token}"),
    ("POST", "/api/v1/jobs/createTask"),
    ("GET", "/api/v1/jobs/recordInfo"),
    ("GET", "/api/v1/chat/credit"),
    ("POST", "/api/v1/common/download-url"),
    ("GET", "/v1/files"),
    ("POST", "/v1/files"),
    ("GET", "/v1/files/{file_id}"),
    ("POST", "/api/file-stream-upload"),
    ("POST", "/api/file-base64-upload"),
    ("POST", "/api/file-url-upload"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
)


@pytest_asyncio.fixture(scope="module")
async def served(
    dsn: str,
    upstream_server: Upstream,
    pools_are_lent: None,  # noqa: ARG001  # the gateway has such pools
) -> AsyncIterator[Served]:
    """A gateway whose limit of creates is higher than what is sent to it: none has to wait."""
    settings = settings_of_tests(
        *(dsn, upstream_server.url),
        database_pool_size=5,
        kie_creates_per_10s=1000 + 10 * EXAMPLES,
    )
    async with one_for_all(settings, refresh_wait=0.0) as served:
        yield served


@pytest_asyncio.fixture
async def gateway(
    served: Served,
    upstream: Upstream,
    sql: Sql,  # noqa: ARG001  # its rows go after the test
) -> AsyncIterator[Gateway]:
    """A gateway with a task of each kind of end, and a kie.ai at which new ones fail at once."""
    url, settings, services = served
    async with Gateway.at(url, settings) as gateway:
        for record in (succeeded, failed):
            task = await gateway.create(metadata={"order": "A-1017"}, webhook_url=HOOK)
            await gateway.call_back(upstream.callback_path, record(task["kie_task_id"]))
        upstream.answers(lambda: refused(422, "no"))
        await gateway.create()
        yield gateway
        await services.submitter.drain()


def places(
    ids: list[str], told: list[str], upstream: Upstream, path: str
) -> list[Mapping[str, str] | None]:
    """Real places beside made up ones: what is never there is only ever refused."""
    if "{token}" in path:
        _, _, _, task_id, token = upstream.callback_path.rsplit("/", 4)
        return [None, {"task_id": task_id, "token": token}]
    if "{task_id}" in path:
        return [None, *({"task_id": one} for one in (*ids, NOBODY))]
    if "{file_id}" in path:
        return [None, {"file_id": NOBODY}]
    if "{delivery_id}" in path:
        return [None, *({"delivery_id": one} for one in (*told, NOBODY))]
    return [None]


NEVER_WRONG = {"prefer": "wait=0"}
"""A preference that is not understood is ignored (RFC 7240), so there is nothing to refuse."""


DROP_IN = ("/api/v1/", "/api/file-")


def refused_in_the_envelope(_: CheckContext, response: Response, case: Case[Any]) -> bool | None:
    """Of a flawed body kie.ai's API says so under HTTP 200; of a flawed header it may not care."""
    flawed = case.meta is not None and case.meta.components.get(ParameterLocation.BODY)
    if flawed and flawed.mode.is_negative:
        content = response.json()
        assert (content["code"], content["data"]) == (422, None), response.text
    return None


def sent(
    gateway: Gateway,
    document: dict[str, Any],
    operation: Operation,
    at: list[Mapping[str, str] | None],
    mode: GenerationMode,
) -> Callable[[], None]:
    """Build the test of one operation; it blocks, so it wants a thread of its own."""
    method, path = operation
    schema = schemathesis.openapi.from_dict(document)
    schema.config.generation.update(with_security_parameters=False)  # the key is ours, and right
    described = schema[path][method]
    cases = [
        described.as_strategy(
            generation_mode=mode,
            path_parameters=None if one is None else dict(one),
            headers=None if mode is GenerationMode.POSITIVE else NEVER_WRONG,
        )
        for one in at
    ]
    needs_key = path.startswith(("/v1/", *DROP_IN))
    key = {"Authorization": f"Bearer {gateway.api_key}"} if needs_key else {}
    rejected = refused_in_the_envelope if path.startswith(DROP_IN) else negative_data_rejection
    checks = CHECKS if mode is GenerationMode.POSITIVE else [*CHECKS, rejected]

    @settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=EXAMPLES,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=st.one_of(cases))
    def run(case: Case[Any]) -> None:
        wait = case.query.get("wait") if case.query else None
        if isinstance(wait, float):  # nothing sweeps: what cannot be sent in time stays queued
            case.query["wait"] = min(wait, 1.0)
        case.call_and_validate(
            base_url=str(gateway.http.base_url).rstrip("/"),
            headers={**key, "Accept": "application/json"},
            checks=checks,
            timeout=30,
        )

    return run


def test_every_operation_is_tried(spec: dict[str, Any]) -> None:
    found = {(method.upper(), path) for path, item in spec["paths"].items() for method in item}
    assert found == set(OPERATIONS)


SILENT = {
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/v1/deliveries/disabled-urls"),
    ("GET", "/v1/budget"),
    ("GET", "/v1/models"),
    ("GET", "/api/v1/jobs/recordInfo"),
    ("GET", "/api/v1/chat/credit"),
}
"""Nothing can be wrong with a request that says nothing, or any text."""

FILES = {operation for operation in OPERATIONS if operation[0] == "POST" and "file" in operation[1]}
"""What is generated is no file of a type that is taken: `test_uploads.py` sends those."""

TRIED = [
    (operation, mode)
    for operation in OPERATIONS
    for mode in GenerationMode
    if operation not in FILES
    if mode is GenerationMode.POSITIVE or operation not in SILENT
]


@pytest.mark.parametrize(
    ("operation", "mode"), TRIED, ids=[f"{' '.join(op)} {mode.value}" for op, mode in TRIED]
)
async def test_an_operation_keeps_to_the_document(
    gateway: Gateway,
    sql: Sql,
    upstream: Upstream,
    spec: dict[str, Any],
    operation: Operation,
    mode: GenerationMode,
) -> None:
    ids = [str(row["id"]) for row in await sql.fetch("SELECT id FROM tasks")]
    told = [str(row["id"]) for row in await sql.fetch("SELECT id FROM deliveries")]
    at = places(ids, told, upstream, operation[1])
    if mode is GenerationMode.NEGATIVE:
        at = at[:1]
    await asyncio.to_thread(sent(gateway, spec, operation, at, mode))
