"""The page about the metrics, made from the catalogue."""

import json

from app.metrics.alerts import ALERTS, Alert
from app.metrics.catalogue import CATALOGUE
from app.metrics.metric import Metric

_PAGE = """\
# Metrics

`GET /metrics` in Prometheus's text format, without a key: keep it internal, as `/readyz`. It is on
the port of `serve` (GATEWAY_LISTEN, but not with `--surface callbacks`) and on the worker's own
(GATEWAY_WORKER_LISTEN); with GATEWAY_METRICS_LISTEN it is on a port of its own instead, of every
kind of process.

- Each process shows its own counts; sum them. What comes from the database is the same from every
  process: take the `max`. It is looked up at most every 5 s, however often it is scraped, and while
  PostgreSQL is away everything else is shown all the same.
- No label holds an id, a model, a client or anything that a caller wrote; all values are listed
  here.
- The process's own numbers have their usual names: `process_cpu_seconds_total`,
  `process_resident_memory_bytes`, `process_open_fds`, `process_start_time_seconds` and so on.

| metric | type | labels | meaning | alert on |
|---|---|---|---|---|
{table}
## Alert rules

For Prometheus's `rule_files`; every metric in them is listed above.

```yaml
groups:
  - name: kie-gateway
    rules:
{alerts}```

`kie_gateway_loop_stuck` covers the loops of running processes; `kie_gateway_overdue_seconds` also
notices when no process runs any. On a machine without Prometheus, `kie-gateway doctor` checks the
same, and `kie-gateway doctor --url http://…` asks a running process. The log says `loop.stuck` once
when a loop hangs, and `loop.back` once when it goes on.

## Dashboard

[dashboard.json](dashboard.json) is a dashboard for Grafana with every metric of this page: import
it, and choose the Prometheus.

Both are made from the code: `make docs`.
"""

_ALERT = """\
      - alert: {name}
        expr: {expr}
        for: {lasting}
        labels: {{severity: {severity}}}
        annotations: {{summary: {summary}}}
"""


def metrics_page() -> str:
    return _PAGE.format(
        table="".join(_row(metric) for metric in CATALOGUE),
        alerts="".join(_rule(alert) for alert in ALERTS),
    )


def _row(metric: Metric) -> str:
    labels = "; ".join(_label(name, values) for name, values in metric.labels.items())
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.meaning} | {metric.alert} |\n"


def _label(name: str, values: tuple[str, ...] | str) -> str:
    listed = values if isinstance(values, str) else ", ".join(f"`{value}`" for value in values)
    return f"`{name}`: {listed}"


def _rule(alert: Alert) -> str:
    """Write a rule as YAML; a JSON string is one of YAML's."""
    return _ALERT.format(
        name=alert.name,
        expr=json.dumps(alert.expr),
        lasting=alert.lasting,
        severity=alert.severity,
        summary=json.dumps(alert.summary),
    )
