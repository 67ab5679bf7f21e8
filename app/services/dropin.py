"""What the drop-in API reads: a client's own tasks and results, and the account's credits."""

import asyncio
from decimal import Decimal
from uuid import UUID

from app.domain.errors import KieNotAnsweringError, NotPermittedError
from app.domain.report import DownloadLink, NoAnswer
from app.kie.client import KieClient
from app.services.account.probe import Account
from app.services.files.handout import Handed, Handout
from app.services.spend.budgets import Budgets
from app.store.account import condition
from app.store.clients import clients
from app.store.connections.engine import Columns, Database
from app.store.tasks import rows

MAX_ID = 200
"""Characters of the longest id that is looked up."""

BALANCE_KEPT = 5.0
"""Seconds for which the balance counts as known: kie.ai is not asked for every caller."""


class DropIn:
    """Reads what is a client's own, and nothing else."""

    def __init__(
        self,
        database: Database,
        kie: KieClient,
        account: Account,
        budgets: Budgets,
        handout: Handout,
    ) -> None:
        self._database = database
        self._budgets = budgets
        self._kie = kie
        self._account = account
        self._handout = handout
        self._asking = asyncio.Lock()

    async def task(self, client_id: UUID, named: str) -> Columns | None:
        """Return the client's task by the gateway's id or by kie.ai's; None: it has no such."""
        if not _is_id(named):
            return None
        async with self._database.read(client_id) as connection:
            own = _own_id(named)
            found = None
            if own is not None:
                found = await rows.read_task(connection, client_id=client_id, task_id=own)
            if found is None:
                found = await rows.read_by_kie_id(
                    connection, client_id=client_id, kie_task_id=named
                )
        return None if found is None else dict(found)

    async def balance(self, client_id: UUID) -> Decimal:
        """Return the account's credits, or what is left of the client's own budget.

        The first only to a client that may see them. Raises `NotPermittedError`, and
        `KieNotAnsweringError`.
        """
        async with self._database.read(client_id) as connection:
            sees_balance = await clients.sees_balance(connection, client_id)
        if not sees_balance:
            return await self._own_budget(client_id)
        async with self._asking:
            async with self._database.read(client_id) as connection:
                known = await condition.fresh_balance(connection, within=BALANCE_KEPT)
            answer = known if known is not None else await self._account.balance()
        if isinstance(answer, NoAnswer):
            raise _not_answering()
        return answer

    async def _own_budget(self, client_id: UUID) -> Decimal:
        remaining = await self._budgets.remaining(client_id)
        if remaining is None:
            detail = (
                "this client may not see the account's credits, and has no budget of its own; your "
                "key is good, and tasks can be created"
            )
            raise NotPermittedError(detail)
        return remaining

    async def download_url(self, client_id: UUID, url: str) -> DownloadLink | Handed | None:
        """Have kie.ai make a link to a result of the client's; None: it has no such result.

        Where kie.ai has, or is bound to have, deleted it, the archive's copy is returned. Raises
        `KieNotAnsweringError`.
        """
        async with self._database.read(client_id) as connection:
            if "\0" in url or not await rows.owns_result(connection, client_id=client_id, url=url):
                return None
        if (copy := await self._handout.of_url(client_id, url, always=False)) is not None:
            return copy
        answer = await self._kie.download_url(url)
        if isinstance(answer, DownloadLink) and answer.url is not None:
            return answer
        if (copy := await self._handout.of_url(client_id, url, always=True)) is not None:
            return copy
        if isinstance(answer, NoAnswer):
            raise _not_answering()
        return answer


def _is_id(named: str) -> bool:
    return 0 < len(named) <= MAX_ID and "\0" not in named


def _own_id(named: str) -> UUID | None:
    """Read an id of ours, as 32 hex digits or with dashes; None: it can only be kie.ai's."""
    try:
        return UUID(named)
    except ValueError:
        return None


def _not_answering() -> KieNotAnsweringError:
    """Give no reason: it may be about the gateway's own key and account."""
    return KieNotAnsweringError("kie.ai does not answer this now; please try again later")
