"""One trace of each task: a span for each step, in the trace of the request that created it.

Off, which is the default, spans record nothing and only pass their parent on. On, they are recorded
by OpenTelemetry's SDK and exported as OTLP over HTTP. Nothing of OpenTelemetry is imported before
`opened` is called, and nothing outside this package knows it.
"""

from app.traces.spans import Span, Step, Traces, opened

__all__ = ["Span", "Step", "Traces", "opened"]
