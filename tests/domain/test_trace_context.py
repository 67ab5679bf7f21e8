"""Which `traceparent` is taken, by W3C's own rules."""

from collections.abc import Sequence

import pytest

from app.domain.trace_context import traceparent_of

IDS = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
TAKEN = f"00-{IDS}-01"


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ([TAKEN], TAKEN),
        ([f"00-{IDS}-00"], f"00-{IDS}-00"),
        ([f"00-{IDS}-ff"], f"00-{IDS}-03"),
        ([f"01-{IDS}-01"], TAKEN),
        ([f"cc-{IDS}-01-what-may-come"], TAKEN),
        ([], None),
        ([""], None),
        ([TAKEN, TAKEN], None),
        ([TAKEN.upper()], None),
        ([f"ff-{IDS}-01"], None),
        ([f"00-{IDS}-01-more"], None),
        ([f"cc-{IDS}-01.more"], None),
        ([f"00-{IDS}-1"], None),
        ([f" {TAKEN}"], None),
        ([f"{TAKEN}\n"], None),
        ([f"00-{'0' * 32}-00f067aa0ba902b7-01"], None),
        ([f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01"], None),
        ([f"cc-{IDS}-01-{'x' * 512}"], None),
        (["\u0660\u0660" + TAKEN[2:]], None),
    ],
)
def test_what_is_taken(given: Sequence[str], taken: str | None) -> None:
    assert traceparent_of(given) == taken
