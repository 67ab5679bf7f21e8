"""What operators may see and change of a client: its share, and how it is notified."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.domain.audit import Action, Operator
from app.domain.client import (
    BOUNDS,
    checked_bounds,
    checked_hosts,
    checked_weight,
    is_name,
    no_such_client,
    url_host,
)
from app.domain.delivery import EventType
from app.domain.errors import bad_member, client_erased
from app.domain.limits import LIMITS, checked_limit
from app.outbound.guard import Guard
from app.store.account import admission, queues
from app.store.clients import audit, clients, erasure
from app.store.connections.engine import Connection, Database
from app.store.signals import KEYS, announce_now

AUDIT_SHOWN = 200
"""Entries of the audit in one answer."""

AUDIT_KEPT = 30
"""Days of the audit that nobody deletes by this program."""

_URL = "/webhook_url"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientChange:
    """What to change of a client: the names in `given`, each to the value here."""

    given: frozenset[str]
    weight: int = 1
    webhook_url: str | None = field(default=None, repr=False)
    """Where it is notified of tasks that name no URL of their own; None: nowhere."""
    webhook_hosts: Sequence[str] | None = None
    """The only hosts that it may be notified at; None: any."""
    webhook_events: Sequence[EventType] | None = None
    """What it is notified of; None: every final state."""
    sees_balance: bool = False
    """It may ask for the account's credits."""
    disabled: bool = False
    """Its keys are refused, and nothing of it is sent."""
    requests_per_second: int | None = None
    """None, as of the other limits: what the settings allow each client."""
    streams: int | None = None
    waits: int | None = None
    running_share: float | None = None
    """Its share of the seats; None: as the settings say, as for the next two."""
    queued_tasks: int | None = None
    queued_bytes: int | None = None
    archives: bool | None = None
    """Whether its results are copied; None: where there is an archive."""
    archive_days: int | None = None
    """How long copies are kept; None: as long as their tasks."""


class Clients:
    """Lists clients and changes them; `operator` is who said so."""

    def __init__(self, database: Database, guard: Guard, changed: Callable[[], None]) -> None:
        """Call `changed` after each change of a client."""
        self._changed = changed
        self._database = database
        self._guard = guard

    async def list(self) -> list[Mapping[str, Any]]:
        async with self._database.read() as connection:
            return [shown(row) for row in await queues.list_queues(connection)]

    async def one(self, name: str) -> Mapping[str, Any]:
        """Return the client's share, queue and webhooks; raises `NotFoundError`."""
        if is_name(name):
            async with self._database.read() as connection:
                found = await queues.read_queue(connection, name)
            if found is not None:
                return shown(found)
        raise no_such_client(name)

    async def audit(
        self, *, limit: int = AUDIT_SHOWN, before: int | None = None
    ) -> Sequence[Mapping[str, Any]]:
        """Return what operators did last, the newest first, or what they did `before` an entry."""
        async with self._database.read() as connection:
            found = await audit.newest(connection, limit=limit, before=before)
        return [dict(row) for row in found]

    async def prune_audit(self, operator: Operator, *, days: int) -> int:
        """Delete entries of the audit that are older; returns how many.

        Only the tables' owner may: raises `NotPermittedError` for every other role, and
        `InvalidRequestError` for less than `AUDIT_KEPT` days.
        """
        if days < AUDIT_KEPT:
            where = "/older_than"
            raise bad_member(where, f"should be at least {AUDIT_KEPT} days")

        async def work(connection: Connection) -> int:
            before, pruned = await audit.prune(connection, days=days)
            detail = {"entries": str(pruned), "before": before.isoformat(timespec="seconds")}
            await audit.note(connection, Action.AUDIT_PRUNED, operator=operator, detail=detail)
            return pruned

        return await self._database.run(work)

    async def change(self, operator: Operator, name: str, change: ClientChange) -> None:
        """Change a client, all of it or nothing; counts for what happens from then on.

        Raises `NotFoundError`, and `InvalidRequestError` for a weight or a limit out of its bounds,
        for hosts that are none and for a URL that no delivery would be let to.
        """
        if "weight" in change.given:
            checked_weight(change.weight)
        bounds = {name: getattr(change, name) for name in BOUNDS}
        checked_bounds(bounds)
        values: dict[str, Any] = {
            "webhook_url": change.webhook_url,
            "webhook_hosts": checked_hosts(change.webhook_hosts),
            "webhook_events": _words(change.webhook_events),
            "sees_balance": change.sees_balance,
            "archives": change.archives,
            **{name: checked_limit(name, getattr(change, name)) for name in LIMITS},
            **bounds,
        }
        values = {column: value for column, value in values.items() if column in change.given}

        async def work(connection: Connection) -> None:
            if change.disabled:  # who admits just now ends first, as with a pause
                await admission.lock_account(connection, wait=True)
            before = await clients.lock_webhooks(connection, name) if is_name(name) else None
            if before is None:
                raise no_such_client(name)
            if await erasure.is_marked(connection, name):
                raise client_erased(name)
            self._check_url({**before, **values})
            await _store(connection, name, change, values)
            await _note(connection, operator, name, change, values)

        await self._database.run(work)
        self._changed()
        await announce_now(self._database, KEYS)

    def _check_url(self, settled: Mapping[str, Any]) -> None:
        """Check the URL with the hosts that it will stand beside, whichever of them is new."""
        url, hosts = settled["webhook_url"], settled["webhook_hosts"]
        objection = self._guard.objection_to_url(url, hosts) if url is not None else None
        if objection is not None:
            raise bad_member(_URL, objection)


def shown(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return what operators see: of the URL only the host: the rest may be a secret."""
    url = row["webhook_url"]
    host = url_host(url) if url else None
    return {**{name: row[name] for name in row if name != "webhook_url"}, "webhook_host": host}


async def _store(
    connection: Connection, name: str, change: ClientChange, values: Mapping[str, Any]
) -> None:
    if values:
        await clients.set_settings(connection, name, values)
    if "weight" in change.given:
        await queues.weigh(connection, name, change.weight)
    if "disabled" in change.given:
        await queues.disable(connection, name, off=change.disabled)


async def _note(
    connection: Connection,
    operator: Operator,
    name: str,
    change: ClientChange,
    values: Mapping[str, Any],
) -> None:
    """Write into the audit what was changed; disabling, and its end, are actions of their own."""
    noted = _noted(change, values)
    if noted:
        await audit.note(
            connection, Action.CLIENT_CHANGED, operator=operator, client=name, detail=noted
        )
    if "disabled" in change.given:
        action = Action.CLIENT_DISABLED if change.disabled else Action.CLIENT_ENABLED
        await audit.note(connection, action, operator=operator, client=name)


def _words(events: Sequence[EventType] | None) -> Sequence[str] | None:
    """Return the events in the order in which they are listed, each once."""
    return None if events is None else [event.value for event in EventType if event in events]


def _noted(change: ClientChange, values: Mapping[str, Any]) -> dict[str, str]:
    """Write down what was changed, without the URL's path: it may be a secret."""
    noted = {"weight": str(change.weight)} if "weight" in change.given else {}
    if "webhook_url" in values:
        url = values["webhook_url"]
        noted["webhook_host"] = url_host(url) if url else "none"
    for name, unset in (("webhook_hosts", "any"), ("webhook_events", "usual")):
        if name in values:
            listed = values[name]
            noted[name] = unset if listed is None else " ".join(listed) or "none"
    if "sees_balance" in values:
        noted["sees_balance"] = "yes" if values["sees_balance"] else "no"
    if "archives" in values:
        noted["archives"] = {None: "usual", True: "yes", False: "no"}[values["archives"]]
    for name in (*LIMITS, *BOUNDS):
        if name in values:
            noted[name] = "usual" if values[name] is None else str(values[name])
    return noted
