"""How long things are kept: bounds of storage, as the settings have them."""

from dataclasses import dataclass

from app.domain.task import State

DAY = 86_400.0
"""Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Seconds; None: for ever."""

    tasks: float | None = None
    """From a task's final state until it goes, with all that belongs to it."""
    raw: float | None = None
    """How long bodies, headers and receivers' answers are kept as they came."""
    tombstones: float | None = None
    """From an erasure on: as long as the task would have kept its key, and its URL was good."""


def retention(*, days: int, raw_days: int, token_days: int) -> Retention:
    """Return what the settings mean; 0 days of tasks: for ever, of raw bodies: as their tasks."""
    tasks = days * DAY if days else None
    return Retention(
        tasks=tasks,
        raw=raw_days * DAY if raw_days else tasks,
        tombstones=max(days, token_days) * DAY if days else None,
    )


OPEN_AT_KIE = (State.SUBMITTING, State.UNCONFIRMED, State.RUNNING)
"""What nobody can cancel: kie.ai has it, or may have it."""
