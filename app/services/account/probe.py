"""The account at kie.ai: probing it for free while it refuses our key or credits."""

from collections.abc import Callable
from decimal import Decimal

import structlog

from app.domain.admission import PAUSES, HoldReason
from app.domain.policy import Policy
from app.domain.report import NoAnswer
from app.domain.retry import backoff
from app.kie.client import KieClient
from app.services.consequences import Consequences, Transact
from app.store.account import admission, condition
from app.store.connections.engine import Connection, Database
from app.store.signals import QUEUE

log = structlog.get_logger(__name__)


class Account:
    """Asks for the balance: to show it, and to learn whether the account works again."""

    def __init__(
        self,
        database: Database,
        kie: KieClient,
        run: Transact,
        policy: Policy,
        chance: Callable[[], float],
    ) -> None:
        self._database = database
        self._kie = kie
        self._run = run
        self._policy = policy
        self._chance = chance

    async def probe_due(self) -> float | None:
        """Make the credit call if the account is held and one is due.

        Where it goes well one task is risked; only its acceptance ends the hold.
        """
        async with self._database.at_once() as connection:
            tries = await condition.claim_probe(connection, lease=self._policy.lease)
        if tries is None:
            return None
        good = await self._works()
        pause = PAUSES[HoldReason.KIE_ACCOUNT]
        wait = backoff(tries + 1, first=pause.first, ceiling=pause.ceiling, share=self._chance())

        async def work(connection: Connection, consequences: Consequences) -> None:
            await condition.end_probe(connection, good=good, wait=wait)
            if good:
                consequences.wake(QUEUE)

        await self._run(work)
        log.info("account.probed", good=good)
        return None

    async def _works(self) -> bool:
        """Tell whether there are credits for the task that would be risked.

        It may cost what its model cost at most so far; where no cost is known, any credits will do.
        """
        balance = await self.balance()
        if not isinstance(balance, Decimal):
            return False
        async with self._database.read() as connection:
            cost = await admission.highest_cost(connection, self._policy.limits)
        return balance >= cost if cost else balance > 0

    async def balance(self) -> Decimal | NoAnswer:
        """Ask kie.ai for the account's credits and keep what it says."""
        answer = await self._kie.credit()
        if isinstance(answer, Decimal):
            async with self._database.begin() as connection:
                await condition.keep_balance(connection, answer)
        return answer
