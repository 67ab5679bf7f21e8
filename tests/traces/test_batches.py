"""A collector that is slow or away keeps nobody waiting, and what it did not take is counted."""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from typing_extensions import override

from app.traces import Step, batches
from app.traces.batches import Batches
from app.traces.recording import RecordedTraces

PATIENCE = 10.0


@dataclass
class Slow(SpanExporter):
    """Answers once it may, as it is told to."""

    may: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)
    result: SpanExportResult | Exception = SpanExportResult.SUCCESS
    taken: int = 0

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        assert self.may.wait(PATIENCE)
        if isinstance(self.result, Exception):
            raise self.result
        self.taken += len(spans)
        return self.result

    @override
    def shutdown(self) -> None:
        pass


def traced(exporter: SpanExporter) -> tuple[RecordedTraces, Batches, "Counter[str]"]:
    counted: Counter[str] = Counter()

    def count(outcome: str, spans: int) -> None:
        counted[outcome] += spans

    queue = Batches(exporter, count, every=0.001)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(queue)
    return RecordedTraces(provider.get_tracer("tests"), queue), queue, counted


async def test_a_collector_that_does_not_answer_holds_up_nothing() -> None:
    slow = Slow()
    traces, queue, counted = traced(slow)
    with traces.span(Step.CREATE):
        pass
    assert slow.asked.wait(PATIENCE)  # one is on its way
    started = time.monotonic()
    for _ in range(batches.MOST + 10):
        with traces.span(Step.CREATE):
            pass
    assert time.monotonic() - started < PATIENCE / 2
    assert counted == {"dropped": 10}
    await traces.close(0.01)
    assert counted == {"dropped": 10 + batches.MOST}
    slow.may.set()
    queue._thread.join(PATIENCE)
    assert not queue._thread.is_alive()
    assert slow.taken == counted["exported"] == 1


async def test_a_collector_that_fails_is_counted_and_asked_again() -> None:
    slow = Slow(result=RuntimeError("away"))
    slow.may.set()
    traces, _, counted = traced(slow)
    with traces.span(Step.CREATE):
        pass
    deadline = time.monotonic() + PATIENCE
    while not counted["failed"] and time.monotonic() < deadline:
        slow.asked.wait(0.001)
    slow.result = SpanExportResult.SUCCESS
    with traces.span(Step.CREATE):
        pass
    await traces.close(PATIENCE)
    assert counted["exported"] == counted["failed"] == slow.taken == 1
