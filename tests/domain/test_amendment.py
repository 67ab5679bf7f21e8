"""What later evidence adds to an end, and which of two accounts is kept."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.amendment import amend, is_empty
from app.domain.report import Facts
from app.domain.task import Change
from tests.each import each

A, B, EVIL = "https://kie/a.png", "https://kie/b.png", "https://evil/x.png"
THEN = datetime(2026, 11, 28, tzinfo=UTC)


def pictures(*urls: str, **more: Any) -> Facts:
    return Facts(result={"resultUrls": list(urls)}, result_urls=urls, **more)


@each(
    ("known", "said", "wins", "filled", "corrected", "disagrees"),
    [
        # nothing was known
        (Facts(), pictures(A), False, ("result", "result_urls"), (), False),
        (pictures(), pictures(A), False, ("result", "result_urls"), (), False),
        (Facts(), Facts(credits_consumed=Decimal(4)), True, ("credits_consumed",), (), False),
        (Facts(), Facts(kie_completed_at=THEN), False, ("kie_completed_at",), (), False),
        # nothing is said
        (pictures(A), Facts(), True, (), (), False),
        (pictures(A), pictures(), True, (), (), False),
        (Facts(fail_code="422"), Facts(), True, (), (), False),
        # the same
        (pictures(A, B), pictures(B, A), True, (), (), False),
        (
            Facts(credits_consumed=Decimal("4.0")),
            Facts(credits_consumed=Decimal(4)),
            True,
            (),
            (),
            False,
        ),
        # a record may name more URLs than a callback did, a callback fewer than the record
        (pictures(A), pictures(A, B), True, (), ("result", "result_urls"), False),
        (pictures(A, B), pictures(A), False, (), (), False),
        # but not others: kie.ai's record wins, a callback only contradicts
        (pictures(EVIL), pictures(A), True, (), ("result", "result_urls"), True),
        (pictures(A, EVIL), pictures(A), True, (), ("result", "result_urls"), True),
        (pictures(A), pictures(EVIL), False, (), (), True),
        (pictures(A), pictures(A, EVIL), False, (), (), True),
        (pictures(A), Facts(result={"resultObject": "x"}), False, (), (), True),
        (
            Facts(result={"resultObject": "x"}),
            Facts(result={"resultObject": "y"}),
            True,
            (),
            ("result",),
            True,
        ),
        (
            Facts(credits_consumed=Decimal(1)),
            Facts(credits_consumed=Decimal(4)),
            True,
            (),
            ("credits_consumed",),
            True,
        ),
        # who contradicts adds nothing else
        (pictures(A), pictures(EVIL, credits_consumed=Decimal(9)), False, (), (), True),
        # the record's own words replace the envelope's, and never the other way
        (
            Facts(fail_code="501", fail_message="Playground task failed."),
            Facts(fail_code="1501", fail_message="Content review failed"),
            False,
            (),
            ("fail_code", "fail_message"),
            False,
        ),
        (
            Facts(fail_code="1501", fail_message="Content review failed"),
            Facts(fail_code="501", fail_message="Playground task failed."),
            True,
            (),
            (),
            False,
        ),
        (Facts(fail_code="422"), Facts(fail_code="500"), False, (), (), False),
        (Facts(fail_code="422"), Facts(fail_code="500"), True, (), ("fail_code",), False),
    ],
)
def test_what_changes(
    known: Facts,
    said: Facts,
    wins: bool,  # noqa: FBT001  # a column of the table
    filled: tuple[str, ...],
    corrected: tuple[str, ...],
    disagrees: bool,  # noqa: FBT001
) -> None:
    found = amend(known, said, wins=wins)
    assert set(found.filled) == set(filled)
    assert set(found.corrected) <= set(corrected)
    assert bool(found.corrected) is bool(corrected)
    assert found.disagrees is disagrees
    for name in (*found.filled, *found.corrected):
        assert getattr(found.facts, name) == getattr(said, name)


@pytest.mark.parametrize(
    ("said", "retold"),
    [
        (pictures(A), True),
        (Facts(fail_code="422"), True),
        (Facts(credits_consumed=Decimal(4), duration_seconds=Decimal(1)), False),
        (Facts(kie_created_at=THEN), False),
    ],
)
def test_what_is_told_as_the_end_itself(said: Facts, retold: bool) -> None:  # noqa: FBT001
    found = amend(Facts(), said, wins=True)
    assert found.retold is retold
    assert found.kind is Change.FILLED


@pytest.mark.parametrize(
    ("value", "empty"),
    [
        (None, True),
        ("", True),
        ({}, True),
        ([], True),
        ({"resultUrls": []}, True),
        ({"resultUrls": [""], "a": {"b": None}}, True),
        (0, False),
        (False, False),
        (Decimal(0), False),
        ({"resultUrls": [A]}, False),
        ({"score": 0}, False),
    ],
)
def test_what_is_empty(value: object, empty: bool) -> None:  # noqa: FBT001
    assert is_empty(value) is empty


facts = st.builds(
    Facts,
    result=st.none() | st.just({"resultUrls": [A]}) | st.just({"resultUrls": [B]}),
    result_urls=st.just(()),
    fail_code=st.sampled_from([None, "501", "422"]),
    credits_consumed=st.none() | st.sampled_from([Decimal(0), Decimal(4)]),
)


@given(facts, facts)
def test_the_record_has_the_last_word_whatever_the_order(known: Facts, record: Facts) -> None:
    after = amend(known, record, wins=True).facts
    assert not amend(after, record, wins=True).changes
    for name in ("result", "credits_consumed"):
        said = getattr(record, name)
        assert said is None or getattr(after, name) == said


@given(facts, facts)
def test_a_callback_replaces_no_result_and_no_credits(known: Facts, said: Facts) -> None:
    after = amend(known, said, wins=False).facts
    for name in ("result", "credits_consumed"):
        kept = getattr(known, name)
        assert kept is None or getattr(after, name) == kept
