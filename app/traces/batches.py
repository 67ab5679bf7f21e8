"""Spans on their way out: nobody waits for the collector, and what it does not take is counted.

The SDK's own `BatchSpanProcessor` counts what it drops nowhere that we could read, and waits up to
30 s at its end whatever time is left.
"""

import threading
from collections import deque

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from typing_extensions import override

from app.traces.spans import Count

MOST = 2048
"""Spans that wait at most; of more the newest are dropped."""

BATCH = 512
"""Spans in one request."""

EVERY = 2.0
"""Seconds after which what waits is sent, though it is no whole batch."""


class Batches(SpanProcessor):
    """Exports in a thread of its own, which does not keep the process from ending."""

    def __init__(self, exporter: SpanExporter, count: Count, *, every: float = EVERY) -> None:
        self._exporter = exporter
        self._count = count
        self._every = every
        self._waiting: deque[ReadableSpan] = deque()
        self._wake = threading.Event()
        self._ending = self._over = False
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    @override
    def on_end(self, span: ReadableSpan) -> None:
        context = span.get_span_context()
        if context is None or not context.trace_flags.sampled:
            return
        if self._ending or len(self._waiting) >= MOST:
            self._count("dropped", 1)
            return
        self._waiting.append(span)
        if len(self._waiting) >= BATCH:
            self._wake.set()

    def end(self, seconds: float) -> None:
        """Send what waits, for so many seconds at most; the rest is dropped."""
        self._ending = True
        self._wake.set()
        self._thread.join(seconds)
        self._over = True
        self._count("dropped", len(self._waiting))
        self._exporter.shutdown()

    def _run(self) -> None:
        while not self._ending:
            self._wake.wait(self._every)
            self._wake.clear()
            while self._waiting and not self._over:
                some = min(BATCH, len(self._waiting))
                self._export([self._waiting.popleft() for _ in range(some)])

    def _export(self, batch: list[ReadableSpan]) -> None:
        try:
            taken = self._exporter.export(batch) is SpanExportResult.SUCCESS
        except Exception:  # noqa: BLE001  # whatever the exporter meets, the thread goes on
            taken = False
        self._count("exported" if taken else "failed", len(batch))
