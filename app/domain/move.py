"""One move of a task from state to state, as the lifecycle has it carried out."""

from dataclasses import dataclass
from uuid import UUID

from app.domain.task import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One move, and what the row owes after it; durations in seconds, None: nothing is owed."""

    id: UUID
    left: State
    target: State
    due_in: float | None = None
    expires_in: float | None = None
    tries: int = 0
    reason: str | None = None
    """A sentence for the task's history."""
    model: str | None = None
    """The task's, where it is at hand: its pace says when to ask about it."""

    def require(self, *, won: bool) -> None:
        """Raise `LostMoveError` where it was not carried out."""
        if not won:
            raise LostMoveError(self)


class LostMoveError(Exception):
    """A row that is locked was not in the state that was read of it: a defect."""

    def __init__(self, move: Move) -> None:
        super().__init__(f"{move.id}: {move.left} -> {move.target}")
