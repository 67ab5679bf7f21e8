"""A pair's breaker: what each answer to a create teaches of its client's dealings with its model.

One client's bad parameters, or one model's maintenance, are nobody else's trouble. A pair that is
held lets all others pass and is probed by one task at a time.
"""

from dataclasses import dataclass

from app.domain.admission import HoldReason, pair_trouble, shows_kie_works
from app.domain.submission import Outcome, Unknown

UNKNOWNS_IN_A_ROW = 3
"""Answers that leave a create unknown and hold their pair. One or two are chance: a connection that
broke, a proxy that restarted. The third is a pattern, and each further one costs a task that stays
`unconfirmed`, may be paid for nothing, and takes a seat for a quarter of an hour. A refusal, in
contrast, costs nothing and is kie.ai's own word: the first one holds.
"""

BREAKERS_PER_CLIENT = 100
"""A client may name any model, existing or not: what is remembered of it has to end somewhere."""

FORGOTTEN_AFTER = 900.0
"""Seconds without news, since the hold ended, after which a breaker is removed: its pair has no
tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """How a pair stands."""

    hold_reason: HoldReason | None = None
    hold_tries: int = 0
    """Probes that failed in a row, the first trouble included."""
    unknowns: int = 0
    """Creates in a row of which nobody knows what became, up to those that hold."""


CLOSED = Breaker()
"""Nothing is known against the pair, and nothing is kept."""


def breaker_after(before: Breaker, outcome: Outcome, *, probed: bool) -> Breaker | None:
    """Say how the pair stands after an attempt of its own ended so; None: it taught nothing.

    `probed`: the attempt began after the hold did; see `condition_after`. A create that is accepted
    frees the pair, and so does a request that kie.ai refuses for what is in it. What is the
    account's own trouble says nothing of a pair, and does not even break a row of unknowns. Under
    a hold each further trouble of the pair makes the next wait longer, of whichever kind: kinds
    that take turns must not keep it short.
    """
    held = before.hold_reason is not None
    if held and not probed:
        return None
    after = _after(before, outcome)
    return None if after == before and not held else after


def _after(before: Breaker, outcome: Outcome) -> Breaker:
    if shows_kie_works(outcome):
        return CLOSED
    trouble = pair_trouble(outcome)
    if trouble is None:
        return before
    unknowns = 0
    if isinstance(outcome, Unknown):
        unknowns = min(before.unknowns + 1, UNKNOWNS_IN_A_ROW)
        if before.hold_reason is None and unknowns < UNKNOWNS_IN_A_ROW:
            return Breaker(unknowns=unknowns)
    return Breaker(hold_reason=trouble, hold_tries=before.hold_tries + 1, unknowns=unknowns)
