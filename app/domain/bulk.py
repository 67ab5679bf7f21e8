"""What an operator may do to many tasks at once: which states each act leaves, and which tasks."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from uuid import UUID

from app.domain.audit import Action
from app.domain.errors import InvalidRequestError
from app.domain.task import State


class Act(StrEnum):
    """What is done to each task."""

    CANCEL = "cancel"
    REQUEUE = "requeue"
    FAIL = "fail"


LEAVES: Mapping[Act, tuple[State, ...]] = {
    Act.CANCEL: (State.QUEUED,),
    Act.REQUEUE: (State.UNCONFIRMED,),
    # What runs is paid and will end: to fail it would only hide its result for a while.
    Act.FAIL: (State.QUEUED, State.UNCONFIRMED),
}
"""The states from which each act leads; tasks in others are never touched."""

ACTIONS: Mapping[Act, Action] = {
    Act.CANCEL: Action.TASKS_CANCELED,
    Act.REQUEUE: Action.TASKS_REQUEUED,
    Act.FAIL: Action.TASKS_FAILED,
}
"""How the audit calls a run."""

MAX_REASON = 500
"""Bytes of a reason: callers read it."""

MAX_IDS = 1_000
"""Ids that may be named at once."""


MAX_AGE = 100 * 365 * 24 * 3600.0
"""Seconds, the most that a task may be asked to be old: beyond that instants end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which tasks; what is not given narrows nothing."""

    ids: tuple[UUID, ...] = ()
    client: str | None = None
    """By name."""
    states: tuple[State, ...] = ()
    model: str | None = None
    older_than: float | None = None
    """Seconds since it was created."""

    @property
    def noted(self) -> dict[str, str]:
        """Write it for the audit."""
        given = {name: value for name, value in asdict(self).items() if value not in ((), None)}
        if "ids" in given:
            given["ids"] = f"{len(self.ids)} named"
        if "states" in given:
            given["states"] = " ".join(self.states)
        if self.older_than is not None:
            given["older_than"] = f"{self.older_than:g}"
        return given


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One run: what is to be done to which tasks."""

    act: Act
    selection: Selection
    may_pay_again: bool = False
    reason: str | None = None
    """For `fail`: what callers are told."""

    @property
    def states(self) -> tuple[State, ...]:
        """The states that it leaves."""
        return self.selection.states or LEAVES[self.act]


def check(order: Order) -> None:
    """Raise `InvalidRequestError` for an order that cannot be carried out."""
    chosen = order.selection
    for trouble in (
        _too_wide(chosen),
        _too_many(chosen),
        _wrong_states(order),
        _wrong_age(chosen),
        _wrong_reason(order),
    ):
        if trouble is not None:
            raise InvalidRequestError(trouble)


def _too_wide(chosen: Selection) -> str | None:
    if chosen == Selection():
        return "Say which tasks: by ids, client, states, model or older_than."
    return None


def _too_many(chosen: Selection) -> str | None:
    return f"At most {MAX_IDS} ids at once." if len(chosen.ids) > MAX_IDS else None


def _wrong_states(order: Order) -> str | None:
    if set(order.states) <= set(LEAVES[order.act]):
        return None
    allowed = " or ".join(LEAVES[order.act])
    return f"Only tasks that are {allowed} can be meant by {order.act}."


def _wrong_age(chosen: Selection) -> str | None:
    if chosen.older_than is None or 0 <= chosen.older_than <= MAX_AGE:
        return None
    return "older_than is not below 0, and at most 100 years."


def _wrong_reason(order: Order) -> str | None:
    if order.act is not Act.FAIL:
        return None
    reason = order.reason or ""
    try:
        if reason.strip() and len(reason.encode()) <= MAX_REASON and reason.isprintable():
            return None
    except UnicodeEncodeError:
        pass
    return f"Give a reason, for the callers: one line of at most {MAX_REASON} bytes."
