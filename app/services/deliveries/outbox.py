"""Puts what callers are to be told into the outbox, in the transaction of what happened."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import structlog

from app.domain.client import url_host
from app.domain.delivery import DeliveryState, EventType
from app.domain.dialect import Dialect
from app.domain.exact_json import render
from app.domain.shapes.kie import brief_callback, callback
from app.domain.shapes.native import brief_answer, task_answer
from app.metrics import Metrics
from app.services.consequences import Consequences
from app.store.connections.engine import Connection
from app.store.deliveries import outbox
from app.store.deliveries.outbox import NewDelivery, UnreadableRowError
from app.store.signals import DELIVER
from app.store.tasks.rows import ANSWERED

Row = Mapping[Any, Any]

log = structlog.get_logger(__name__)


class Outbox:
    """Freezes each body as its task is at this moment: what a GET, or kie.ai, would answer.

    A task of which that cannot be written does not keep others from their ends: its caller hears
    of it briefly, and we of the defect.
    """

    def __init__(self, new_id: Callable[[], UUID], first_wait: float, metrics: Metrics) -> None:
        """`first_wait`: the seconds before the first attempt."""
        self._new_id = new_id
        self._first_wait = first_wait
        self._metrics = metrics

    async def notify(
        self,
        connection: Connection,
        consequences: Consequences,
        ids: Collection[UUID],
        *,
        event: EventType | None = None,
    ) -> None:
        """Tell of the state that these tasks are in, or of `event`, where somebody listens."""
        if not ids:
            return
        try:
            rows = await outbox.to_notify(connection, ids, event=event)
        except UnreadableRowError as error:
            new = await self._one_by_one(connection, consequences, ids, event, error)
        else:
            new = [self._delivery(consequences, row) for row in rows]
        await outbox.put(connection, new, due_in=self._first_wait)
        if new:
            consequences.wake(DELIVER, after=self._first_wait)

    async def _one_by_one(
        self,
        connection: Connection,
        consequences: Consequences,
        ids: Collection[UUID],
        event: EventType | None,
        error: Exception,
    ) -> list[NewDelivery]:
        """Read each by itself, and briefly what cannot be read."""
        if len(ids) == 1:
            rows = await outbox.to_notify(connection, ids, event=event, briefly=True)
            return [self._brief(consequences, row, error) for row in rows]
        new: list[NewDelivery] = []
        for task_id in ids:
            try:
                rows = await outbox.to_notify(connection, [task_id], event=event)
            except UnreadableRowError as own:
                new += await self._one_by_one(connection, consequences, [task_id], event, own)
            else:
                new += [self._delivery(consequences, row) for row in rows]
        return new

    def _delivery(self, consequences: Consequences, row: Row) -> NewDelivery:
        try:
            body = render(_FORMS[Dialect(row["notify_dialect"])].whole(row)).encode()
        except Exception as error:  # noqa: BLE001  # a defect of ours, whichever: others go on
            return self._brief(consequences, row, error)
        return self._new(row, body)

    def _brief(self, consequences: Consequences, row: Row, error: Exception) -> NewDelivery:
        cause = error.__cause__ or error
        consequences.count(self._metrics.written_briefly)
        consequences.count(
            partial(
                log.error,
                "delivery.unrenderable",
                task_id=str(row["id"]),
                event_type=row["event"],
                error=type(cause).__name__,  # its text may quote what callers wrote
            )
        )
        return self._new(row, render(_FORMS[Dialect(row["notify_dialect"])].brief(row)).encode())

    def _new(self, row: Row, body: bytes) -> NewDelivery:
        url = str(row["notify_url"])
        return NewDelivery(
            id=self._new_id(),
            client_id=row["client_id"],
            task_id=row["id"],
            event=row["event"],
            url=url,
            host=url_host(url),
            body=body,
            dialect=Dialect(row["notify_dialect"]),
            state=DeliveryState.DISABLED if row["disabled"] else DeliveryState.PENDING,
        )


def _event(row: Row) -> dict[str, Any]:
    return _told(row, task_answer({name: row[name] for name in ANSWERED}))


def _brief_event(row: Row) -> dict[str, Any]:
    return _told(row, brief_answer(row))


def _told(row: Row, data: dict[str, Any]) -> dict[str, Any]:
    return {"type": row["event"], "timestamp": row["notified_at"], "data": data}


class _Form(NamedTuple):
    whole: Callable[[Row], dict[str, Any]]
    brief: Callable[[Row], dict[str, Any]]


_FORMS: Mapping[Dialect, _Form] = {
    Dialect.NATIVE: _Form(_event, _brief_event),
    Dialect.KIE: _Form(callback, brief_callback),
}
