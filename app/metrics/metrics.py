"""Counting: one method for each thing that happens, and the page that shows all counts."""

import itertools
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from decimal import Decimal
from typing import TypeVar
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

from app.domain.limits import Held
from app.domain.replicas import SHARED_SETTINGS
from app.domain.task import created_at
from app.metrics import catalogue, files, keeping, requests, spend
from app.metrics.catalogue import CATALOGUE
from app.metrics.metric import Kind, Metric

Collector = TypeVar("Collector", Counter, Gauge, Histogram)

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
        self._from_database = CollectorRegistry()
        self._database_known = False
        self._counters: dict[tuple[str, ...], Counter] = {}
        self._gauges: dict[tuple[str, ...], Gauge] = {}
        self._histograms: dict[tuple[str, ...], Histogram] = {}
        ProcessCollector(registry=self._registry)
        for metric in CATALOGUE:
            self._make(metric)
        for reason in catalogue.HOLDS:
            self._set(catalogue.ADMISSION_HELD, 0, reason)
        self.show_replicas(clock_ahead=0.0, differing=())
        for kind in Held:
            self.show_held(kind, 0)
        self._set(catalogue.BUILD, 1, version)

    # -- what happens

    def answered(self, route: str | None, method: str, status: int | None, seconds: float) -> None:
        """Count a request; `route` is the template of the route that took it, if any did."""
        route = route or UNMATCHED
        method = method if method in METHODS else OTHER
        self._count(requests.REQUESTS, route, method, str(status or NO_ANSWER))
        self._observe(requests.REQUEST_DURATION, seconds, route, method)

    def refused_key(self, surface: str, reason: str) -> None:
        """Count a key that was refused."""
        self._count(requests.AUTH_REFUSED, surface, reason)

    def refused_at_the_edge(self, reason: str) -> None:
        """Count what did not become a request."""
        self._count(requests.EDGE_REFUSED, reason)

    def uploaded(self, outcome: str, size: int) -> None:
        """Count an upload by how it ended, and the bytes of one that is stored."""
        self._count(requests.UPLOADS, outcome)
        self._count(requests.UPLOADED_BYTES, by=size)

    def limited(self, kind: str) -> None:
        """Count a request that was one too many of its client."""
        self._count(requests.LIMITED, kind)

    def submitted(self, outcome: str, seconds: float) -> None:
        """Count a create that ended."""
        self._count(catalogue.SUBMISSIONS, outcome)
        self._observe(catalogue.CREATE_DURATION, seconds)

    def called_back(self, verdict: str) -> None:
        self._count(catalogue.CALLBACKS, verdict)

    def not_kept(self, reason: str) -> None:
        """Count a statement of kie.ai's that got no row of its own, or not a whole one."""
        self._count(catalogue.CALLBACKS_NOT_KEPT, reason)

    def rejected(self) -> None:
        """Count a callback with a wrong token."""
        self._count(catalogue.CALLBACKS_REJECTED)

    def queried(self, answer: str, seconds: float) -> None:
        """Count a query that ended."""
        self._count(catalogue.QUERIES, answer)
        self._observe(catalogue.QUERY_DURATION, seconds)

    def settled(self, task_id: UUID, settled_by: str, state: str) -> None:
        """Measure a task from its creation to its final state."""
        age = self._clock().timestamp() - created_at(task_id)
        self._observe(catalogue.TASK_DURATION, max(0.0, age), settled_by, state)

    def swept(self, state: str, tasks: int) -> None:
        self._count(catalogue.SWEPT, state, by=tasks)

    def outcome_dropped(self) -> None:
        """Count a create's outcome that could not be recorded."""
        self._count(catalogue.OUTCOMES_DROPPED)

    def paid_twice(self) -> None:
        self._count(catalogue.PAID_TWICE)

    def attempted(self, result: str, *, first: bool, lag: float) -> None:
        """Count a delivery attempt; `lag` in seconds since the event."""
        self._count(catalogue.DELIVERY_ATTEMPTS, result)
        if first:
            self._observe(catalogue.DELIVERY_LAG, lag, "first_attempt")
        if result == "delivered":
            self._observe(catalogue.DELIVERY_LAG, lag, "delivered")

    def exhausted(self) -> None:
        """Count a delivery that is given up."""
        self._count(catalogue.DELIVERIES_EXHAUSTED)

    def written_briefly(self) -> None:
        """Count a delivery whose task could not be written whole."""
        self._count(catalogue.DELIVERIES_BRIEF)

    def undeliverable(self) -> None:
        """Count a delivery that can never be made."""
        self._count(catalogue.DELIVERIES_UNDELIVERABLE)

    def url_disabled(self, reason: str) -> None:
        """Count a client's URL that is not called any more."""
        self._count(catalogue.URLS_DISABLED, reason)

    def failed(self, fail_class: str) -> None:
        """Count a failure that kie.ai told of."""
        self._count(catalogue.FAILURES, fail_class)

    def amended(self, kind: str) -> None:
        """Count an end that later evidence filled or corrected."""
        self._count(catalogue.AMENDMENTS, kind)

    def disagreed(self, source: str) -> None:
        self._count(catalogue.DISAGREEMENTS, source)

    def overloaded(self) -> None:
        """Count a request that was one too many."""
        self._count(catalogue.OVERLOADED)

    def budget_refused(self, reason: str) -> None:
        """Count a create that a hard budget did not allow."""
        self._count(spend.BUDGET_REFUSED, reason)

    def threshold_reached(self, period: str) -> None:
        """Count a threshold of a budget that is announced."""
        self._count(spend.BUDGET_THRESHOLDS, period)

    def budget_overshot(self, by: Decimal) -> None:
        """Count a task that cost so much more than was reserved for it."""
        self._count(spend.BUDGET_OVERSHOOT)
        self._count(spend.BUDGET_OVERSHOOT_CREDITS, by=float(by))

    def reserve_fixed(self) -> None:
        """Count a reserve that was not its tasks'."""
        self._count(spend.RESERVES_FIXED)

    def deleted(self, kind: str, amount: int) -> None:
        """Count what went because it was old, or was to be erased."""
        self._count(keeping.DELETED, kind, by=amount)

    def traced(self, outcome: str, spans: int) -> None:
        """Count spans by what became of them; from any thread."""
        self._count(catalogue.SPANS, outcome, by=spans)

    # -- how things are

    def show_tasks(
        self, tasks: Mapping[str, int], oldest_queued: float, overdue: Mapping[str, float]
    ) -> None:
        """Show what the database holds; ages in seconds."""
        self._show_database(known=True)
        self._set(catalogue.OLDEST_QUEUED, oldest_queued)
        for state, count in tasks.items():
            self._set(catalogue.TASKS, count, state)
        for work, seconds in overdue.items():
            self._set(catalogue.OVERDUE, seconds, work)

    def show_admission(
        self,
        held: Collection[str],
        held_pairs: Mapping[str, int],
        *,
        slots_free: int,
        seats_free: int,
        set_aside: int,
    ) -> None:
        """Show what keeps tasks in the queue.

        `held` are the reasons for which all wait, `held_pairs` how many pairs do, by reason.
        """
        for reason in catalogue.HOLDS:
            self._set(catalogue.ADMISSION_HELD, reason in held, reason)
        for reason in catalogue.PAIR_HOLDS:
            self._set(catalogue.HELD_PAIRS, held_pairs.get(reason, 0), reason)
        self._set(catalogue.CREATE_SLOTS_FREE, slots_free)
        self._set(catalogue.RUNNING_SEATS_FREE, seats_free)
        self._set(catalogue.TASKS_SET_ASIDE, set_aside)

    def show_withdrawn(self, models: int) -> None:
        """Show of how many models every task fails."""
        self._set(spend.MODELS_FAILING, models)

    def show_unexplained(self, lost: float, alert: float) -> None:
        """Show the credits that were lost unexplained, and how many are too many."""
        self._set(spend.UNEXPLAINED, lost)
        self._set(spend.UNEXPLAINED_ALERT, alert)

    def show_troubled_urls(self, counts: Mapping[str, int]) -> None:
        """Show how many URLs are called by few attempts at once, by `failing` and `slow`."""
        for state, count in counts.items():
            self._set(catalogue.TROUBLED_URLS, count, state)

    def show_room(
        self, sizes: Mapping[str, int], oldest: Mapping[str, float], lag: Mapping[str, float]
    ) -> None:
        """Show bytes by table, and by `task` and `raw` the oldest, and for how long it is due."""
        for table, size in sizes.items():
            self._set(keeping.TABLE_BYTES, size, table)
        for kind, seconds in oldest.items():
            self._set(keeping.OLDEST, seconds, kind)
            self._set(keeping.RETENTION_LAG, lag[kind], kind)

    def show_feed(self, lag: float) -> None:
        """Show for how many seconds an event has waited for its position."""
        self._set(catalogue.FEED_LAG, lag)

    def archived(self, outcome: str, size: int, lag: float) -> None:
        """Count a file that was stored, given up or removed; `lag`: seconds since its result."""
        self._count(files.ARCHIVED, outcome)
        if outcome != "removed":
            self._observe(files.ARCHIVE_LAG, lag)
        if size:
            self._count(files.ARCHIVED_BYTES, by=size)

    def not_archived(self, trouble: str) -> None:
        """Count a try to copy a file that failed."""
        self._count(files.NOT_ARCHIVED, trouble)

    def show_database_away(self) -> None:
        """Leave out what nobody knows, rather than show old values."""
        self._show_database(known=False)

    def show_loops(self, silences: Mapping[str, float], stuck: Collection[str]) -> None:
        for loop, seconds in silences.items():
            self._set(catalogue.LOOP_SILENT, seconds, loop)
            self._set(catalogue.LOOP_STUCK, loop in stuck, loop)

    def show_replicas(self, *, clock_ahead: float, differing: Collection[str]) -> None:
        """Show what the last heartbeat found."""
        self._set(catalogue.CLOCK_AHEAD, clock_ahead)
        for setting in SHARED_SETTINGS:
            self._set(catalogue.SETTINGS_DIFFER, setting in differing, setting)

    def show_held(self, kind: str, answers: int) -> None:
        """Show how many answers are held open."""
        self._set(requests.HELD, answers, kind)

    def show_pool(self, *, checked_out: int, size: int) -> None:
        self._set(catalogue.POOL_IN_USE, checked_out)
        self._set(catalogue.POOL_SIZE, size)

    def show_under_way(self, *, requests: int, size: int) -> None:
        self._set(catalogue.UNDER_WAY, requests)
        self._set(catalogue.BYTES_UNDER_WAY, size)

    def page(self) -> bytes:
        """Write everything in Prometheus's text format, `CONTENT_TYPE`."""
        known = generate_latest(self._from_database) if self._database_known else b""
        return generate_latest(self._registry) + known

    def _show_database(self, *, known: bool) -> None:
        self._database_known = known
        self._set(catalogue.DATABASE_UP, known)

    # -- the collectors behind the catalogue

    def _count(self, metric: Metric, *labels: str, by: float = 1) -> None:
        _labelled(self._counters, metric.name, labels).inc(by)

    def _set(self, metric: Metric, value: float, *labels: str) -> None:
        _labelled(self._gauges, metric.name, labels).set(value)

    def _observe(self, metric: Metric, seconds: float, *labels: str) -> None:
        _labelled(self._histograms, metric.name, labels).observe(seconds)

    def _make(self, metric: Metric) -> None:
        registry = self._from_database if metric.from_database else self._registry
        described = (metric.name, metric.meaning, tuple(metric.labels))
        match metric.kind:
            case Kind.COUNTER:
                counter = Counter(*described, registry=registry)
                self._counters[metric.name,] = counter
                _start_at_zero(counter, metric)
            case Kind.GAUGE:
                self._gauges[metric.name,] = Gauge(*described, registry=registry)
            case Kind.HISTOGRAM:
                self._histograms[metric.name,] = Histogram(
                    *described, buckets=metric.buckets, registry=registry
                )


def _labelled(
    known: dict[tuple[str, ...], Collector], name: str, labels: tuple[str, ...]
) -> Collector:
    """Return the series with these labels; the library takes a lock to find one."""
    key = (name, *labels)
    found = known.get(key)
    if found is None:
        found = known[key] = known[(name,)].labels(*labels)
    return found


def _start_at_zero(counter: Counter, metric: Metric) -> None:
    """Make the series of all label values that are known beforehand: a rate needs a start."""
    if metric.labels and metric.words.keys() == metric.labels.keys():
        for words in itertools.product(*metric.words.values()):
            counter.labels(*words)
