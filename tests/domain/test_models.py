"""What is learned of models: rounding, corrections, percentiles, and which look withdrawn."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from app.domain.models import (
    CREDITS,
    EVERYBODY,
    MAX_MODELS,
    SECONDS,
    WITHDRAWN_FROM,
    Learnt,
    Seen,
    Stats,
    learnt,
    percentile,
    rounded,
    share,
    statistics,
)
from app.domain.usage import Entry

SHOP, OFFICE = UUID(int=1), UUID(int=2)
TODAY = date(2026, 11, 28)
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
ENTRY = Entry(
    client_id=SHOP,
    task_id=UUID(int=9),
    day=TODAY,
    created_day=TODAY,
    model="m",
    metadata=None,
    state="succeeded",
    credits=Decimal(4),
    seconds=Decimal("12.34"),
)
DONE = {
    (SHOP, "m", "succeeded", Decimal(0)): 1,
    (SHOP, "m", CREDITS, Decimal(4)): 1,
    (SHOP, "m", SECONDS, Decimal(12)): 1,
}

ROUNDED = {
    "4": (CREDITS, "4"),
    "4.25": (CREDITS, "4.25"),
    "123.456": (CREDITS, "123"),
    "12.34": (SECONDS, "12"),
    "605": (SECONDS, "610"),
    "0.00000001": (SECONDS, "0.001"),
    "1E+30": (CREDITS, "10000000"),
}


@pytest.mark.parametrize(("given", "found"), ROUNDED.items(), ids=ROUNDED)
def test_values_are_kept_rounded_and_bounded(given: str, found: tuple[str, str]) -> None:
    assert rounded(found[0], Decimal(given)) == Decimal(found[1])


LEARNT: dict[str, tuple[Sequence[Entry], dict[Learnt, int]]] = {
    "a success": ([ENTRY], DONE),
    "two": ([ENTRY, ENTRY], dict.fromkeys(DONE, 2)),
    "credits that come second": (
        [replace(ENTRY, left_state="succeeded", left_seconds=ENTRY.seconds)],
        {(SHOP, "m", CREDITS, Decimal(4)): 1},
    ),
    "a success that was none": (
        [
            ENTRY,
            replace(
                ENTRY,
                left_state="succeeded",
                left_credits=ENTRY.credits,
                left_seconds=ENTRY.seconds,
                state="failed",
                fail_class="provider",
                credits=Decimal(0),
            ),
        ],
        {(SHOP, "m", "failed.provider", Decimal(0)): 1},
    ),
    "a canceled one": ([replace(ENTRY, state="canceled", credits=Decimal(0))], {}),
    "a reserve": ([replace(ENTRY, state=None)], {}),
    "one of last week": ([replace(ENTRY, day=TODAY - timedelta(days=7))], {}),
}


@pytest.mark.parametrize(("entries", "found"), LEARNT.values(), ids=LEARNT)
def test_what_entries_say(entries: Sequence[Entry], found: dict[Learnt, int]) -> None:
    assert learnt(entries, TODAY) == found


def test_percentiles() -> None:
    counts = {Decimal(value): 1 for value in range(1, 101)}
    assert [percentile(counts, at) for at in (50, 90, 95)] == [50, 90, 95]
    assert percentile({Decimal(4): 99, Decimal(9): 1}, 90) == 4
    assert percentile({}, 50) is percentile({Decimal(4): 0, Decimal(5): -1}, 50) is None


def seen(kind: str, count: int, value: float = 0, whose: UUID = SHOP, model: str = "m") -> Seen:
    return Seen(
        client_id=whose,
        model=model,
        kind=kind,
        value=Decimal(str(value)),
        day=count,
        week=count,
        last_at=NOW,
    )


def of(stats: Sequence[Stats], whose: UUID) -> Stats:
    return next(one for one in stats if one.client_id == whose)


def test_each_client_has_its_own_and_all_have_the_sum() -> None:
    found = statistics(
        [
            *(seen("succeeded", 6), seen(CREDITS, 6, 4), seen(SECONDS, 6, 10)),
            seen("failed.content", 2),
            *(seen("succeeded", 20, whose=OFFICE), seen(SECONDS, 20, 30, whose=OFFICE)),
        ]
    )
    own, other, everybody = (of(found, whose) for whose in (SHOP, OFFICE, EVERYBODY))
    figures: list[object] = [own.tasks_24h, own.succeeded_7d, own.seconds_p50, own.credits_p90]
    assert figures == [8, 6, 10, 4]
    figures = [other.tasks_7d, other.seconds_p95, other.credits_p50]
    assert figures == [20, 30, None]
    figures = [everybody.tasks_7d, everybody.seconds_p50, everybody.measured]
    assert figures == [28, 30, 26]
    assert own.last_success_at == NOW
    assert share(own.succeeded_7d, own.tasks_7d) == 0.75
    assert share(0, 0) is None


FAILING = {
    "by kie.ai's fault": ([seen("failed.provider", WITHDRAWN_FROM)], True),
    "for unknown reasons": ([seen("failed.unknown", WITHDRAWN_FROM)], True),
    "too few": ([seen("failed.provider", WITHDRAWN_FROM - 1)], False),
    "by the caller's fault": ([seen("failed.input", 50), seen("failed.content", 50)], False),
    "but for one": ([seen("failed.provider", 50), seen("succeeded", 1)], False),
}


@pytest.mark.parametrize(("found", "withdrawn"), FAILING.values(), ids=FAILING)
def test_which_models_look_withdrawn(found: Sequence[Seen], withdrawn: bool) -> None:  # noqa: FBT001
    assert of(statistics(found), EVERYBODY).withdrawn is withdrawn


def test_of_a_client_the_most_used_models_are_kept() -> None:
    many = [seen("succeeded", number + 1, model=f"m{number}") for number in range(MAX_MODELS + 50)]
    own = [one for one in statistics(many) if one.client_id == SHOP]
    assert len(own) == MAX_MODELS
    assert min(one.tasks_7d for one in own) == 51
