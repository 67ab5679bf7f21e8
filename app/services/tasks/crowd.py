"""Creates that come in a crowd: one of them releases and admits for all, in one transaction.

An admission costs nearly the same for twenty tasks as for one, and admissions go one after the
other. So who finds that others wait stores its task, and joins: whose turn comes first takes all
along that have joined by then.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from app.services.account.admission import Claim
from app.services.consequences import Consequences
from app.services.tasks.intake import Intake
from app.services.tasks.submit import ADMIT_PATIENCE, Sending, Submitter
from app.store.account.admission import ClaimedTask
from app.store.connections.engine import Connection
from app.store.signals import QUEUE
from app.store.tasks import storing


@dataclass(slots=True)
class Joined:
    """What became of a stored task that was to be admitted with others."""

    is_held: bool
    """Nobody may send it before it is released."""
    sending: Sending | None = None
    """None: its turn has not come."""


class Crowd:
    """The stored tasks of a process that wait to be admitted together."""

    def __init__(self, intake: Intake, submitter: Submitter, new_id: Callable[[], UUID]) -> None:
        self._intake = intake
        self._submitter = submitter
        self._new_id = new_id
        self._waiting: dict[UUID, Joined] = {}

    async def admit(self, task_id: UUID, *, is_held: bool) -> Joined:
        """Release a stored task where it is held, and admit it; returns how that left it.

        Where the one that admits for all fails, it fails for itself: the others find theirs as they
        left it. Raises `DatabaseUnavailableError`.
        """
        self._waiting[task_id] = joined = Joined(is_held)
        try:
            await self._submitter.turn_to_admit(ADMIT_PATIENCE)
        except BaseException:
            self._waiting.pop(task_id, None)
            raise
        try:
            if task_id in self._waiting:
                together, self._waiting = self._waiting, {}
                await self._admit(self._left(together))
        finally:
            self._submitter.line.end()
        return joined

    def _left(self, together: Mapping[UUID, Joined]) -> Mapping[UUID, Joined]:
        """Leave out what was admitted meanwhile: it was stored, and not held."""
        for task_id, joined in together.items():
            joined.sending = self._submitter.sending(task_id)
        return {task_id: joined for task_id, joined in together.items() if joined.sending is None}

    async def _admit(self, together: Mapping[UUID, Joined]) -> None:
        if not together:
            return
        claim = Claim(self._new_id())
        held = [task_id for task_id, joined in together.items() if joined.is_held]

        async def work(
            connection: Connection, consequences: Consequences
        ) -> tuple[set[UUID], Sequence[ClaimedTask]]:
            released = await storing.release_all(connection, held) if held else set()
            claimed = await self._submitter.claim(connection, claim, wait=True)
            if not together.keys() <= {task.id for task in claimed}:
                consequences.wake(QUEUE)  # those released just now are sent by who has room first
            return released, claimed

        async with self._submitter.recovered(claim):
            released, claimed = await self._intake.run(work, patience=ADMIT_PATIENCE)
        sent = self._submitter.send(claimed, claim, awaited=together.keys())
        for task_id, joined in together.items():
            joined.sending = sent.get(task_id)
            joined.is_held = joined.is_held and task_id not in released and joined.sending is None
