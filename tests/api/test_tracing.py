"""Traces, as a collector gets them: one for each task, and nothing in it that is secret."""

import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.config import Settings
from app.main import create_app
from app.services.tasks.receive import Receiver
from app.traces import Step
from tests.api.stage import Sql
from tests.gateway import Gateway
from tests.services.callers import Caller, listening
from tests.stage import eventually, serving
from tests.upstream import BALANCE, Upstream, succeeded

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
GIVEN = f"00-{TRACE}-{PARENT}-01"
PROMPT = "a prompt that no collector may see"
KINDS = {
    Step.CREATE: Span.SPAN_KIND_SERVER,
    Step.SUBMIT: Span.SPAN_KIND_CLIENT,
    Step.CALLBACK: Span.SPAN_KIND_SERVER,
    Step.QUERY: Span.SPAN_KIND_CLIENT,
    Step.DELIVERY: Span.SPAN_KIND_CLIENT,
}
SAID = {
    "kie_gateway.task_id",
    "kie_gateway.client_id",
    "kie_gateway.model",
    "kie_gateway.state",
    "kie_gateway.attempt",
    "kie_gateway.outcome",
    "error.type",
}


@dataclass
class Collector:
    """Takes OTLP over HTTP."""

    bodies: list[bytes] = field(default_factory=list)

    @property
    def spans(self) -> list[Span]:
        found = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [
            span
            for request in found
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def of(self, step: Step) -> Span:
        (span,) = (span for span in self.spans if span.name == step)
        return span

    def app(self) -> Starlette:
        async def take(request: Request) -> Response:
            self.bodies.append(await request.body())
            return Response(b"", media_type="application/x-protobuf")

        return Starlette(routes=[Route("/v1/traces", take, methods=["POST"])])


@pytest_asyncio.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """Have gateways that start from now on export to a collector."""
    found = Collector()
    async with serving(found.app()) as url:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=tests")
        yield found


@pytest_asyncio.fixture
async def caller() -> AsyncIterator[Caller]:
    async with listening() as found:
        yield found


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[Gateway]:
    """Serve with loops; at the end all is drained."""
    async with (
        serving(create_app(settings)) as url,
        Gateway.at(url, settings) as gateway,
    ):
        yield gateway


MakeSettings = Callable[..., Settings]


async def created(gateway: Gateway, caller: Caller, **headers: str) -> dict[str, Any]:
    body = {"model": "a/model", "input": {"prompt": PROMPT}, "webhook_url": caller.url}
    made = await gateway.http.post("/v1/tasks", json=body, headers=headers)
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found


async def carried(gateway: Gateway, upstream: Upstream, caller: Caller, **headers: str) -> None:
    """Take a task by its callback, and kie.ai's record, to the caller's receiver."""
    task = await created(gateway, caller, **headers)
    upstream.records[task["kie_task_id"]] = succeeded(task["kie_task_id"])
    answer = await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    assert answer.status_code == 200
    await gateway.reaches(task["id"], "succeeded")

    async def heard() -> bool | None:
        return bool(caller.heard) or None

    await eventually(heard)


async def test_all_steps_of_a_task_are_in_one_trace_without_a_secret(
    collector: Collector,
    caller: Caller,
    sql: Sql,
    upstream: Upstream,
    make_settings: MakeSettings,
    monkeypatch: pytest.MonkeyPatch,
    logged: io.StringIO,
) -> None:
    settings = make_settings(kie_confirm="before", delivery_allow_loopback=True)
    path = ""

    def broken(*_: object) -> None:
        message = f"cannot read {path}"
        raise RuntimeError(message)

    async with working(settings) as gateway:
        await carried(gateway, upstream, caller, traceparent=GIVEN)
        kept = await sql.fetchval("SELECT traceparent FROM tasks")
        secret = await sql.fetchval("SELECT encode(signing_secret, 'escape') FROM clients")
        path = upstream.callback_path
        monkeypatch.setattr(Receiver, "_statement", broken)
        assert (await gateway.call_back(path, {})).status_code == 500
    assert collector.bodies  # sent at the end of the process at the latest
    strays = [span for span in collector.spans if span.trace_id.hex() != TRACE]
    assert [(span.name, _said(span)) for span in strays] == [
        (Step.CALLBACK, {"error.type": "RuntimeError"})
    ]
    found = {span.name: span for span in collector.spans if span.trace_id.hex() == TRACE}
    assert set(found) == set(Step)
    create = found[Step.CREATE]
    assert create.parent_span_id.hex() == PARENT
    assert kept == f"00-{TRACE}-{create.span_id.hex()}-01"
    for step in set(Step) - {Step.CREATE}:
        assert found[step].parent_span_id == create.span_id, step
    delivery = found[Step.DELIVERY]
    assert caller.heard[0].headers["traceparent"] == f"00-{TRACE}-{delivery.span_id.hex()}-01"
    assert not any("traceparent" in headers for headers in upstream.headers)
    for name, span in found.items():
        assert span.kind == KINDS[Step(name)]
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        assert set(_said(span)) <= SAID
        assert not span.events
    assert _said(create)["kie_gateway.outcome"] == "created"
    assert _said(delivery)["kie_gateway.outcome"] == "delivered"
    raw = b"".join(collector.bodies)
    token = path.rsplit("/", 1)[1]
    hidden = (token, PROMPT, gateway.api_key, secret, caller.url, str(BALANCE), "generated-image")
    for text in (*hidden, "sk-not-to-be-shown", "127.0.0.1", "/hook", "cannot read"):
        assert text.encode() not in raw, text
    assert "request.broken" in logged.getvalue()
    assert token not in logged.getvalue()


def _said(span: Span) -> dict[str, str]:
    return {one.key: one.value.string_value or str(one.value.int_value) for one in span.attributes}


@pytest.mark.parametrize("given", [GIVEN, None, GIVEN.upper()])
async def test_a_callers_trace_is_passed_on_without_a_collector(
    given: str | None,
    caller: Caller,
    sql: Sql,
    upstream: Upstream,
    make_settings: MakeSettings,
) -> None:
    async with working(make_settings(delivery_allow_loopback=True)) as gateway:
        headers = {} if given is None else {"traceparent": given}
        await carried(gateway, upstream, caller, **headers)
    expected = given if given == GIVEN else None
    assert await sql.fetchval("SELECT traceparent FROM tasks") == expected
    assert caller.heard[0].headers.get("traceparent") == expected


async def test_a_task_without_a_caller_s_trace_begins_one(
    collector: Collector, upstream: Upstream, sql: Sql, make_settings: MakeSettings
) -> None:
    body = {"model": "a/model", "input": {}}
    async with working(make_settings()) as gateway:
        made = await gateway.http.post("/api/v1/jobs/createTask", json=body)
        assert made.json()["code"] == 200, made.text
    assert upstream.creates
    create, submit = collector.of(Step.CREATE), collector.of(Step.SUBMIT)
    assert not create.parent_span_id
    assert (submit.trace_id, submit.parent_span_id) == (create.trace_id, create.span_id)
    kept = await sql.fetchval("SELECT traceparent FROM tasks")
    assert kept.rpartition("-")[0] == f"00-{create.trace_id.hex()}-{create.span_id.hex()}"


async def test_frameworks_record_nothing_by_themselves(
    monkeypatch: pytest.MonkeyPatch, gateway: Gateway
) -> None:
    found = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    assert (await gateway.http.get("/v1/tasks")).status_code == 200
    assert found.get_finished_spans() == ()


OFF = """
import json, sys
import app.main, app.wiring, app.worker
print(json.dumps([name for name in sys.modules if name.startswith(
    ("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto", "requests", "google"))]))
"""


@pytest.mark.long
def test_off_nothing_of_it_is_imported() -> None:
    """FastAPI itself imports `opentelemetry`, its API only."""
    ran = subprocess.check_output([sys.executable, "-c", OFF])  # noqa: S603  # our own text
    assert json.loads(ran) == []
