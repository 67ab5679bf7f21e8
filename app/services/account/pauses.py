"""The brake: an operator pauses all sending, or one client's, and resumes it.

Each act and its audit entry are one transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.audit import Action, Operator
from app.domain.client import is_name, no_such_client
from app.domain.errors import InvalidRequestError
from app.domain.policy import Policy
from app.services.clients.settings import shown
from app.services.consequences import Consequences, Transact
from app.store.account import admission, breakers, condition, queues, shares
from app.store.clients import audit
from app.store.connections.engine import Connection, Database
from app.store.signals import QUEUE

MAX_NOTE = 500
"""Bytes of an operator's note."""

MAX_PAIRS = 100
"""Held pairs that an operator is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionStatus:
    """Whether anything may be sent, and who waits for it."""

    account: Mapping[str, Any]
    held_pairs: Sequence[Mapping[str, Any]]
    """Those whose probes failed most often, at most `MAX_PAIRS`."""
    held_pairs_total: int
    seats: Sequence[Mapping[str, Any]]
    """Who has them, and who waits for one."""
    clients: Sequence[Mapping[str, Any]]

    @property
    def shown(self) -> dict[str, Any]:
        """Return it as one object, as operators read it."""
        return {
            **self.account,
            "held_pairs": self.held_pairs,
            "held_pairs_total": self.held_pairs_total,
            "seats": self.seats,
            "clients": self.clients,
        }


class Pauses:
    """Pauses and resumes; `operator` is who said so."""

    def __init__(self, database: Database, run: Transact, policy: Policy) -> None:
        self._database = database
        self._run = run
        self._policy = policy

    async def status(self) -> AdmissionStatus:
        async with self._database.read() as connection:
            return AdmissionStatus(
                account=dict(await condition.status(connection, self._policy.limits)),
                held_pairs=[
                    dict(row) for row in await breakers.list_held(connection, limit=MAX_PAIRS)
                ],
                held_pairs_total=sum((await breakers.count_held(connection)).values()),
                seats=[dict(row) for row in await shares.seats(connection, self._policy.limits)],
                clients=[shown(row) for row in await queues.list_queues(connection)],
            )

    async def pause(self, operator: Operator, *, client: str | None, note: str | None) -> None:
        """Admit nothing, or nothing of one client's; what is under way goes on.

        Raises `NotFoundError` where there is no such client, and `InvalidRequestError` for a note
        that cannot be kept.
        """
        _check_note(note)

        async def work(connection: Connection, _: Consequences) -> None:
            # Whoever admits just now ends first: what begins after the commit sees the brake.
            await admission.lock_account(connection, wait=True)
            if client is None:
                await condition.pause(connection, note)
            elif not (is_name(client) and await queues.pause(connection, client, note)):
                raise no_such_client(client)
            await audit.note(
                connection,
                Action.ADMISSION_PAUSED,
                operator=operator,
                client=client,
                detail={"note": note} if note else {},
            )

        await self._run(work)

    async def resume(self, operator: Operator, *, client: str | None) -> None:
        """Admit again; raises `NotFoundError` where there is no such client."""

        async def work(connection: Connection, consequences: Consequences) -> None:
            if client is None:
                await condition.resume(connection)
            elif not (is_name(client) and await queues.resume(connection, client)):
                raise no_such_client(client)
            await audit.note(connection, Action.ADMISSION_RESUMED, operator=operator, client=client)
            consequences.wake(QUEUE)

        await self._run(work)


def _check_note(note: str | None) -> None:
    try:
        if note is None or (len(note.encode()) <= MAX_NOTE and note.isprintable()):
            return
    except UnicodeEncodeError:
        pass
    detail = f"A note is one line of at most {MAX_NOTE} bytes."
    raise InvalidRequestError(detail)
