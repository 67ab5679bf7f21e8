"""Admission for the services: the same rule for whoever creates a task and for the worker."""

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from app.domain.admission import (
    PAUSES,
    Condition,
    HoldReason,
    Pair,
    condition_after,
    is_throttled,
    pair_trouble,
)
from app.domain.breaker import CLOSED, Breaker, breaker_after
from app.domain.fence import Instant, is_in_time
from app.domain.policy import Policy
from app.domain.retry import backoff
from app.domain.submission import Accepted, Outcome, with_code
from app.services.account.witness import Witness
from app.store import slots
from app.store.account import admission, breakers, condition, standing
from app.store.account.admission import Chance, ClaimedTask
from app.store.account.standing import Standing
from app.store.connections.engine import Connection, Database

CALL_MARGIN = 30.0
"""Seconds beyond a call's timeout for which its slot stays taken: the answer's way to the record
leads through a database that may be away."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Claim:
    """One admission, which may take several tries to commit."""

    id: UUID
    tries: int = field(default=0, init=False)
    began: Instant | None = field(default=None, init=False)
    """When the try began whose leases these are, or an earlier one."""
    counter: int | None = field(default=None, init=False)
    """What the counter is once it is committed; None: it took nothing."""


class Admission:
    """Takes tasks out of the queue, and learns from how their creates end."""

    def __init__(
        self,
        database: Database,
        policy: Policy,
        chance: Callable[[], float],
        witness: Witness,
        clocks: Callable[[], Instant],
    ) -> None:
        self._database = database
        self._policy = policy
        self._witness = witness
        self._limits = policy.limits
        self._chance = chance
        self._clocks = clocks

    async def admit(
        self, connection: Connection, claim: Claim, *, limit: int, wait: bool
    ) -> list[ClaimedTask]:
        """Take up to `limit` tasks, whoever's turn it is; they are to be sent after the commit.

        Without `wait`, nothing is taken where somebody else admits just now, nor is it where the
        database may have lost commits. A second try looks first for what the first one took: its
        commit may have gone through.
        """
        claim.tries += 1
        now = self._clocks()
        locked = await admission.lock_account(connection, wait=wait)
        if claim.tries > 1 and (taken := await self.claimed(connection, claim)):
            return taken
        if locked is None or not self._witness.vouches_for(locked):
            return []
        claim.began = now  # no earlier try has taken anything
        taken = await admission.admit(
            connection,
            limits=self._limits,
            limit=limit,
            lease=self._policy.lease,
            taken_for=self._limits.creates.window + self._policy.call + CALL_MARGIN,
            claim=claim.id,
            plain=locked.is_plain,
        )
        if taken:
            claim.counter = locked.counter + 1
        return taken

    def committed(self, claim: Claim) -> None:
        """Remember that what the claim took is committed: its loss would be noticed."""
        if claim.counter is not None:
            self._witness.remember(claim.counter)

    async def claimed(self, connection: Connection, claim: Claim) -> list[ClaimedTask]:
        """Return what the claim took, where its commit went through unheard."""
        return await admission.claimed_by(connection, claim.id)

    async def settled_claim(self, connection: Connection, claim: Claim) -> list[ClaimedTask]:
        """Return the same once nothing of it is under way any more: who commits has the lock."""
        await admission.lock_account(connection, wait=True)
        return await self.claimed(connection, claim)

    def is_in_time(self, claim: Claim) -> bool:
        """Tell whether what the claim took may still be sent."""
        began = claim.began
        return began is None or is_in_time(began, self._clocks(), lease=self._policy.lease)

    async def give_back(self, connection: Connection, claimed: ClaimedTask) -> None:
        """Free the slot of a create that was never sent."""
        await slots.release(connection, claimed.held, window=0, answered_ago=0)

    async def spread(self, connection: Connection) -> None:
        """Have slots come free one after the other."""
        await admission.lock_account(connection, wait=True)
        await slots.spread(connection, self._limits.creates)

    async def next_chance(self) -> Chance:
        """Return when something might be admitted."""
        async with self._database.read() as connection:
            return await admission.next_chance(connection, self._limits)

    async def record_outcome(
        self,
        connection: Connection,
        claimed: ClaimedTask,
        outcome: Outcome,
        *,
        answered_ago: float,
    ) -> float:
        """Free the create's slot, and hold or free the account and the pair.

        Returns the seconds until that leaves room for another. `answered_ago` in seconds; what
        kie.ai said is shown to operators. A second time for one create changes nothing. Locks are
        taken in the admission's order: the caller has the task's row; then come the account's, the
        slot's, and the pair's.
        """
        window = self._limits.creates.window
        # Most of what `accept` left has nothing to teach: no lock is taken then but the slot's.
        if isinstance(outcome, Accepted) and await standing.release_where_all_is_well(
            connection, claimed.pair, claimed.held, window=window, answered_ago=answered_ago
        ):
            return window - answered_ago
        await self._record(connection, claimed, outcome, window, answered_ago)
        return 0

    async def _record(
        self,
        connection: Connection,
        claimed: ClaimedTask,
        outcome: Outcome,
        window: float,
        answered_ago: float,
    ) -> None:
        pair = claimed.pair
        found = await self._standing(connection, claimed, lock=False)
        learns = any(await self._lessons(connection, pair, outcome, found))
        if learns:
            await admission.lock_account(connection, wait=True)
        if isinstance(outcome, Accepted) and found.success_is_old:
            await standing.note_success(connection, pair)
        freed = await slots.release(
            connection, claimed.held, window=window, answered_ago=answered_ago
        )
        if not freed:
            return
        if learns:
            await self._learn(connection, claimed, outcome)

    async def _standing(
        self, connection: Connection, claimed: ClaimedTask, *, lock: bool
    ) -> Standing:
        since = claimed.submitted_at
        return await standing.standing(connection, claimed.pair, since=since, lock=lock)

    async def _lessons(
        self, connection: Connection, pair: Pair, outcome: Outcome, found: Standing
    ) -> tuple[Condition | None, Breaker | None]:
        """Return how the account and the pair stand now; None: as before."""
        alone = pair_trouble(outcome) is not None and not await standing.others_are_active(
            connection, pair.client_id
        )
        return (
            condition_after(found.account, outcome, pair, probed=found.probed, alone=alone),
            breaker_after(found.breaker, outcome, probed=found.pair_probed),
        )

    async def _learn(self, connection: Connection, claimed: ClaimedTask, outcome: Outcome) -> None:
        """Hold or free the account and the pair; the caller has the account's lock."""
        if is_throttled(outcome):
            since = claimed.submitted_at
            await condition.record_throttling(connection, self._limits, since=since)
        found = await self._standing(connection, claimed, lock=True)
        account, breaker = await self._lessons(connection, claimed.pair, outcome, found)
        detail = with_code(outcome)
        if account is not None:
            await self._keep_condition(connection, account, detail)
        if breaker is not None:
            await self._keep_breaker(connection, claimed.pair, breaker, detail)

    async def _keep_condition(
        self, connection: Connection, after: Condition, detail: str | None
    ) -> None:
        if after.hold_reason is None:
            await condition.set_condition(connection, after, detail=None, wait=None)
            log.info("account.condition", hold_reason=None, failures=after.run.failures)
            return
        wait = self._wait(after.hold_reason, after.hold_tries)
        await condition.set_condition(connection, after, detail=detail, wait=wait)
        log.warning("account.held", **_told(after, detail, wait))

    async def _keep_breaker(
        self, connection: Connection, pair: Pair, after: Breaker, detail: str | None
    ) -> None:
        named = {"client_id": str(pair.client_id), "model": pair.model}
        if after == CLOSED:
            await breakers.forget_breaker(connection, pair)
            log.info("pair.freed", **named)
        elif after.hold_reason is None:
            await breakers.keep_breaker(connection, pair, after, detail=detail, wait=None)
        else:
            wait = self._wait(after.hold_reason, after.hold_tries)
            await breakers.keep_breaker(connection, pair, after, detail=detail, wait=wait)
            log.warning("pair.held", **named, **_told(after, detail, wait))

    def _wait(self, reason: HoldReason, tries: int) -> float:
        """Return the seconds until the next probe."""
        pause = PAUSES[reason]
        return backoff(tries, first=pause.first, ceiling=pause.ceiling, share=self._chance())


def _told(after: Condition | Breaker, detail: str | None, wait: float) -> dict[str, object]:
    """Return what the log says of a hold."""
    return {
        "hold_reason": after.hold_reason,
        "detail": detail,
        "tries": after.hold_tries,
        "probe_in": round(wait, 1),
    }
