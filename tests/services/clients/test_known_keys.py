"""Keys that were looked up a moment ago: for how long they count, and what ends it."""

from dataclasses import dataclass, replace
from uuid import uuid4

import pytest

from app.domain.access import Caller
from app.domain.limits import Allowance
from app.services.clients import known_keys
from app.services.clients.known_keys import KEPT, KnownKeys
from app.store.clients.clients import FoundKey
from app.store.signals import EVERYTHING, KEYS, QUEUE

FOUND = FoundKey(
    caller=Caller(client_id=uuid4(), key_id=uuid4(), client="shop", allowance=Allowance()),
    scopes=None,
    revoked=False,
    expired=False,
    disabled=False,
    expires_in=None,
)


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def known(clock: Clock) -> KnownKeys:
    return KnownKeys(clock)


@pytest.mark.parametrize(
    ("expires_in", "lasts"), [(None, KEPT), (KEPT + 1, KEPT), (1.5, 1.5), (0.0, 0.0)]
)
def test_a_key_counts_for_a_while_and_never_beyond_its_end(
    known: KnownKeys, clock: Clock, expires_in: float | None, lasts: float
) -> None:
    found = replace(FOUND, expires_in=expires_in)
    known.keep(b"a", found, known.version)
    clock.now += max(0.0, lasts - 0.01)
    assert known.get(b"a") == (found if lasts else None)
    clock.now += min(lasts, 0.01)
    assert known.get(b"a") is None


@pytest.mark.parametrize(
    ("topic", "forgets"), [(KEYS, True), (EVERYTHING, True), (QUEUE, False), ("0" * 32, False)]
)
def test_a_change_is_heard(known: KnownKeys, topic: str, *, forgets: bool) -> None:
    known.keep(b"a", FOUND, known.version)
    known.hear(topic)
    assert (known.get(b"a") is None) == forgets


def test_what_was_read_before_a_change_is_not_kept_after_it(known: KnownKeys) -> None:
    version = known.version
    known.hear(KEYS)
    known.keep(b"a", FOUND, version)
    assert known.get(b"a") is None


def test_only_so_many_are_remembered(known: KnownKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_keys, "MOST", 2)
    for digest in (b"a", b"b"):
        known.keep(digest, FOUND, known.version)
    assert known.get(b"a") is FOUND  # used last, so the other one goes
    known.keep(b"c", FOUND, known.version)
    assert [known.get(digest) is None for digest in (b"a", b"b", b"c")] == [False, True, False]
