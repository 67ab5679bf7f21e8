"""Traces, where an SDK is installed: none of them has a token or a key."""

import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.config import Settings
from app.main import create_app
from app.services.tasks.receive import Receiver
from tests.api.stage import NOBODY, Sql
from tests.stage import serving

TOKEN = "t0ken-of-a-callback-AbCdEf"
TASK = UUID(NOBODY)
URLS = (
    f"/callbacks/kie/{TASK}/{TOKEN}",
    f"/callbacks/kie/{TASK}/{TOKEN}?again=1",
    f"/callbacks/kie/{TASK}/{TOKEN}/",
    f"/%63allbacks/kie/{TASK}/{TOKEN}",
    f"/callbacks%2Fkie%2F{TASK}%2F{TOKEN}",
    f"/base/callbacks/kie/{TASK}/{TOKEN}",
    f"/v1/tasks?url=https://h.test/callbacks/kie/{TASK}/{TOKEN}",
    f"/v1/tasks?url=https%3A%2F%2Fh.test%2Fcallbacks%2Fkie%2F{TASK}%2F{TOKEN}",
    f"/v1/tasks?api_key=kgw_{TOKEN}",
    f"/v1/tasks/kgw_{TOKEN}",
    f"/v1/tasks?secret=whsec_{TOKEN}",
)


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Have FastAPI trace everything into memory, as with OTEL_… variables to a collector."""
    found = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return found


@asynccontextmanager
async def gateway(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving(create_app(settings, worker=False)) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        yield http


def text(span: ReadableSpan) -> str:
    return str(span.to_json())


async def test_no_trace_has_a_token(
    exporter: InMemorySpanExporter,
    sql: Sql,  # noqa: ARG001  # its rows go after the test
    make_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
    logged: io.StringIO,
) -> None:
    async with gateway(make_settings()) as http:
        for url in URLS:
            method = "GET" if url.startswith("/v1/") else "POST"
            assert (await http.request(method, url)).status_code in {401, 404}, url

        def broken(*_: object) -> None:
            message = f"cannot read {URLS[0]}"
            raise RuntimeError(message)

        monkeypatch.setattr(Receiver, "admit", broken)
        assert (await http.post(URLS[0], json={})).status_code == 500
        await http.get("/v1/tasks?limit=1")
        await http.get("/livez")
    spans = exporter.get_finished_spans()
    assert {"GET /v1/tasks", "GET /livez"} <= {span.name for span in spans}
    told = [text(span) for span in spans if TOKEN in text(span)]
    assert told == []
    assert "request.broken" in logged.getvalue()
    assert TOKEN not in logged.getvalue()
