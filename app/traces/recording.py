"""Spans as OpenTelemetry's SDK records them."""

import asyncio
import time
from collections.abc import Mapping
from importlib import metadata
from types import TracebackType

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)
from opentelemetry.trace import Span as Recorded
from typing_extensions import Unpack, override

from app.log import redacted
from app.traces.batches import Batches
from app.traces.spans import Attributes, Count, Span, Step, Traces

KINDS: Mapping[Step, SpanKind] = {
    Step.CREATE: SpanKind.SERVER,
    Step.SUBMIT: SpanKind.CLIENT,
    Step.CALLBACK: SpanKind.SERVER,
    Step.QUERY: SpanKind.CLIENT,
    Step.DELIVERY: SpanKind.CLIENT,
}

FLUSH = 5.0
"""Seconds that a collector which does not answer may delay the end of a process."""


def recording(count: Count) -> Traces:
    """Start the export; where it goes to, and what is sampled, is in the environment."""
    version = metadata.version("kie-gateway")
    batches = Batches(OTLPSpanExporter(), count)
    own = Resource({SERVICE_NAME: "kie-gateway", SERVICE_VERSION: version})
    given = Resource.create()
    if str(given.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = given.merge(own)
    else:
        resource = own.merge(given)
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(batches)
    return RecordedTraces(provider.get_tracer("kie-gateway", version), batches)


class RecordedTraces(Traces):
    """Makes spans that are recorded."""

    def __init__(self, tracer: Tracer, batches: Batches) -> None:
        self._tracer = tracer
        self._batches = batches

    @override
    def span(self, step: Step, parent: str | None = None) -> Span:
        return RecordedSpan(self._tracer, step, parent)

    @override
    async def close(self, within: float) -> None:
        await asyncio.to_thread(self._batches.end, min(within, FLUSH))


class RecordedSpan(Span):
    """A step that is recorded: begun in the SDK once its parent is known."""

    __slots__ = ("_found", "_started", "_step", "_tracer")

    def __init__(self, tracer: Tracer, step: Step, parent: str | None) -> None:
        super().__init__(parent)
        self._tracer = tracer
        self._step = step
        self._started = time.time_ns()
        self._found: Recorded | None = None

    @override
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        span = self._recorded()
        if kind is not None:  # its type only: texts quote what they are about
            span.set_attribute("error.type", kind.__qualname__)
            span.set_status(StatusCode.ERROR)
        span.end()

    @property
    @override
    def traceparent(self) -> str | None:
        context = self._recorded().get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    @override
    def note(self, **attributes: Unpack[Attributes]) -> None:
        span = self._recorded()
        for name, value in attributes.items():
            if value is not None:
                plain = value if isinstance(value, int) else str(redacted(str(value)))
                span.set_attribute(f"kie_gateway.{name}", plain)

    def _recorded(self) -> Recorded:
        if self._found is None:
            self._found = self._tracer.start_span(
                self._step,
                context=_context(self._parent),
                kind=KINDS[self._step],
                start_time=self._started,
                record_exception=False,
                set_status_on_exception=False,
            )
        return self._found


def _context(traceparent: str | None) -> Context:
    """Return what a valid traceparent names; what is current in the process does not matter."""
    if traceparent is None:
        return Context()
    _, trace_id, span_id, flags = traceparent.split("-")
    remote = SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
    )
    return set_span_in_context(NonRecordingSpan(remote), Context())
