"""Admission for the services: the same rule for whoever creates a task and for the worker."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import structlog

from app.domain.admission import PAUSES, Call, Condition, condition_after, is_throttled
from app.domain.policy import Policy
from app.domain.retry import backoff
from app.domain.submission import Outcome, with_code
from app.store import slots
from app.store.account import admission, condition
from app.store.account.admission import ClaimedTask
from app.store.engine import Connection, Database
from app.store.slots import Held

CALL_MARGIN = 30.0
"""Seconds beyond a call's timeout for which its slot stays taken: the answer's way to the record
leads through a database that may be away."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Claim:
    """One admission, which may take several tries to commit."""

    id: UUID
    tries: int = field(default=0, init=False)


class Admission:
    """Takes tasks out of the queue, and learns from how their creates end."""

    def __init__(self, database: Database, policy: Policy, chance: Callable[[], float]) -> None:
        self._database = database
        self._policy = policy
        self._limits = policy.limits
        self._chance = chance

    async def admit(
        self, connection: Connection, claim: Claim, *, limit: int, wait: bool
    ) -> list[ClaimedTask]:
        """Take up to `limit` tasks, whoever's turn it is; they are to be sent after the commit.

        Without `wait`, nothing is taken where somebody else admits just now. A second try looks
        first for what the first one took: its commit may have gone through.
        """
        claim.tries += 1
        locked = await admission.lock_account(connection, wait=wait)
        if claim.tries > 1 and (taken := await self.claimed(connection, claim)):
            return taken
        if not locked:
            return []
        return await admission.admit(
            connection,
            limits=self._limits,
            limit=limit,
            lease=self._policy.lease,
            taken_for=self._limits.creates.window + self._policy.call + CALL_MARGIN,
            claim=claim.id,
        )

    async def claimed(self, connection: Connection, claim: Claim) -> list[ClaimedTask]:
        """Return what the claim took, where its commit went through unheard."""
        return await admission.claimed_by(connection, claim.id)

    async def next_chance(self) -> float | None:
        """Return the seconds until something might be admitted, 0: now; None: nobody knows."""
        async with self._database.read() as connection:
            return await admission.next_chance(connection, self._limits)

    async def record_outcome(
        self,
        connection: Connection,
        claimed: ClaimedTask,
        outcome: Outcome,
        *,
        answered_ago: float,
    ) -> None:
        """Free the create's slot, and hold the account or trust it again.

        `answered_ago` in seconds; what kie.ai said is shown to operators. A second time for one
        create changes nothing.
        """
        since = claimed.submitted_at
        # Nearly always there is none, and then the account's row is not even locked.
        teaches = await self._condition_after(connection, outcome, since, lock=False) is not None
        if teaches:  # the account before the slot, as the admission locks them
            await admission.lock_account(connection, wait=True)
        held = Held(
            call=Call.CREATE, slot=claimed.slot, task_id=claimed.id, attempt=claimed.attempt
        )
        window = self._limits.creates.window
        if not await slots.release(connection, held, window=window, answered_ago=answered_ago):
            return
        if not teaches:
            return
        if is_throttled(outcome):
            await condition.record_throttling(connection, self._limits, since=since)
        after = await self._condition_after(connection, outcome, since, lock=True)
        if after is not None:
            await self._hold(connection, after, with_code(outcome))

    async def _condition_after(
        self, connection: Connection, outcome: Outcome, since: datetime, *, lock: bool
    ) -> Condition | None:
        """Return the account's new condition; None: it stays as it is."""
        found = await condition.condition(connection, since=since, lock=lock)
        after = condition_after(found.condition, outcome, probed=found.probed)
        return None if after == found.condition else after

    async def _hold(self, connection: Connection, after: Condition, detail: str | None) -> None:
        if after.hold_reason is None:
            await condition.set_condition(connection, after, detail=None, wait=None)
            log.info("account.condition", hold_reason=None, unknowns=after.unknowns)
            return
        pause = PAUSES[after.hold_reason]
        wait = backoff(
            after.hold_tries, first=pause.first, ceiling=pause.ceiling, share=self._chance()
        )
        await condition.set_condition(connection, after, detail=detail, wait=wait)
        log.warning(
            "account.held",
            hold_reason=after.hold_reason,
            detail=detail,
            tries=after.hold_tries,
            probe_in=round(wait, 1),
        )
