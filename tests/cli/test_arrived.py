"""What came of a body: whole, in order, and without a copy of what is large."""

import random
import tracemalloc

import pytest

from app.cli.processes.arrived import LARGE, Arrived

SIZES = {
    "small": [1, 2, LARGE - 1],
    "large": [LARGE, 4 * LARGE],
    "mixed": [3, LARGE, 4, 5, 4 * LARGE, 1],
}


def _arrived(pieces: list[bytes]) -> Arrived:
    arrived = Arrived()
    for piece in pieces:
        arrived += piece
    return arrived


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_pieces_of_any_size_are_whole_and_in_order(sizes: list[int]) -> None:
    pieces = [random.randbytes(size) for size in sizes]  # noqa: S311  # any bytes
    arrived = _arrived(pieces)
    assert len(arrived) == sum(sizes)
    assert bytes(arrived) == b"".join(pieces)


def test_one_large_piece_is_not_copied() -> None:
    piece = bytes(LARGE)
    assert bytes(_arrived([piece])) is piece


def test_small_pieces_take_little_more_than_their_size() -> None:
    arrived = Arrived()
    tracemalloc.start()
    try:
        for n in range(30_000):
            arrived += n.to_bytes(2, "big")
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * len(arrived)
