"""Which runs there are: kills, faults, and pairs of both. Points come from recorded runs."""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from typing_extensions import override

from tests.faults.lab.points import Point, Side
from tests.faults.lab.scenario import Combination
from tests.faults.test_named_faults import MADE

ONE_BY_ONE = "kills: every message of one task"
IN_A_CROWD = "kills: every kind of message among many tasks"
FAULTS = "faults"
PAIRS = "pairs of fault and kill"
OUTAGES = "PostgreSQL stopped in immediate mode under load"
LIMITS = "the account's limits"
FAILS = ("result-fail-code-word",)
BESIDE: Mapping[str, tuple[tuple[str, ...], ...]] = {
    # A failure that is told to be a success afterwards, not the other way round.
    "record-contradicts": (FAILS,),
    # A success is forged of what fails, before, after and instead of the true callback.
    "callback-forged-signed": (FAILS,),
    "callback-forged-after": (FAILS,),
    "callback-forged-instead": (FAILS,),
    # The failure that turns around is told by callbacks.
    "result-timeout-then-success": ((),),
    # The record hides while it alone could tell whose the task is.
    "create-cut-off-after-accept": (("record-null",), ("record-http-502",)),
}
"""Faults that are tried in more company than their own."""
SAMPLED = 1
"""Occurrences of each kind of message that are tried among many tasks."""

CREATE = "kie createTask"
CALLBACK = "gateway callback"
QUERY = "kie recordInfo"
COMMIT = "COMMIT"


@dataclass(frozen=True, slots=True)
class Pair:
    """Faults, and the first `what` on that side of it after the first `since`."""

    faults: tuple[str, ...]
    since: str
    what: str
    side: Side

    @override
    def __str__(self) -> str:
        """Name it without SQL, the way it is meant."""
        place = self.what if self.what == self.since else f"{self.what} since {self.since}"
        return f"{' + '.join(self.faults)} x {self.side} {place}"

    def point(self, recorded: Sequence[Point]) -> Point:
        """Find the point among those of a run with the faults; raises `LookupError`."""
        begun = False
        for point in recorded:
            begun = begun or point.what == self.since
            if begun and point.side is self.side and point.what.startswith(self.what):
                return point
        message = f"a run with {self.faults} has no such point: {self}"
        raise LookupError(message)


def _pairs(
    faults: str, since: str, what: str, sides: Iterable[Side] = (Side.BEFORE, Side.AFTER)
) -> tuple[Pair, ...]:
    return tuple(Pair(tuple(faults.split()), since, what, side) for side in sides)


NAMED_PAIRS: tuple[Pair, ...] = (
    # The create's answer is lost, or proves nothing, and so is the process that would tell.
    *_pairs("create-cut-off-after-accept", CREATE, COMMIT),
    *_pairs("create-http-502-after-accept", CREATE, CREATE, (Side.AFTER,)),
    *_pairs("create-http-502-after-accept", CREATE, COMMIT),
    *_pairs("create-hang", CREATE, COMMIT),
    *_pairs("create-slow", CREATE, CREATE, (Side.AFTER,)),
    *_pairs("create-500-with-id-after-accept", CREATE, COMMIT),
    # Refused, so that it may be sent again; who knows of the refusal dies.
    *_pairs("create-refused-429", CREATE, CREATE, (Side.AFTER,)),
    *_pairs("create-refused-429", CREATE, COMMIT),
    *_pairs("create-refused-402", CREATE, COMMIT),
    *_pairs("create-refused-455", CREATE, COMMIT),
    *_pairs("create-refused-500-option", CREATE, COMMIT),
    *_pairs("create-http-413", CREATE, COMMIT),
    # The callback comes before the answer, twice, again, late, or not at all.
    *_pairs("callback-early", CREATE, CREATE, (Side.AFTER,)),
    *_pairs("callback-early", CALLBACK, COMMIT),
    *_pairs("callback-duplicated", CALLBACK, COMMIT),
    *_pairs("callback-retried", CALLBACK, COMMIT),
    *_pairs("callback-late", CREATE, COMMIT),
    *_pairs("callback-progress-after-end", CALLBACK, COMMIT),
    *_pairs("callback-dropped", CREATE, CREATE, (Side.AFTER,)),
    *_pairs("callback-dropped", QUERY, QUERY),
    *_pairs("callback-dropped", QUERY, COMMIT),
    # The callback is not believed, and the process that would know better is gone.
    *_pairs("callback-stale", CREATE, CREATE, (Side.AFTER,)),
    *_pairs("callback-unsigned", CALLBACK, COMMIT),
    *_pairs("callback-forged", CALLBACK, COMMIT),
    *_pairs("callback-ids-disagree", CREATE, CREATE, (Side.AFTER,)),
    *_pairs("callback-foreign-url", CREATE, CREATE, (Side.AFTER,)),
    *_pairs("callback-unparsable", CALLBACK, COMMIT),
    # The callback lacks what the record has, or is forged: who was to ask, fill or correct dies.
    *_pairs("callback-without-result", CALLBACK, COMMIT),
    *_pairs("callback-without-result", QUERY, COMMIT),
    *_pairs("callback-without-credits", QUERY, COMMIT),
    *_pairs("callback-general-reason", QUERY, COMMIT),
    *_pairs("callback-forged-signed", QUERY, COMMIT),
    *_pairs("callback-forged-instead result-fail-code-word", QUERY, COMMIT),
    *_pairs("result-timeout-then-success", CALLBACK, COMMIT),
    *_pairs("result-timeout-then-success callback-dropped", QUERY, COMMIT),
    # The question is refused, fails, or is answered to the contrary.
    *_pairs("record-refused-429 callback-dropped", QUERY, QUERY, (Side.AFTER,)),
    *_pairs("record-http-502 callback-dropped", QUERY, COMMIT),
    *_pairs("record-null callback-dropped", QUERY, QUERY, (Side.AFTER,)),
    *_pairs("record-contradicts", QUERY, COMMIT),
)


def kills(group: str, points: Iterable[Point], *, replicas: int, tasks: int) -> list[Combination]:
    return [
        Combination(group=group, replicas=replicas, tasks=tasks, point=point) for point in points
    ]


def faults(names: Iterable[str], *, replicas: int, tasks: int) -> list[Combination]:
    """Each fault alone, or with those that it takes to be noticed."""
    return [
        Combination(group=FAULTS, replicas=replicas, tasks=tasks, faults=(name, *beside))
        for name in names
        for beside in (MADE[name].beside, *BESIDE.get(name, ()))
    ]


def paired(pair: Pair, recorded: Sequence[Point], *, replicas: int, tasks: int) -> Combination:
    return Combination(
        group=PAIRS,
        replicas=replicas,
        tasks=tasks,
        faults=pair.faults,
        point=pair.point(recorded),
        title=str(pair),
    )


def sampled(points: Iterable[Point], *, seed: int, each: int = SAMPLED) -> list[Point]:
    """Choose some occurrences of each kind of message.

    Of the first half of them: how often a kind comes among many tasks is chance, so that the last
    ones of one run need not come in the next.
    """
    chance = random.Random(seed)  # noqa: S311  # repeatable, no secret
    kinds: defaultdict[tuple[str, Side], list[Point]] = defaultdict(list)
    for point in points:
        kinds[point.what, point.side].append(point)
    early = (kind[: (len(kind) + 1) // 2] for kind in kinds.values())
    return [point for kind in early for point in chance.sample(kind, min(each, len(kind)))]


def telling(points: Sequence[Point], *, seed: int, others: int) -> list[Point]:
    """Choose every commit and every message over HTTP, and some of the others."""
    must = [point for point in points if re.match(r"COMMIT|kie|gateway|caller", point.what)]
    rest = [point for point in points if point not in must]
    return must + random.Random(seed).sample(rest, min(others, len(rest)))  # noqa: S311  # as above


def limited(limit: int, point: Point, *, replicas: int, windows: int = 2) -> Combination:
    """More tasks than the account may create in so many windows, and a death among them."""
    limits = {"createsPerWindow": limit, "runningCap": limit}
    return Combination(
        group=LIMITS,
        replicas=replicas,
        tasks=windows * limit + 2,
        limits=limits,
        point=point,
        title=f"{limit} creates in 10 s, {limit} running x {point}",
    )
