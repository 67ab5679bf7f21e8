"""The metrics of the archive."""

from app.domain.files import Trouble
from app.metrics.metric import Kind, Metric

ARCHIVED = Metric(
    name="kie_gateway_artifacts_total",
    kind=Kind.COUNTER,
    labels={"outcome": ("stored", "failed", "removed")},
    meaning="Result files by how their copying ended: `stored`, or `failed` (given up; the task "
    "names the reason); and copies that were `removed`.",
    alert="`failed`: results vanish at kie.ai, and the archive has none of them",
)
ARCHIVED_BYTES = Metric(
    name="kie_gateway_archived_bytes_total",
    kind=Kind.COUNTER,
    meaning="Bytes of the files that were stored.",
)
NOT_ARCHIVED = Metric(
    name="kie_gateway_artifact_troubles_total",
    kind=Kind.COUNTER,
    labels={"trouble": tuple(Trouble)},
    meaning="Tries to copy a result file that failed, by what was wrong. Most are tried again.",
    alert="`store`: the archive does not take files; `blocked`: a result names an inner address",
)
ARCHIVE_LAG = Metric(
    name="kie_gateway_archive_lag_seconds",
    kind=Kind.HISTOGRAM,
    buckets=(1, 5, 30, 60, 300, 900, 3600, 21600, 86400, 604800, 1209600),
    meaning="From a result to its file's end: stored, or given up.",
)
METRICS = (ARCHIVED, ARCHIVED_BYTES, NOT_ARCHIVED, ARCHIVE_LAG)
