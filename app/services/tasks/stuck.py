"""What operators may do: the brake, the shares, and the few things that only a person can decide.

Each act and its audit entry are one transaction.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.domain.audit import Action, Actor
from app.domain.callback_url import CallbackUrls
from app.domain.client import is_name, no_such_client
from app.domain.errors import (
    InvalidRequestError,
    KieNotAnsweringError,
    NotStuckError,
    PaidTwiceRiskError,
    no_such_task,
)
from app.domain.policy import Policy
from app.domain.report import Answered, NoAnswer, NotVisible
from app.domain.task import Standing, State
from app.kie.client import KieClient
from app.services.clients.settings import shown
from app.store.account import admission, condition, queues
from app.store.clients import audit
from app.store.engine import Connection, Database
from app.store.signals import ASK, QUEUE, Signals
from app.store.tasks import moves, polls, rows, stuck
from app.store.tasks.moves import Move

GRACE = 60.0
"""Seconds by which work may be over before it counts as stuck."""

SHOWN = 200

MAX_NOTE = 500

_KIE_TASK_ID = re.compile(r"[!-~]{1,200}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionStatus:
    """Whether anything may be sent, and who waits for it."""

    account: Mapping[str, Any]
    clients: Sequence[Mapping[str, Any]]


class Operations:
    """Carries out what an operator says; `actor` is the way it was said."""

    def __init__(
        self,
        database: Database,
        kie: KieClient,
        signals: Signals,
        urls: CallbackUrls,
        policy: Policy,
    ) -> None:
        self._database = database
        self._kie = kie
        self._signals = signals
        self._urls = urls
        self._policy = policy

    # -- the brake

    async def admission(self) -> AdmissionStatus:
        async with self._database.read() as connection:
            return AdmissionStatus(
                account=dict(await condition.status(connection, self._policy.limits)),
                clients=[shown(row) for row in await queues.list_queues(connection)],
            )

    async def pause(self, actor: Actor, *, client: str | None, note: str | None) -> None:
        """Admit nothing, or nothing of one client's; what is under way goes on.

        Raises `NotFoundError` where there is no such client, and `InvalidRequestError` for a note
        that cannot be kept.
        """
        _check_note(note)

        async def work(connection: Connection) -> None:
            # Whoever admits just now ends first: what begins after the commit sees the brake.
            await admission.lock_account(connection, wait=True)
            if client is None:
                await condition.pause(connection, note)
            elif not (is_name(client) and await queues.pause(connection, client, note)):
                raise no_such_client(client)
            await audit.note(
                connection,
                Action.ADMISSION_PAUSED,
                actor=actor,
                client=client,
                detail={"note": note} if note else {},
            )

        await self._database.run(work)

    async def resume(self, actor: Actor, *, client: str | None) -> None:
        """Admit again; raises `NotFoundError` where there is no such client."""

        async def work(connection: Connection) -> None:
            if client is None:
                await condition.resume(connection)
            elif not (is_name(client) and await queues.resume(connection, client)):
                raise no_such_client(client)
            await audit.note(connection, Action.ADMISSION_RESUMED, actor=actor, client=client)

        await self._database.run(work)
        self._signals.announce(QUEUE)

    # -- stuck work

    async def stuck(self) -> list[Mapping[str, Any]]:
        async with self._database.read() as connection:
            found = await stuck.list_stuck(connection, grace=GRACE, limit=SHOWN)
        return [dict(row) for row in found]

    async def task(self, task_id: UUID) -> Mapping[str, Any]:
        """Return any task as an operator sees it; raises `NotFoundError`."""
        async with self._database.read() as connection:
            found = await stuck.read_one(connection, task_id, grace=GRACE)
        if found is None:
            raise no_such_task()
        return dict(found)

    async def audit(self) -> list[Mapping[str, Any]]:
        """Return the newest entries."""
        async with self._database.read() as connection:
            return [dict(row) for row in await audit.newest(connection, limit=SHOWN)]

    async def bind(self, actor: Actor, task_id: UUID, kie_task_id: str) -> None:
        """Give a task the id that a person found at kie.ai, and have kie.ai asked about it.

        An id is never replaced, and its result goes to the task's client: so kie.ai is asked
        first. Raises `NotFoundError`, `NotStuckError` where the task has an id or was not sent,
        `InvalidRequestError` for an id that is not this task's, `KieNotAnsweringError`.
        """
        if not _KIE_TASK_ID.fullmatch(kie_task_id):
            detail = "kie.ai's id is 1 to 200 printable ASCII characters without spaces."
            raise InvalidRequestError(detail)

        async def check(connection: Connection) -> None:
            _require_bindable(await self._locked(connection, task_id), kie_task_id)
            if await stuck.is_of_another(connection, task_id, kie_task_id):
                detail = "This id at kie.ai belongs to another task of the gateway's."
                raise InvalidRequestError(detail)

        async def work(connection: Connection) -> None:
            await check(connection)
            await polls.bind(connection, task_id, kie_task_id)
            await polls.unpark(connection, task_id)
            await polls.poll_at_once(connection, task_id)
            await audit.note(
                connection,
                Action.TASK_BOUND,
                actor=actor,
                task_id=task_id,
                detail={"kie_task_id": kie_task_id},
            )

        await self._database.run(check)
        await self._require_own(task_id, kie_task_id)
        await self._database.run(work)
        self._signals.announce(task_id.hex, ASK)

    async def _require_own(self, task_id: UUID, kie_task_id: str) -> None:
        """Ask kie.ai whose id this is, as far as it says."""
        match await self._kie.record_info(kie_task_id):
            case Answered(report=report):
                echoed = self._urls.is_foreign(task_id, report.callback_url)
                if echoed or kie_task_id not in (report.kie_task_ids or (kie_task_id,)):
                    detail = "kie.ai has this id for something else than this task."
                    raise InvalidRequestError(detail)
            case NotVisible():
                detail = "kie.ai knows no task with this id; look at its log again."
                raise InvalidRequestError(detail)
            case NoAnswer(reason=reason):
                detail = f"kie.ai did not say whose this id is ({reason}). Nothing was bound."
                raise KieNotAnsweringError(detail)

    async def requeue(self, actor: Actor, task_id: UUID, *, may_pay_again: bool) -> None:
        """Put an unconfirmed task back into the queue, to be sent and perhaps paid once more.

        Raises `PaidTwiceRiskError` unless told that this is meant, `NotFoundError`, and
        `NotStuckError` for a task in any other state or with an id at kie.ai.
        """
        if not may_pay_again:
            detail = (
                "kie.ai may have taken this task already, and sending it again may pay again. Look "
                "for it in kie.ai's log first; if it is there, bind its id. Else say may_pay_again."
            )
            raise PaidTwiceRiskError(detail)

        async def work(connection: Connection) -> None:
            standing = await self._locked(connection, task_id)
            _require_lost(standing)
            step = Move(
                id=task_id,
                left=State.UNCONFIRMED,
                target=State.QUEUED,
                due_in=0,
                reason="put back by an operator; may pay again",
            )
            await moves.send_again(connection, step, submit_within=self._policy.submit_within)
            await audit.note(
                connection,
                Action.TASK_REQUEUED,
                actor=actor,
                task_id=task_id,
                detail={"may_pay_again": "true", "attempt": str(standing.attempt)},
            )

        await self._database.run(work)
        self._signals.announce(task_id.hex, QUEUE)

    async def release(self, actor: Actor, task_id: UUID) -> None:
        """Work again on a task that was set aside; raises `NotFoundError`, `NotStuckError`."""

        async def work(connection: Connection) -> None:
            await self._locked(connection, task_id)
            if not await polls.unpark(connection, task_id):
                detail = "The task was not set aside."
                raise NotStuckError(detail)
            await audit.note(connection, Action.TASK_RELEASED, actor=actor, task_id=task_id)

        await self._database.run(work)
        self._signals.announce(task_id.hex, ASK)

    async def _locked(self, connection: Connection, task_id: UUID) -> Standing:
        standing = await rows.lock_task(connection, task_id)
        if standing is None:
            raise no_such_task()
        return standing


def _require_bindable(standing: Standing, kie_task_id: str) -> None:
    if standing.kie_task_id not in (None, kie_task_id):
        detail = "The task has another id at kie.ai already; an id is never replaced."
        raise NotStuckError(detail)
    if standing.state not in (State.UNCONFIRMED, State.EXPIRED):
        detail = f"The task is {standing.state}; only an unconfirmed or expired one is bound."
        raise NotStuckError(detail)


def _require_lost(standing: Standing) -> None:
    if standing.state is not State.UNCONFIRMED:
        detail = f"The task is {standing.state}; only an unconfirmed one is put back."
        raise NotStuckError(detail)
    if standing.kie_task_id is not None:
        detail = "The task has an id at kie.ai: it was created, and is asked about."
        raise NotStuckError(detail)


def _check_note(note: str | None) -> None:
    try:
        if note is None or (len(note.encode()) <= MAX_NOTE and note.isprintable()):
            return
    except UnicodeEncodeError:
        pass
    detail = f"A note is one line of at most {MAX_NOTE} bytes."
    raise InvalidRequestError(detail)
