"""The connections of which nobody knows whose they are: only so many, and who goes first."""

from typing import Protocol


class Connection(Protocol):
    """What is asked to go."""

    def is_known(self) -> bool: ...

    def make_way(self) -> None: ...


class Strangers:
    """Connections without a complete request of a caller who is known (app/api/callers.py).

    Of too many, those go first that have had an answer and showed neither key nor token, the one
    that was answered longest ago before the others; then those that wait longest. So a newcomer has
    its chance to show a key, however many come back again and again without one.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._answered: dict[Connection, None] = {}
        self._unheard: dict[Connection, None] = {}

    def arrives(self, one: Connection) -> None:
        self._unheard[one] = None
        self._make_room()

    def is_answered(self, one: Connection) -> None:
        """Take it back after a request that showed nothing."""
        self.leaves(one)
        self._answered[one] = None
        self._make_room()

    def leaves(self, one: Connection) -> None:
        """Forget it: it is gone, known, or has a request under way."""
        self._answered.pop(one, None)
        self._unheard.pop(one, None)

    def _make_room(self) -> None:
        while len(self) > self._bound:
            first = next(iter(self._answered or self._unheard))
            self.leaves(first)
            if not first.is_known():  # else its body is still coming
                first.make_way()

    def __len__(self) -> int:
        return len(self._answered) + len(self._unheard)
