"""Metrics of what is kept, and of what was deleted."""

from app.metrics.metric import Kind, Metric

DELETED = Metric(
    name="kie_gateway_deleted_total",
    kind=Kind.COUNTER,
    labels={
        "kind": (
            *("tasks", "erased", "callback_bodies", "stray_callbacks", "delivery_bodies"),
            "tombstones",
        )
    },
    meaning="What was deleted: tasks by age, erased tasks, old bodies of callbacks and deliveries "
    "(their rows stay), callbacks about no task, tombstones of erased tasks.",
)
TABLE_BYTES = Metric(
    name="kie_gateway_table_bytes",
    kind=Kind.GAUGE,
    labels={"table": "each table of the gateway's"},
    meaning="Bytes on disk, with indexes and large values; looked at once a minute.",
    alert="what the disk has",
    from_database=True,
)
OLDEST = Metric(
    name="kie_gateway_oldest_seconds",
    kind=Kind.GAUGE,
    labels={"kind": ("task", "raw")},
    meaning="Age of the oldest that is kept: `task`, since its final state; `raw`, of a body as it "
    "came.",
    from_database=True,
)
RETENTION_LAG = Metric(
    name="kie_gateway_retention_lag_seconds",
    kind=Kind.GAUGE,
    labels={"kind": ("task", "raw")},
    meaning="For how long the oldest should have been gone (GATEWAY_RETENTION_DAYS, "
    "GATEWAY_RAW_RETENTION_DAYS); 0 where it is kept for ever.",
    alert="over a day",
    from_database=True,
)
METRICS = (DELETED, TABLE_BYTES, OLDEST, RETENTION_LAG)
