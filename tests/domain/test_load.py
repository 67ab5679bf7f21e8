"""Who is refused when too much is under way."""

from app.domain.load import Bounds, Load, is_too_much
from tests.each import each

BOUNDS = Bounds(requests=10, size=1000)


def load(requests: int, size: int = 0) -> Load:
    return Load(requests=requests, size=size)


CASES: dict[str, tuple[Load, tuple[Load, ...], bool]] = {
    "as many as there may be": (load(10, 1000), (), False),
    "one more": (load(11), (), True),
    "by who has most": (load(8), (load(3),), True),
    "by who has as many": (load(6), (load(6),), True),
    "by somebody else": (load(3), (load(8),), False),
    "one byte more": (load(2, 1001), (), True),
    "a byte by somebody else": (load(2, 400), (load(1, 900),), False),
    "many requests of others, my bytes": (load(2, 900), (load(9, 0),), False),
    "one by itself, however large": (load(1, 5000), (), False),
    "one of a quiet caller": (load(1, 900), (load(9, 900),), False),
    "twice as many": (load(1), (load(20),), True),
    "twice as large": (load(1, 1), (load(1, 2000),), True),
}


@each("name", CASES)
def test_whoever_has_most_is_refused(name: str) -> None:
    mine, others, refused = CASES[name]
    everyone = (mine, *others)
    total = load(sum(one.requests for one in everyone), sum(one.size for one in everyone))
    assert is_too_much(mine, total, everyone, BOUNDS) is refused
