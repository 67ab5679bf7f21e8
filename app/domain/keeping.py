"""How much of what kie.ai says about one task is kept: a callback's URL may be known to others."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from uuid import UUID

from app.domain.evidence import Judgement, Signature
from app.domain.redact import without_tokens
from app.domain.statement import Statement
from app.domain.task import Source, Standing, yields


@dataclass(frozen=True, slots=True)
class Bound:
    """What one task's callbacks may fill together."""

    rows: int
    bytes: int


ANYTHING = Bound(rows=50, bytes=5 * 1024 * 1024)
"""kie.ai calls back once, and some times more where it is not answered; the largest body seen has
tens of kilobytes. So this is far beyond what an honest task needs."""

ENDS = Bound(rows=100, bytes=10 * 1024 * 1024)
"""For an end that the open task waits for, a signed end, and kie.ai's record: what fills the first
bound must not keep these out."""

HEAD = 1024
"""Bytes that are kept of a body for which there is no room: enough to see what it is."""


class Keep(StrEnum):
    """What is kept of a statement."""

    WHOLE = "whole"
    HEAD = "head"
    """Its hash, size and first bytes."""
    REPEATED = "repeated"
    """The same was kept before: it counts there."""
    COUNTED = "counted"
    """Only that it came."""
    ERASED = "erased"
    """Nothing: its task was erased."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """A body as it is kept, and what is known of it as it came."""

    body: bytes
    sha256: bytes
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What is kept about a task already."""

    rows: int
    bytes: int
    stored: bool
    """This very statement: an earlier try was committed."""
    same: UUID | None
    """The row of the same body, verdict and signature, kept whole."""


def raw(body: bytes, tokens: Sequence[str]) -> Raw:
    """Return a body as it is kept: without the task's callback tokens, which still open its URL."""
    return Raw(body=without_tokens(body, tokens), sha256=sha256(body).digest(), size=len(body))


def keep(tally: Tally, size: int, *, changes: bool, waited_for: bool) -> Keep:
    """Decide what is kept; what changes the task always is."""
    if tally.same is not None:
        return Keep.REPEATED
    bound = ENDS if waited_for else ANYTHING
    if changes:
        return Keep.WHOLE
    if tally.rows >= bound.rows:
        return Keep.COUNTED
    return Keep.WHOLE if tally.bytes + size <= bound.bytes else Keep.HEAD


def changes(standing: Standing | None, judgement: Judgement) -> bool:
    """Tell whether a statement moves, binds, fills or holds the task."""
    if standing is None:
        return False
    effects = (judgement.target, judgement.kie_task_id, judgement.amendment)
    holds = judgement.holds and standing.held_for is None
    return holds or any(effect is not None for effect in effects)


def waited_for(standing: Standing | None, statement: Statement) -> bool:
    """Tell whether it may be the word that the task waits for, or is vouched for otherwise."""
    if statement.source is Source.QUERY:
        return True
    open_end = standing is not None and yields(standing)
    return statement.ends and (open_end or statement.signature is Signature.VALID)
