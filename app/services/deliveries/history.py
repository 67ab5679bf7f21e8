"""What a client may ask about its deliveries: look back, repeat, enable a URL again."""

import codecs
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.domain.audit import Action, Operator
from app.domain.client import goes_to_listed, is_name, no_such_client, url_host
from app.domain.delivery import webhook_id
from app.domain.errors import BodyDeletedError, NotFoundError, UrlDisabledError
from app.domain.paging import Chosen
from app.services.consequences import Consequences, Transact
from app.services.deliveries.budget import Budget
from app.services.missing import missing
from app.store.clients import audit, clients
from app.store.connections.engine import Columns, Connection, Database, Row
from app.store.deliveries import history, urls
from app.store.deliveries.history import ANSWERED
from app.store.signals import DELIVER
from app.store.tasks import rows

MOST_REPEATED = 1000
"""Deliveries that one call repeats."""

MOST_DISABLED = 1000
"""Disabled URLs that one answer lists."""

SHOWN = 256
"""Bytes of an answer that a client sees."""

MAX_ANSWER = 1024
"""Bytes of an answer that operators see: all that is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """A new delivery of a body that was sent, or was to be sent, before."""

    id: UUID
    origin_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """What a call that repeats many has done."""

    ids: Sequence[UUID]
    """The new deliveries."""
    after: UUID | None
    """Where the next call begins; None: there is no more."""
    disabled_urls: Sequence[str]
    """URLs whose deliveries were left out, since they are not called."""


class Deliveries:
    """Answers a client about its own deliveries, and knows no others."""

    def __init__(
        self, database: Database, run: Transact, new_id: Callable[[], UUID], budget: Budget
    ) -> None:
        self._database = database
        self._run = run
        self._new_id = new_id
        self._budget = budget

    async def page(
        self, client_id: UUID, chosen: Chosen, *, before: UUID | None, limit: int
    ) -> tuple[list[Columns], UUID | None]:
        """Return a page with all attempts, newest first, and where the next one begins.

        Raises `NotFoundError` where a task is named that is not the client's, `TaskErasedError`
        where it was.
        """
        async with self._database.read(client_id) as connection:
            if chosen.task_id is not None:
                await self._require_task(connection, client_id, chosen.task_id)
            rows = await history.read_page(
                connection, client_id, chosen, before=before, limit=limit + 1
            )
            hosts = await clients.webhook_hosts(connection, client_id)
            shown = await _shown(connection, rows[:limit], hosts)
        return shown, shown[-1]["id"] if len(rows) > limit else None

    async def one(self, client_id: UUID, delivery_id: UUID) -> Columns:
        """Return a delivery with all attempts; raises `NotFoundError`."""
        async with self._database.read(client_id) as connection:
            row = await history.read_one(connection, client_id, delivery_id)
            if row is None:
                raise _no_such_delivery()
            hosts = await clients.webhook_hosts(connection, client_id)
            return (await _shown(connection, [row], hosts))[0]

    async def of_any_client(self, delivery_id: UUID) -> Columns:
        """Return a delivery as operators see it; raises `NotFoundError`.

        Of the URL only the host, since the rest may be a secret; of answers all that is kept.
        """
        async with self._database.read() as connection:
            row = await history.read_of_all(connection, delivery_id)
            if row is None:
                detail = "There is no delivery with this id."
                raise NotFoundError(detail)
            kept = await history.read_attempts(connection, [delivery_id])
        shown = {name: row[name] for name in ANSWERED if name != "url"}
        return {
            "client": row["client"],
            "webhook_host": row["host"],
            **shown,
            "webhook_id": webhook_id(delivery_id.hex),
            "attempts": [_attempt(one, MAX_ANSWER) for one in kept],
        }

    async def page_of_all(
        self,
        chosen: Chosen,
        *,
        client: str | None = None,
        before: UUID | None = None,
        limit: int,
        unanswered: bool = False,
    ) -> tuple[list[Columns], UUID | None]:
        """Return a page of all clients' deliveries, or of one's, as operators see them.

        Newest first, and where the next one begins. With `unanswered` only those that were not
        repeated since. Raises `NotFoundError` where there is no such client.
        """
        async with self._database.read() as connection:
            client_id = None if client is None else await _named(connection, client)
            rows = await history.read_page_of_all(
                connection,
                chosen,
                client_id=client_id,
                before=before,
                limit=limit + 1,
                unanswered=unanswered,
            )
        shown: list[Columns] = [dict(row) for row in rows[:limit]]
        return shown, shown[-1]["id"] if len(rows) > limit else None

    async def disabled_of_all(self, limit: int) -> list[Columns]:
        """Return all clients' URLs that are not called, the newest first.

        Of each the host, since the rest may be a secret, and a SHA-256 to name it by.
        """
        async with self._database.read() as connection:
            found = await urls.disabled_of_all(connection, limit=limit)
        return [
            {
                **{name: row[name] for name in ("client", "reason", "disabled_at")},
                "host": url_host(row["url"]),
                "sha256": hashlib.sha256(row["url"].encode()).hexdigest(),
            }
            for row in found
        ]

    async def enable_named(self, operator: Operator, client: str, sha256: str) -> None:
        """Call a client's URL again, named by its SHA-256; raises `NotFoundError`."""

        async def work(connection: Connection) -> None:
            found = await urls.named(connection, client, _digest(sha256))
            if found is None or not await urls.enable(connection, *found.values()):
                detail = "This URL is not disabled."
                raise NotFoundError(detail)
            about = {"host": url_host(found["url"])}
            await audit.note(
                connection, Action.URL_ENABLED, operator=operator, client=client, detail=about
            )

        await self._database.run(work)

    async def redeliver_of_any(self, operator: Operator, delivery_id: UUID) -> Repetition:
        """Repeat a delivery of whichever client, within its budget; raises as `redeliver`."""
        async with self._database.read() as connection:
            client_id = await history.read_client(connection, delivery_id)
        if client_id is None:
            raise _no_such_delivery()
        return await self.redeliver(client_id, delivery_id, operator=operator)

    async def redeliver_all_of(self, operator: Operator, client: str, chosen: Chosen) -> Repeated:
        """Repeat the chosen ones of a client, within its budget; raises as `redeliver_all`."""
        async with self._database.read() as connection:
            client_id = await _named(connection, client)
        return await self.redeliver_all(client_id, chosen, operator=operator)

    async def disabled_urls(self, client_id: UUID) -> list[Columns]:
        """Return the client's URLs that are not called, the newest first."""
        async with self._database.read() as connection:
            found = await urls.disabled(connection, client_id, limit=MOST_DISABLED)
        return [dict(row) for row in found]

    async def redeliver(
        self, client_id: UUID, delivery_id: UUID, *, operator: Operator | None = None
    ) -> Repetition:
        """Repeat one, in whatever state; it is audited where an `operator` says so.

        Raises `NotFoundError`, `UrlDisabledError`, `BodyDeletedError`, and `RateLimitedError` over
        the budget.
        """
        new_id = self._new_id()

        async def work(connection: Connection, consequences: Consequences) -> Repetition:
            found = await history.repeatable(connection, client_id, delivery_id)
            if found is None:
                raise _no_such_delivery()
            if found["disabled"]:
                detail = (
                    "Its URL is disabled and not called. Enable it by POST /v1/deliveries/enable, "
                    "then repeat this."
                )
                raise UrlDisabledError(detail)
            if found["deleted"]:
                detail = (
                    "Its body was deleted, because it was old. GET /v1/tasks/{id} has the task."
                )
                raise BodyDeletedError(detail)
            await history.repeat(connection, client_id, {delivery_id: new_id})
            if operator is not None:
                await _note(connection, operator, client_id, {"delivery_id": str(delivery_id)})
            consequences.wake(DELIVER)
            return Repetition(id=new_id, origin_id=found["origin_id"])

        with self._budget.spending(client_id, 1) as spending:
            repeated = await self._run(work)
            spending.spent = 1
        return repeated

    async def redeliver_all(
        self,
        client_id: UUID,
        chosen: Chosen,
        *,
        after: UUID | None = None,
        operator: Operator | None = None,
    ) -> Repeated:
        """Repeat the chosen ones behind `after`, the oldest first, as many as the budget has.

        `MOST_REPEATED` at most. Raises `RateLimitedError` where the budget has none.
        """
        with self._budget.spending(client_id, MOST_REPEATED) as spending:
            repeated = await self._repeat(client_id, chosen, after, spending.granted, operator)
            spending.spent = len(repeated.ids)
        return repeated

    async def _repeat(
        self,
        client_id: UUID,
        chosen: Chosen,
        after: UUID | None,
        most: int,
        operator: Operator | None,
    ) -> Repeated:
        new_ids = [self._new_id() for _ in range(most)]

        async def work(connection: Connection, consequences: Consequences) -> Repeated:
            found = await history.choose(connection, client_id, chosen, after=after, limit=most + 1)
            repeats = dict(zip(found, new_ids, strict=False))
            await history.repeat(connection, client_id, repeats)
            if operator is not None:
                about = {"state": chosen.state or "any", "deliveries": str(len(repeats))}
                await _note(connection, operator, client_id, about)
            consequences.wake(DELIVER)
            return Repeated(
                ids=list(repeats.values()),
                after=found[most - 1] if len(found) > most else None,
                disabled_urls=await history.left_out(connection, client_id, chosen),
            )

        return await self._run(work)

    async def enable(self, client_id: UUID, url: str) -> None:
        """Call a URL again that is disabled; raises `NotFoundError` where it is not disabled."""
        async with self._database.begin() as connection:
            if not await urls.enable(connection, client_id, url):
                detail = (
                    "This is no disabled URL of yours. GET /v1/deliveries/disabled-urls lists them."
                )
                raise NotFoundError(detail)

    async def _require_task(self, connection: Connection, client_id: UUID, task_id: UUID) -> None:
        if await rows.read_state(connection, client_id=client_id, task_id=task_id) is None:
            raise await missing(connection, client_id, task_id)


async def _named(connection: Connection, client: str) -> UUID:
    found = await clients.find_client(connection, client) if is_name(client) else None
    if found is None:
        raise no_such_client(client)
    return found


async def _note(
    connection: Connection, operator: Operator, client_id: UUID, detail: Mapping[str, str]
) -> None:
    name = await clients.name_of(connection, client_id)
    await audit.note(
        connection, Action.DELIVERIES_REPEATED, operator=operator, client=name, detail=detail
    )


def _digest(sha256: str) -> bytes:
    """Read a SHA-256 in hex; of what is none return one that no URL has."""
    try:
        return bytes.fromhex(sha256)
    except ValueError:
        return b""


async def _shown(
    connection: Connection, rows: Sequence[Row], hosts: Sequence[str] | None
) -> list[Columns]:
    """Add to each its `webhook_id` and its attempts.

    What a receiver answered is shown where its host stands among the client's: a key must not be
    enough to read what any address of the private network says.
    """
    attempts: dict[UUID, list[dict[str, Any]]] = {row["id"]: [] for row in rows}
    most = {row["id"]: SHOWN if goes_to_listed(row["url"], hosts) else None for row in rows}
    for one in await history.read_attempts(connection, list(attempts)):
        delivery_id = one["delivery_id"]
        attempts[delivery_id].append(_attempt(one, most[delivery_id]))
    return [
        {
            **{name: row[name] for name in ANSWERED},
            "webhook_id": webhook_id(row["id"].hex),
            "attempts": attempts[row["id"]],
        }
        for row in rows
    ]


_SEEN = ("number", "at", "seconds", "status", "error", "address", "answer_bytes", "answer_type")


def _attempt(row: Row, most: int | None) -> dict[str, Any]:
    """Show an attempt with `most` bytes of its answer; None: without."""
    kept = {name: row[name] for name in _SEEN}
    return {**kept, "answer": None if most is None else _text(row["answer"][:most])}


def _text(answer: bytes) -> str:
    """Read as UTF-8, without the part of a character that is left where it was cut."""
    return codecs.getincrementaldecoder("utf-8")("replace").decode(answer)


def _no_such_delivery() -> NotFoundError:
    return NotFoundError("You have no delivery with this id; GET /v1/deliveries lists yours.")
