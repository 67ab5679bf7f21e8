"""The numbers themselves: each moves when it should, all are listed, none is shared."""

import re
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from app.domain.evidence import Verdict
from app.domain.task import Source, State
from app.metrics import CATALOGUE, Kind, Metrics, catalogue
from app.metrics.alerts import ALERTS
from tests.scrape import kinds, labels, moved, samples

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def task_born(seconds_ago: float) -> UUID:
    return UUID(int=int((NOW.timestamp() - seconds_ago) * 1000) << 80 | 7 << 76)


def fresh() -> Metrics:
    return Metrics("1.2.3", lambda: NOW, lambda: 0.0)


def seen(metrics: Metrics) -> dict[str, float]:
    """Every series of ours that is not 0, but for a histogram's buckets."""
    page = samples(metrics.page().decode())
    return {
        series: value
        for series, value in page.items()
        if value and series.startswith("kie_gateway_") and "_bucket{" not in series
    }


def of_database(tasks: Mapping[str, int]) -> Callable[[Metrics], None]:
    return lambda metrics: metrics.show_tasks(tasks, 7.5, {"submit": 3.0, "poll": 0.0})


def of_room(metrics: Metrics) -> None:
    of_database({})(metrics)
    metrics.show_room({"feed": 8192}, {"task": 9.0, "raw": 5.0}, {"task": 2.0, "raw": 0.0})


def show_held(metrics: Metrics, reasons: Collection[str]) -> None:
    metrics.show_tasks({}, 0, {})
    metrics.show_admission(reasons, {"kie_busy": 4}, slots_free=3, seats_free=40, set_aside=2)


def show_troubled(metrics: Metrics) -> None:
    metrics.show_tasks({}, 0, {})
    metrics.show_troubled_urls({"failing": 1, "slow": 2})


REQUEST = 'method="GET",route="/v1/tasks/{task_id}"'
HAPPENS: dict[str, tuple[Callable[[Metrics], None], dict[str, float]]] = {
    "request": (
        lambda metrics: metrics.answered("/v1/tasks/{task_id}", "GET", 200, 0.5),
        {
            f'kie_gateway_requests_total{{{REQUEST},status="200"}}': 1,
            f"kie_gateway_request_duration_seconds_count{{{REQUEST}}}": 1,
            f"kie_gateway_request_duration_seconds_sum{{{REQUEST}}}": 0.5,
        },
    ),
    "request that nothing is known of": (
        lambda metrics: metrics.answered(None, "BREW", None, 0.5),
        {
            'kie_gateway_requests_total{method="other",route="unmatched",status="none"}': 1,
            'kie_gateway_request_duration_seconds_count{method="other",route="unmatched"}': 1,
            'kie_gateway_request_duration_seconds_sum{method="other",route="unmatched"}': 0.5,
        },
    ),
    "create": (
        lambda metrics: metrics.submitted("unknown", 30.0),
        {
            'kie_gateway_submissions_total{outcome="unknown"}': 1,
            "kie_gateway_create_duration_seconds_count": 1,
            "kie_gateway_create_duration_seconds_sum": 30,
        },
    ),
    "callback": (
        lambda metrics: metrics.called_back(Verdict.LATE),
        {'kie_gateway_callbacks_total{verdict="late"}': 1},
    ),
    "wrong token": (Metrics.rejected, {"kie_gateway_callbacks_rejected_total": 1}),
    "query": (
        lambda metrics: metrics.queried("not_visible", 0.25),
        {
            'kie_gateway_queries_total{answer="not_visible"}': 1,
            "kie_gateway_query_duration_seconds_count": 1,
            "kie_gateway_query_duration_seconds_sum": 0.25,
        },
    ),
    "end": (
        lambda metrics: metrics.settled(task_born(12), Source.QUERY, State.FAILED),
        {
            'kie_gateway_task_duration_seconds_count{settled_by="query",state="failed"}': 1,
            'kie_gateway_task_duration_seconds_sum{settled_by="query",state="failed"}': 12,
        },
    ),
    "end before its beginning, by another machine's clock": (
        lambda metrics: metrics.settled(task_born(-5), Source.QUERY, State.FAILED),
        {'kie_gateway_task_duration_seconds_count{settled_by="query",state="failed"}': 1},
    ),
    "sweep": (
        lambda metrics: metrics.swept(State.EXPIRED, 3),
        {'kie_gateway_swept_tasks_total{state="expired"}': 3},
    ),
    "create beyond a budget": (
        lambda metrics: metrics.budget_refused("exceeded"),
        {'kie_gateway_budget_refused_total{reason="exceeded"}': 1},
    ),
    "threshold of a budget": (
        lambda metrics: metrics.threshold_reached("month"),
        {'kie_gateway_budget_thresholds_total{period="month"}': 1},
    ),
    "task that cost more than its reserve": (
        lambda metrics: metrics.budget_overshot(Decimal("2.5")),
        {
            "kie_gateway_budget_overshoot_total": 1,
            "kie_gateway_budget_overshoot_credits_total": 2.5,
        },
    ),
    "models that fail": (
        lambda metrics: metrics.show_withdrawn(2),
        {"kie_gateway_models_failing": 2},
    ),
    "unexplained loss": (
        lambda metrics: metrics.show_unexplained(4.5, 1),
        {"kie_gateway_unexplained_credits": 4.5, "kie_gateway_unexplained_alert_credits": 1},
    ),
    "reserve put right": (Metrics.reserve_fixed, {"kie_gateway_reserves_fixed_total": 1}),
    "deletion": (
        lambda metrics: metrics.deleted("tasks", 100),
        {'kie_gateway_deleted_total{kind="tasks"}': 100},
    ),
    "room": (
        of_room,
        {
            'kie_gateway_table_bytes{table="feed"}': 8192,
            'kie_gateway_oldest_seconds{kind="task"}': 9,
            'kie_gateway_oldest_seconds{kind="raw"}': 5,
            'kie_gateway_retention_lag_seconds{kind="task"}': 2,
            "kie_gateway_database_up": 1,
            "kie_gateway_oldest_queued_seconds": 7.5,
            'kie_gateway_overdue_seconds{work="submit"}': 3,
        },
    ),
    "paid twice": (Metrics.paid_twice, {"kie_gateway_paid_twice_total": 1}),
    "disagreement": (
        lambda metrics: metrics.disagreed(Source.CALLBACK),
        {'kie_gateway_disagreements_total{source="callback"}': 1},
    ),
    "attempt that failed": (
        lambda metrics: metrics.attempted("unanswered", first=True, lag=0.5),
        {
            'kie_gateway_delivery_attempts_total{result="unanswered"}': 1,
            'kie_gateway_delivery_lag_seconds_count{until="first_attempt"}': 1,
            'kie_gateway_delivery_lag_seconds_sum{until="first_attempt"}': 0.5,
        },
    ),
    "attempt that succeeded later": (
        lambda metrics: metrics.attempted("delivered", first=False, lag=300.0),
        {
            'kie_gateway_delivery_attempts_total{result="delivered"}': 1,
            'kie_gateway_delivery_lag_seconds_count{until="delivered"}': 1,
            'kie_gateway_delivery_lag_seconds_sum{until="delivered"}': 300,
        },
    ),
    "delivery given up": (Metrics.exhausted, {"kie_gateway_deliveries_exhausted_total": 1}),
    "delivery with nowhere to go": (
        Metrics.undeliverable,
        {"kie_gateway_deliveries_undeliverable_total": 1},
    ),
    "URL that is not called any more": (
        lambda metrics: metrics.url_disabled("failing"),
        {'kie_gateway_urls_disabled_total{reason="failing"}': 1},
    ),
    "tasks": (
        of_database({"queued": 2, "running": 5}),
        {
            "kie_gateway_database_up": 1,
            'kie_gateway_tasks{state="queued"}': 2,
            'kie_gateway_tasks{state="running"}': 5,
            "kie_gateway_oldest_queued_seconds": 7.5,
            'kie_gateway_overdue_seconds{work="submit"}': 3,
        },
    ),
    "admission": (
        lambda metrics: show_held(metrics, {"kie_account"}),
        {
            "kie_gateway_database_up": 1,
            'kie_gateway_admission_held{reason="kie_account"}': 1,
            'kie_gateway_held_pairs{reason="kie_busy"}': 4,
            "kie_gateway_create_slots_free": 3,
            "kie_gateway_running_seats_free": 40,
            "kie_gateway_tasks_set_aside": 2,
        },
    ),
    "loops": (
        lambda metrics: metrics.show_loops({"poll": 61.5, "sweep": 2}, {"poll"}),
        {
            'kie_gateway_loop_silent_seconds{loop="poll"}': 61.5,
            'kie_gateway_loop_silent_seconds{loop="sweep"}': 2,
            'kie_gateway_loop_stuck{loop="poll"}': 1,
        },
    ),
    "under way": (
        lambda metrics: metrics.show_under_way(requests=3, size=1000),
        {"kie_gateway_requests_under_way": 3, "kie_gateway_bytes_under_way": 1000},
    ),
    "overloaded": (
        lambda metrics: metrics.overloaded(),
        {"kie_gateway_requests_overloaded_total": 1},
    ),
    "troubled urls": (
        show_troubled,
        {
            "kie_gateway_database_up": 1,
            'kie_gateway_delivery_urls{state="failing"}': 1,
            'kie_gateway_delivery_urls{state="slow"}': 2,
        },
    ),
    "pool": (
        lambda metrics: metrics.show_pool(checked_out=3, size=10),
        {"kie_gateway_pool_checked_out": 3, "kie_gateway_pool_size": 10},
    ),
}


@pytest.mark.parametrize("name", HAPPENS)
def test_each_moves_what_it_should_and_nothing_else(name: str) -> None:
    happens, expected = HAPPENS[name]
    metrics, other = fresh(), fresh()
    before = seen(metrics)
    happens(metrics)
    assert moved(before, seen(metrics)) == expected
    assert seen(other) == before == {'kie_gateway_build_info{version="1.2.3"}': 1}


def everything() -> str:
    metrics = fresh()
    for happens, _ in HAPPENS.values():
        happens(metrics)
    return metrics.page().decode()


def test_what_the_database_holds_is_left_out_while_it_is_away() -> None:
    metrics = fresh()
    of_database({"queued": 2})(metrics)
    show_held(metrics, {"kie_busy"})
    metrics.show_database_away()
    page = samples(metrics.page().decode())
    assert page["kie_gateway_database_up"] == 0
    gone = (
        "tasks",
        "oldest",
        "overdue",
        "admission",
        "held_pairs",
        "create_slots",
        "running_seats",
    )
    own = [series.removeprefix("kie_gateway_") for series in page]
    assert [series for series in own if series.startswith(gone)] == []
    of_database({"queued": 1})(metrics)
    assert samples(metrics.page().decode())['kie_gateway_tasks{state="queued"}'] == 1


def test_only_what_holds_now_is_shown_as_held() -> None:
    metrics = fresh()
    for held in (set(catalogue.HOLDS), {"kie_busy"}, set()):
        show_held(metrics, held)
        page = samples(metrics.page().decode())
        shown = {
            name: page[f'kie_gateway_admission_held{{reason="{name}"}}'] for name in catalogue.HOLDS
        }
        assert shown == {name: name in held for name in catalogue.HOLDS}


def test_counters_of_known_words_begin_at_nought() -> None:
    page = samples(fresh().page().decode())
    assert page["kie_gateway_paid_twice_total"] == 0
    for outcome in catalogue.SUBMISSIONS.words["outcome"]:
        assert page[f'kie_gateway_submissions_total{{outcome="{outcome}"}}'] == 0


# -- the catalogue


def test_the_catalogue_is_what_is_shown() -> None:
    shown = kinds(everything())
    own = {name: kind for name, kind in shown.items() if not name.startswith("process_")}
    assert own == {metric.name: metric.kind.value for metric in CATALOGUE}
    assert "process_resident_memory_bytes" in shown
    assert all(name.startswith(catalogue.PREFIX) for name in own)


def test_names_are_as_prometheus_wants_them() -> None:
    for metric in CATALOGUE:
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name
        assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM), metric.name
        assert list(metric.buckets) == sorted(set(metric.buckets)), metric.name
        assert "|" not in metric.meaning + metric.alert, metric.name


def test_no_label_has_a_value_that_is_not_listed() -> None:
    shown = labels(everything())
    for metric in CATALOGUE:
        suffix = "_count" if metric.kind is Kind.HISTOGRAM else ""
        assert set(shown.get(metric.name + suffix, {})) == set(metric.labels), metric.name
        for label, words in metric.words.items():
            assert shown[metric.name + suffix][label] <= set(words), metric.name


# -- alerts


def test_alerts_speak_of_metrics_that_are_there() -> None:
    known = {metric.name: metric for metric in CATALOGUE}
    assert len(ALERTS) == len({alert.name for alert in ALERTS}) == 28
    for alert in ALERTS:
        used = re.findall(r"kie_gateway_\w+", alert.expr)
        assert used, alert.name
        for name, label, value in re.findall(r'(kie_gateway_\w+)\{(\w+)="(\w+)"\}', alert.expr):
            assert value in known[name].words[label], alert.name
        assert set(used) <= set(known), alert.name
        assert alert.expr.count("(") == alert.expr.count(")"), alert.name
