"""What tasks have cost: the changes as they come, and their sums by client, day and model.

Days are those of UTC. Credits and seconds are decimal numbers, exact to the last digit.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from app.domain.days import span
from app.domain.errors import bad_parameter
from app.domain.spend import NOTHING
from app.domain.task import State

ENDS = (State.SUCCEEDED, State.FAILED, State.CANCELED, State.EXPIRED)
"""The states that usage counts tasks by."""

# -- what is asked for

_GROUP_BY = "group_by"

MAX_DAYS = 400
"""Days that one look at usage goes over: a year, and a month more to compare."""
USUAL_DAYS = 30
MAX_GROUPS = 10_000
"""Groups in one answer."""
USUAL_GROUPS = 1000

METADATA = "metadata."


class Group(StrEnum):
    """What usage is grouped by, beside one `metadata.KEY`."""

    DAY = "day"
    CLIENT = "client"
    MODEL = "model"
    FAIL_CLASS = "fail_class"


TOTAL = ""
"""The dimension of the rows that count every task once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A look at usage: both days are included."""

    first: date
    last: date
    by: tuple[str, ...]
    """`Group`s and at most one dimension, in the order of the columns."""
    limit: int = USUAL_GROUPS
    after: tuple[str, ...] | None = None
    """The last group of the page before: the places of its values by `by`."""

    @property
    def dimension(self) -> str:
        """The one beside day, client and model: `fail_class`, `metadata.KEY` or `TOTAL`."""
        plain = (Group.DAY, Group.CLIENT, Group.MODEL)
        return next((name for name in self.by if name not in plain), TOTAL)


def place_of(value: str | None) -> str:
    """Return where a value stands among others: none comes before the empty text."""
    return "" if value is None else f".{value}"


def wanted(
    today: date,
    *,
    first: date | None,
    last: date | None,
    by: Sequence[str],
    allowed: Collection[Group],
    limit: int = USUAL_GROUPS,
) -> Wanted:
    """Read what somebody asks for; raises `InvalidRequestError`."""
    first, last = span(today, first, last, usual=USUAL_DAYS, most=MAX_DAYS)
    names = tuple(dict.fromkeys(by))
    known = ", ".join((*allowed, f"{METADATA}KEY"))
    for name in names:
        is_key = name.startswith(METADATA) and len(name) > len(METADATA)
        if "\0" in name or not (is_key or name in tuple(allowed)):
            raise bad_parameter(_GROUP_BY, f"should name, with commas between: {known}")
    if sum(name not in (Group.DAY, Group.CLIENT, Group.MODEL) for name in names) > 1:
        raise bad_parameter(_GROUP_BY, "should have only one of fail_class and metadata.KEY")
    return Wanted(first=first, last=last, by=names, limit=limit)


# -- what is kept

MAX_KEYS = 20
"""Metadata keys of a client and day that usage is kept by; of the others only the total is."""
MAX_VALUES = 200
"""Values of each of them, and models: what comes after them counts as `OTHER`."""
MAX_TEXT = 200
"""Characters of a value that are kept."""
OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One change of a task, as it was appended."""

    client_id: UUID
    task_id: UUID
    day: date
    created_day: date
    model: str
    metadata: Mapping[str, str] | None
    left_state: str | None = None
    """The final state before; None: it was none."""
    left_class: str | None = None
    left_credits: Decimal = NOTHING
    left_seconds: Decimal = NOTHING
    state: str | None = None
    """The final state after; None: it is none."""
    fail_class: str | None = None
    credits: Decimal = NOTHING
    seconds: Decimal = NOTHING
    reserved: Decimal = NOTHING
    """What the reserve grew by: less than nothing where it was given back."""

    @property
    def spent(self) -> Decimal:
        return self.credits - self.left_credits

    @property
    def overshoot(self) -> Decimal:
        """By how much a cost that became known is above what was reserved for it.

        The first task of a model has no reserve: what it costs is no overshoot.
        """
        if self.left_state is None and self.reserved == NOTHING:
            return NOTHING
        return max(NOTHING, self.spent + min(self.reserved, NOTHING))

    @property
    def sides(self) -> tuple["Side", "Side"]:
        """What it takes from usage, and what it adds."""
        before = Side(-1, self.left_state, self.left_class, self.left_credits, self.left_seconds)
        return before, Side(1, self.state, self.fail_class, self.credits, self.seconds)


@dataclass(frozen=True, slots=True)
class Side:
    """A task as it was before a change (`sign` -1), or as it is after it (1)."""

    sign: int
    state: str | None
    fail_class: str | None
    credits: Decimal
    seconds: Decimal


@dataclass(slots=True)
class Sums:
    """What was added to one row of usage."""

    tasks: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ENDS, 0))
    credits: Decimal = NOTHING
    seconds: Decimal = NOTHING


UsageRow = tuple[UUID, date, str, str, str]
"""Client, day, model, dimension, value."""


class Names:
    """The models and values that a client has used on a day: as many as are kept apart."""

    def __init__(self, known: Iterable[UsageRow]) -> None:
        self._models: dict[tuple[UUID, date], set[str]] = {}
        self._values: dict[tuple[UUID, date], dict[str, set[str]]] = {}
        for client, day, model, key, value in known:
            self._models.setdefault((client, day), set()).add(model)
            self._values.setdefault((client, day), {}).setdefault(key, set()).add(value)

    def model(self, entry: Entry) -> str:
        """Return the model, or `OTHER` where there are as many already."""
        seen = self._models.setdefault((entry.client_id, entry.day), set())
        return _kept(seen, entry.model)

    def value(self, entry: Entry, key: str, value: str) -> str | None:
        """Return the value or `OTHER`; None: usage is not kept by one more key."""
        keys = self._values.setdefault((entry.client_id, entry.day), {})
        own = [name for name in keys if name.startswith(METADATA)]
        if key.startswith(METADATA) and key not in keys and len(own) >= MAX_KEYS:
            return None
        return _kept(keys.setdefault(key, set()), value)


def _kept(seen: set[str], name: str) -> str:
    name = name[:MAX_TEXT]
    if name not in seen and len(seen - {OTHER}) >= MAX_VALUES:
        name = OTHER
    seen.add(name)
    return name


def folded(entries: Iterable[Entry], known: Iterable[UsageRow]) -> Mapping[UsageRow, Sums]:
    """Sum the entries up by the rows of usage that they belong to.

    `known`: the rows that there are of their clients and days. However many models, keys and values
    a caller invents, a client has a bounded number of rows on a day.
    """
    names, sums = Names(known), dict[UsageRow, Sums]()
    for entry in entries:
        for side in entry.sides:
            if side.state is not None:
                for key, value in _dimensions(names, entry, side):
                    row = (entry.client_id, entry.day, names.model(entry), key, value)
                    _add(sums.setdefault(row, Sums()), side)
    return sums


def _dimensions(names: Names, entry: Entry, side: Side) -> Iterable[tuple[str, str]]:
    """Return the dimensions that a task counts in, each with its value."""
    yield TOTAL, ""
    if side.fail_class is not None:
        yield str(Group.FAIL_CLASS), side.fail_class
    for key, text in sorted((entry.metadata or {}).items()):
        value = names.value(entry, METADATA + key, text)
        if value is not None:
            yield METADATA + key, value


def _add(sums: Sums, side: Side) -> None:
    if side.state is not None:
        sums.tasks[side.state] += side.sign
    sums.credits += side.sign * side.credits
    sums.seconds += side.sign * side.seconds
