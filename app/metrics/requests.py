"""The metrics of what comes in: requests, and what became none."""

from app.domain.access import Reason, Surface
from app.domain.limits import Held, Limited
from app.metrics.metric import Kind, Metric

REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 3, 10, 30, 60)
"""Seconds: from a read by index to the longest `wait`."""

EDGE_REASONS = (
    "malformed_request",
    "headers_too_large",
    "url_too_long",
    "request_timeout",
    "silent",
    "crowded",
    "endless_body",
    "upgrade",
)
"""What is refused, closed or ignored before the application hears of it."""

REQUESTS = Metric(
    name="kie_gateway_requests_total",
    kind=Kind.COUNTER,
    labels={
        "route": "a route's template, or `unmatched`",
        "method": "HTTP's own methods, or `other`",
        "status": "the answer's status, or `none` where nobody waited for one",
    },
    meaning="Requests that were answered.",
    alert='a rising share of `status=~"5.."`',
)
REQUEST_DURATION = Metric(
    name="kie_gateway_request_duration_seconds",
    kind=Kind.HISTOGRAM,
    labels={"route": "as above", "method": "as above"},
    buckets=REQUEST_BUCKETS,
    meaning="From a request's head to the end of its answer, a `wait` or a stream included.",
    alert='`route=~"/callbacks/.*"` beyond 10 s: kie.ai hangs up after 15',
)
AUTH_REFUSED = Metric(
    name="kie_gateway_auth_refused_total",
    kind=Kind.COUNTER,
    labels={"surface": tuple(Surface), "reason": tuple(Reason)},
    meaning="Keys that were refused: of callers (`api`) and of operators (`admin`), by reason.",
    alert="a high rate of `malformed` or `unknown`: somebody guesses; `expired`, `disabled` or "
    "`scope`: a caller needs another key. The log's `auth.refused` has addresses",
)
EDGE_REFUSED = Metric(
    name="kie_gateway_edge_refused_total",
    kind=Kind.COUNTER,
    labels={"reason": EDGE_REASONS},
    meaning="What did not become a request: refused as in errors.md; closed because nothing came "
    "(`silent`), because too many strangers are connected (`crowded`) or because a refused body "
    "does not end (`endless_body`); and asked for another protocol, answered as HTTP (`upgrade`).",
    alert="`crowded`: a flood of connections, or GATEWAY_MAX_CONNECTIONS is too low",
)
LIMITED = Metric(
    name="kie_gateway_limited_total",
    kind=Kind.COUNTER,
    labels={"kind": tuple(Limited)},
    meaning="Requests that were over a limit of their client. All are refused but a `refresh` of a "
    "task that was refreshed less than 5 s before, which is answered with what is known.",
    alert="a rate that lasts: a client that does not wait, or needs more; the log's "
    "`client.limited` names it",
)
HELD = Metric(
    name="kie_gateway_held",
    kind=Kind.GAUGE,
    labels={"kind": tuple(Held)},
    meaning="Answers that this process holds open: waits for final states, and streams of events; "
    "and uploads of files that are under way.",
    alert="the sum of a process near GATEWAY_MAX_HELD: then everybody's are refused",
)
UPLOADS = Metric(
    name="kie_gateway_uploads_total",
    kind=Kind.COUNTER,
    labels={
        "outcome": ("stored", "refused", "stalled", "cut_off", "unanswered", "unrecorded"),
    },
    meaning="Uploads of files by how they ended: with kie.ai and recorded (`stored`), refused by "
    "the gateway or by kie.ai, without progress for too long (`stalled`), given up by the sender "
    "(`cut_off`), not taken by kie.ai (`unanswered`), or taken and not recorded, because "
    "PostgreSQL was away (`unrecorded`).",
    alert="`unanswered`: kie.ai's upload host, or GATEWAY_KIE_UPLOAD_URL",
)
UPLOADED_BYTES = Metric(
    name="kie_gateway_uploaded_bytes_total",
    kind=Kind.COUNTER,
    meaning="Bytes of the files that were stored.",
)

METRICS = (
    REQUESTS,
    REQUEST_DURATION,
    AUTH_REFUSED,
    EDGE_REFUSED,
    LIMITED,
    HELD,
    UPLOADS,
    UPLOADED_BYTES,
)
