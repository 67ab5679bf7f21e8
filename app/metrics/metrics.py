"""Counting: one method for each thing that happens, and one page that tells all."""

import itertools
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from uuid import UUID

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE

from app.metrics import catalogue
from app.metrics.catalogue import Metric

__all__ = ["CONTENT_TYPE", "Metrics"]

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""What callers write elsewhere must not become a label."""

UNMATCHED = "unmatched"
OTHER = "other"
NO_ANSWER = "none"

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series beside each counter, that nobody asks for


class Metrics:
    """One process's numbers. Every label has few values; none holds an id, a model or a client."""

    def __init__(
        self, version: str, clock: Callable[[], datetime], monotonic: Callable[[], float]
    ) -> None:
        self.now = monotonic
        """Seconds, to take durations from."""
        self._clock = clock
        self._registry = CollectorRegistry()
        self._of_database = CollectorRegistry()
        self._database_known = False
        ProcessCollector(registry=self._registry)
        self._requests = self._counter(catalogue.REQUESTS)
        self._request_duration = self._histogram(catalogue.REQUEST_DURATION)
        self._submissions = self._counter(catalogue.SUBMISSIONS)
        self._create_duration = self._histogram(catalogue.CREATE_DURATION)
        self._callbacks = self._counter(catalogue.CALLBACKS)
        self._rejected = self._counter(catalogue.CALLBACKS_REJECTED)
        self._queries = self._counter(catalogue.QUERIES)
        self._query_duration = self._histogram(catalogue.QUERY_DURATION)
        self._task_duration = self._histogram(catalogue.TASK_DURATION)
        self._swept = self._counter(catalogue.SWEPT)
        self._paid_twice = self._counter(catalogue.PAID_TWICE)
        self._disagreements = self._counter(catalogue.DISAGREEMENTS)
        self._attempts = self._counter(catalogue.DELIVERY_ATTEMPTS)
        self._lag = self._histogram(catalogue.DELIVERY_LAG)
        self._exhausted = self._counter(catalogue.DELIVERIES_EXHAUSTED)
        self._tasks = self._gauge(catalogue.TASKS, self._of_database)
        self._oldest_queued = self._gauge(catalogue.OLDEST_QUEUED, self._of_database)
        self._overdue = self._gauge(catalogue.OVERDUE, self._of_database)
        self._held = self._gauge(catalogue.ADMISSION_HELD, self._of_database)
        for reason in catalogue.HOLDS:
            self._held.labels(reason)
        self._slots_free = self._gauge(catalogue.CREATE_SLOTS_FREE, self._of_database)
        self._seats_free = self._gauge(catalogue.RUNNING_SEATS_FREE, self._of_database)
        self._set_aside = self._gauge(catalogue.TASKS_SET_ASIDE, self._of_database)
        self._database_up = self._gauge(catalogue.DATABASE_UP)
        self._silent = self._gauge(catalogue.LOOP_SILENT)
        self._stuck = self._gauge(catalogue.LOOP_STUCK)
        self._pool_in_use = self._gauge(catalogue.POOL_IN_USE)
        self._pool_size = self._gauge(catalogue.POOL_SIZE)
        self._gauge(catalogue.BUILD).labels(version=version).set(1)

    # -- what happens

    def answered(self, route: str | None, method: str, status: int | None, seconds: float) -> None:
        """Count a request; `route` is the template of the route that took it, if any did."""
        route = route or UNMATCHED
        method = method if method in METHODS else OTHER
        self._requests.labels(route, method, str(status or NO_ANSWER)).inc()
        self._request_duration.labels(route, method).observe(seconds)

    def sent(self, outcome: str, seconds: float) -> None:
        """Count a create that ended."""
        self._submissions.labels(outcome).inc()
        self._create_duration.observe(seconds)

    def called_back(self, verdict: str) -> None:
        self._callbacks.labels(verdict).inc()

    def rejected(self) -> None:
        """Count a callback with a wrong token."""
        self._rejected.inc()

    def asked(self, answer: str, seconds: float) -> None:
        """Count a question that ended."""
        self._queries.labels(answer).inc()
        self._query_duration.observe(seconds)

    def settled(self, task_id: UUID, settled_by: str, state: str) -> None:
        """Measure a task from its creation to its end."""
        age = self._clock().timestamp() - _born(task_id)
        self._task_duration.labels(settled_by, state).observe(max(0.0, age))

    def swept(self, state: str, tasks: int) -> None:
        self._swept.labels(state).inc(tasks)

    def paid_twice(self) -> None:
        self._paid_twice.inc()

    def attempted(self, result: str, *, first: bool, lag: float) -> None:
        """Count an attempt to tell a caller; `lag` in seconds since there was something to tell."""
        self._attempts.labels(result).inc()
        if first:
            self._lag.labels("first_attempt").observe(lag)
        if result == "delivered":
            self._lag.labels("delivered").observe(lag)

    def exhausted(self) -> None:
        """Count a delivery that is given up."""
        self._exhausted.inc()

    def disagreed(self, source: str) -> None:
        self._disagreements.labels(source).inc()

    # -- how things are

    def show_tasks(
        self, tasks: Mapping[str, int], oldest_queued: float, overdue: Mapping[str, float]
    ) -> None:
        """Show what the database holds; ages in seconds."""
        self._told_by_database(known=True)
        self._oldest_queued.set(oldest_queued)
        for state, count in tasks.items():
            self._tasks.labels(state).set(count)
        for work, seconds in overdue.items():
            self._overdue.labels(work).set(seconds)

    def show_admission(
        self, held: Collection[str], *, slots_free: int, seats_free: int, set_aside: int
    ) -> None:
        """Show what keeps tasks in the queue; `held` are the reasons for which all wait."""
        for reason in catalogue.HOLDS:
            self._held.labels(reason).set(reason in held)
        self._slots_free.set(slots_free)
        self._seats_free.set(seats_free)
        self._set_aside.set(set_aside)

    def show_database_away(self) -> None:
        """Leave out what nobody knows rather than tell what was."""
        self._told_by_database(known=False)

    def show_loops(self, silences: Mapping[str, float], stuck: Collection[str]) -> None:
        for loop, seconds in silences.items():
            self._silent.labels(loop).set(seconds)
            self._stuck.labels(loop).set(loop in stuck)

    def show_pool(self, *, checked_out: int, size: int) -> None:
        self._pool_in_use.set(checked_out)
        self._pool_size.set(size)

    def page(self) -> bytes:
        """Write everything in Prometheus's text format, `CONTENT_TYPE`."""
        known = generate_latest(self._of_database) if self._database_known else b""
        return generate_latest(self._registry) + known

    def _told_by_database(self, *, known: bool) -> None:
        self._database_known = known
        self._database_up.set(known)

    # -- making them

    def _counter(self, metric: Metric) -> Counter:
        """Make a counter that begins at 0 wherever its values are known: a rate needs a start."""
        made = Counter(metric.name, metric.meaning, metric.labels, registry=self._registry)
        if metric.labels and metric.words.keys() == metric.labels.keys():
            for words in itertools.product(*metric.words.values()):
                made.labels(*words)
        return made

    def _gauge(self, metric: Metric, registry: CollectorRegistry | None = None) -> Gauge:
        registry = registry or self._registry
        return Gauge(metric.name, metric.meaning, metric.labels, registry=registry)

    def _histogram(self, metric: Metric) -> Histogram:
        return Histogram(
            metric.name,
            metric.meaning,
            metric.labels,
            buckets=metric.buckets,
            registry=self._registry,
        )


def _born(task_id: UUID) -> float:
    """Read the instant in a UUIDv7 (RFC 9562 section 5.7), in seconds since 1970."""
    return (task_id.int >> 80) / 1000
