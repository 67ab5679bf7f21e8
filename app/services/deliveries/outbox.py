"""Puts what callers are to be told into the outbox, in the transaction of what happened."""

from collections.abc import Callable, Collection, Mapping
from typing import Any
from uuid import UUID

from app.domain.client import url_host
from app.domain.delivery import DeliveryState, EventType
from app.domain.dialect import Dialect
from app.domain.exact_json import render
from app.domain.shapes.kie import callback
from app.domain.shapes.native import task_answer
from app.store.deliveries import outbox
from app.store.deliveries.outbox import NewDelivery
from app.store.engine import Connection
from app.store.tasks.rows import ANSWERED


class Outbox:
    """Freezes each body as its task is at this moment: what a GET, or kie.ai, would answer."""

    def __init__(self, new_id: Callable[[], UUID], first_wait: float) -> None:
        """`first_wait`: the seconds before the first attempt."""
        self._new_id = new_id
        self._first_wait = first_wait

    async def notify(
        self, connection: Connection, ids: Collection[UUID], *, event: EventType | None = None
    ) -> None:
        """Tell of the state that these tasks are in, or of `event`, where somebody listens."""
        if not ids:
            return
        rows = await outbox.to_notify(connection, ids, event=event)
        new = [self._delivery(row) for row in rows]
        await outbox.put(connection, new, due_in=self._first_wait)

    def _delivery(self, row: Mapping[Any, Any]) -> NewDelivery:
        dialect = Dialect(row["notify_dialect"])
        url = str(row["notify_url"])
        return NewDelivery(
            id=self._new_id(),
            client_id=row["client_id"],
            task_id=row["id"],
            event=row["event"],
            url=url,
            host=url_host(url),
            body=render(_BODIES[dialect](row)).encode(),
            dialect=dialect,
            state=DeliveryState.DISABLED if row["disabled"] else DeliveryState.PENDING,
        )


def _event(row: Mapping[Any, Any]) -> dict[str, Any]:
    task = {name: row[name] for name in ANSWERED}
    return {"type": row["event"], "timestamp": row["notified_at"], "data": task_answer(task)}


_BODIES: Mapping[Dialect, Callable[[Mapping[Any, Any]], dict[str, Any]]] = {
    Dialect.NATIVE: _event,
    Dialect.KIE: callback,
}
