"""The Grafana dashboard, made from the metric catalogue: `docs/dashboard.json`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from app.metrics.catalogue import CATALOGUE, PREFIX
from app.metrics.metric import Kind, Metric

_HERE = "panels, one a line: a changed metric is a changed line"
_WIDTH, _HEIGHT, _COLUMNS = 8, 7, 3

ROWS: Mapping[str, tuple[str, ...]] = {
    "Tasks": (
        *("tasks", "oldest_queued_seconds", "overdue_seconds", "task_duration_seconds"),
        *("failures_total", "swept_tasks_total", "tasks_set_aside", "feed_lag_seconds"),
    ),
    "Spend": (
        *("unexplained_credits", "unexplained_alert_credits", "models_failing"),
        *("budget_refused_total", "budget_thresholds_total", "budget_overshoot_total"),
        *("budget_overshoot_credits_total", "reserves_fixed_total", "paid_twice_total"),
        "outcomes_dropped_total",
    ),
    "kie.ai": (
        *("submissions_total", "create_duration_seconds", "queries_total"),
        *("query_duration_seconds", "admission_held", "held_pairs"),
        *("create_slots_free", "running_seats_free", "callbacks_total"),
        *("callbacks_not_kept_total", "callbacks_rejected_total", "disagreements_total"),
        "amendments_total",
    ),
    "Deliveries": (),
    "HTTP": (),
    "Processes": (),
}
"""Which metrics are in which row, by the ends of their names; others go where they belong by
`_BEGINNINGS`, and the rest to the last row."""

_BEGINNINGS = {
    "deliver": "Deliveries",
    "urls_": "Deliveries",
    "request": "HTTP",
    "auth_": "HTTP",
    "edge_": "HTTP",
    "limited_": "HTTP",
    "held": "HTTP",
    "bytes_under_way": "HTTP",
}


_LESS_IS_WORSE = {
    f"{PREFIX}database_up",
    f"{PREFIX}create_slots_free",
    f"{PREFIX}running_seats_free",
}


def _row_of(metric: Metric) -> str:
    short = metric.name.removeprefix(PREFIX)
    listed = (row for row, names in ROWS.items() if short in names)
    begun = (row for start, row in _BEGINNINGS.items() if short.startswith(start))
    return next(listed, None) or next(begun, "Processes")


def _expressions(metric: Metric) -> Sequence[tuple[str, str]]:
    """Return what is drawn of a metric: PromQL, and the legend."""
    chosen = f'{metric.name}{{job=~"$job"}}'
    by = ", ".join(metric.labels)
    legend = " ".join(f"{{{{{name}}}}}" for name in metric.labels) or "all"
    if metric.kind is Kind.HISTOGRAM:
        buckets = f'{metric.name}_bucket{{job=~"$job"}}'
        return [
            (f"histogram_quantile({q}, sum by (le) (rate({buckets}[$__rate_interval])))", f"p{n}")
            for q, n in ((0.5, 50), (0.95, 95))
        ]
    if metric.kind is Kind.COUNTER:
        summed = f"sum by ({by})" if by else "sum"
        return [(f"{summed} (rate({chosen}[$__rate_interval]))", legend)]
    # A gauge from the database is the same of every process; of a process the worst counts.
    worst = "min" if metric.name in _LESS_IS_WORSE else "max"
    return [(f"{worst} by ({by}) ({chosen})" if by else f"{worst} ({chosen})", legend)]


def _panel(metric: Metric, number: int, place: int, y: int) -> dict[str, Any]:
    is_seconds = "_seconds" in metric.name
    unit = "s" if is_seconds else "bytes" if "bytes" in metric.name else "short"
    return {
        "id": number,
        "type": "timeseries",
        "title": metric.name.removeprefix(PREFIX),
        "description": metric.meaning,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {
            "x": place % _COLUMNS * _WIDTH,
            "y": y + place // _COLUMNS * _HEIGHT,
            "w": _WIDTH,
            "h": _HEIGHT,
        },
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "expr": expr, "legendFormat": legend}
            for index, (expr, legend) in enumerate(_expressions(metric))
        ],
    }


def _panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = []
    y = 0
    for title, order in ROWS.items():
        own = [metric for metric in CATALOGUE if _row_of(metric) == title]
        own.sort(key=lambda metric: _place(metric, order))
        header = {"x": 0, "y": y, "w": _WIDTH * _COLUMNS, "h": 1}
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": title, "gridPos": header, "panels": []}
        )
        y += 1
        for place, metric in enumerate(own):
            panels.append(_panel(metric, len(panels) + 1, place, y))
        y += -(-len(own) // _COLUMNS) * _HEIGHT
    return panels


def _place(metric: Metric, order: Sequence[str]) -> int:
    short = metric.name.removeprefix(PREFIX)
    return order.index(short) if short in order else len(order)


def dashboard() -> str:
    """Write the dashboard as JSON that Grafana imports."""
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
        {
            "name": "job",
            "type": "query",
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "query": {"query": "label_values(kie_gateway_build_info, job)", "refId": "job"},
            "includeAll": True,
            "multi": True,
            "current": {"text": "All", "value": "$__all"},
            "refresh": 2,
        },
    ]
    panels = ",\n".join(f"  {json.dumps(panel)}" for panel in _panels())
    made = {
        "title": "kie-gateway",
        "uid": "kie-gateway",
        "schemaVersion": 39,
        "tags": ["kie-gateway"],
        "timezone": "utc",
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": variables},
        "panels": [_HERE],
    }
    return (
        json.dumps(made, indent=1).replace(f' "panels": [\n  "{_HERE}"', f' "panels": [\n{panels}')
        + "\n"
    )
