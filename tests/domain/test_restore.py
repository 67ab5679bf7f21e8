"""Whether a database has lost commits, over all that a process can see."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from app.domain.restore import (
    Change,
    Incarnation,
    Memory,
    Sight,
    Verdict,
    change,
    judge,
    memory,
)

HERE = Incarnation(
    system_identifier=7,
    timeline=1,
    database_oid=16384,
    server_started_at=datetime(2026, 11, 28, tzinfo=UTC),
)


def sights() -> Iterator[Sight]:
    both = (False, True)
    for held, now, kept, awaited, witnessed, expected in product(
        both, Change, Memory, both, both, both
    ):
        yield Sight(
            held=held,
            change=now,
            memory=kept,
            awaited=awaited,
            witnessed=witnessed,
            expected=expected,
        )


def may_spend(sight: Sight) -> bool:
    return judge(sight) in (Verdict.GO_ON, Verdict.ACCEPT)


def test_what_is_lost_or_held_is_never_spent_from() -> None:
    for sight in sights():
        if sight.held or sight.memory is Memory.LOST:
            assert judge(sight) is Verdict.HOLD, sight


def test_another_server_is_used_only_after_all_have_looked() -> None:
    for sight in sights():
        if sight.change in (Change.RESTARTED, Change.MOVED) and sight.awaited:
            assert not may_spend(sight), sight


def test_another_database_needs_a_living_witness_or_a_person() -> None:
    for sight in sights():
        if sight.change is Change.MOVED and not sight.awaited and not sight.held:
            vouched = sight.memory is Memory.KEPT or sight.witnessed or sight.expected
            lost = sight.memory is Memory.LOST
            assert may_spend(sight) == (vouched and not lost), sight


def test_the_same_database_goes_on() -> None:
    for sight in sights():
        if not sight.held and sight.memory is not Memory.LOST:
            if sight.change is Change.NONE:
                assert judge(sight) is Verdict.GO_ON, sight
            if sight.change is Change.FIRST:
                assert judge(sight) is Verdict.ACCEPT, sight
            if sight.change is Change.RESTARTED and not sight.awaited:
                assert judge(sight) is Verdict.ACCEPT, sight


LATER = HERE.server_started_at + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("known", "found", "expected"),
    [
        (None, HERE, Change.FIRST),
        (HERE, HERE, Change.NONE),
        (HERE, replace(HERE, server_started_at=LATER), Change.RESTARTED),
        (HERE, replace(HERE, system_identifier=8), Change.MOVED),
        (HERE, replace(HERE, timeline=2, server_started_at=LATER), Change.MOVED),
        (HERE, replace(HERE, database_oid=5), Change.MOVED),
        (HERE, replace(HERE, system_identifier=None, timeline=None), Change.NONE),
        (replace(HERE, timeline=None), replace(HERE, timeline=2), Change.NONE),
    ],
)
def test_how_a_database_differs(
    known: Incarnation | None, found: Incarnation, expected: Change
) -> None:
    assert change(known, found) is expected


@pytest.mark.parametrize(
    ("remembered", "counter", "expected"),
    [(0, 0, Memory.NONE), (0, 9, Memory.NONE), (9, 9, Memory.KEPT), (9, 8, Memory.LOST)],
)
def test_what_a_process_remembers(remembered: int, counter: int, expected: Memory) -> None:
    assert memory(remembered, counter) is expected
