import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.evidence import Signature
from app.kie.signature import verify

KEY, OTHER_KEY = b"whsec-a", b"whsec-b"
TASK, OTHER_TASK = "ee9c2715375b7837f8bb51d641ff5863", "738a001e654c7be865970326162fdc65"
NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
TIMESTAMP = "1785585600"


def sign(key: bytes = KEY, task: str = TASK, timestamp: str = TIMESTAMP) -> str:
    digest = hmac.new(key, f"{task}.{timestamp}".encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def test_a_signature_made_elsewhere_is_valid() -> None:
    """Made with `openssl dgst -sha256 -hmac whsec-a -binary | base64`."""
    assert NOW.timestamp() == int(TIMESTAMP)
    made_by_openssl = "iJit8KY44cPl5wDuyY43aKzPg91OFAJJS2Wj8VPdtB8="
    assert verify([KEY], [TASK], TIMESTAMP, made_by_openssl, NOW) is Signature.VALID


def test_any_key_may_have_signed() -> None:
    assert verify([OTHER_KEY, KEY], [TASK], TIMESTAMP, sign(), NOW) is Signature.VALID
    assert verify([OTHER_KEY], [TASK], TIMESTAMP, sign(), NOW) is Signature.WRONG


def test_without_keys_nothing_is_looked_at() -> None:
    assert verify([], [TASK], TIMESTAMP, "no signature", NOW) is Signature.UNCHECKED
    assert verify([], [], None, None, NOW) is Signature.UNCHECKED


@pytest.mark.parametrize("timestamp", [None, ""])
def test_a_missing_timestamp_is_missing(timestamp: str | None) -> None:
    assert verify([KEY], [TASK], timestamp, sign(), NOW) is Signature.MISSING


@pytest.mark.parametrize("signature", [None, ""])
def test_a_missing_signature_is_missing(signature: str | None) -> None:
    assert verify([KEY], [TASK], TIMESTAMP, signature, NOW) is Signature.MISSING


def test_every_id_must_be_the_signed_one() -> None:
    assert verify([KEY], [TASK, OTHER_TASK], TIMESTAMP, sign(), NOW) is Signature.WRONG
    assert verify([KEY], [OTHER_TASK], TIMESTAMP, sign(), NOW) is Signature.WRONG
    assert verify([KEY], [], TIMESTAMP, sign(), NOW) is Signature.WRONG


def test_the_timestamp_is_signed_too() -> None:
    assert verify([KEY], [TASK], "1785585601", sign(), NOW) is Signature.WRONG


@pytest.mark.parametrize(
    ("late_by", "expected"),
    [(-301, "stale"), (-300, "valid"), (0, "valid"), (300, "valid"), (301, "stale")],
)
def test_five_minutes_either_way(late_by: int, expected: str) -> None:
    now = NOW + timedelta(seconds=late_by)
    assert verify([KEY], [TASK], TIMESTAMP, sign(), now) == expected


def test_wrong_wins_over_stale() -> None:
    now = NOW + timedelta(days=1)
    assert verify([KEY], [TASK], TIMESTAMP, sign(OTHER_KEY), now) is Signature.WRONG


@pytest.mark.parametrize(
    "timestamp",
    [
        "now",
        "-1785585600",
        "1785585600.0",
        "1e9",
        " 1785585600",
        "١٧٨٥٥٨٥٦٠٠",
        "9" * 13,
        "9" * 5000,
    ],
)
def test_a_timestamp_that_is_no_unix_second_is_wrong(timestamp: str) -> None:
    signature = sign(timestamp=timestamp)
    assert verify([KEY], [TASK], timestamp, signature, NOW) is Signature.WRONG


@pytest.mark.parametrize(
    "signature", ["%%%", "A", sign()[:-1], f"{sign()}=", sign().lower(), "naïve", "\ud800", "\x00"]
)
def test_a_malformed_signature_is_wrong(signature: str) -> None:
    assert verify([KEY], [TASK], TIMESTAMP, signature, NOW) is Signature.WRONG


anything = st.text(st.characters())
"""Lone surrogates too."""


@given(st.lists(anything, min_size=1), anything.filter(bool), anything.filter(bool))
def test_nothing_unsigned_is_valid_and_nothing_raises(
    ids: list[str], timestamp: str, signature: str
) -> None:
    assert verify([KEY], ids, timestamp, signature, NOW) is Signature.WRONG


@given(st.text(min_size=1), st.integers(0, 10**12 - 1))
def test_whatever_was_signed_is_never_wrong(task: str, seconds: int) -> None:
    signature = sign(task=task, timestamp=str(seconds))
    verdict = verify([KEY], [task], str(seconds), signature, NOW)
    assert verdict in {Signature.VALID, Signature.STALE}
