"""What operators may see and change of a client: its share, and how it is told."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from app.domain.audit import Action, Actor
from app.domain.delivery import EventType
from app.domain.errors import Flaw, InvalidRequestError, NotFoundError
from app.outbound.guard import Guard
from app.services.clients.keys import NAME, checked_weight
from app.store.account import queues
from app.store.clients import audit, clients
from app.store.engine import Connection, Database

MAX_HOSTS = 50

AUDIT_SHOWN = 200
"""Entries of the audit in one answer."""

_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f:]*:[0-9a-f:.]*")
"""A name or address as a URL has it: no scheme, no port, no brackets."""

MAX_HOST = 253

_URL = "/webhook_url"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientChange:
    """What to change of a client: the names in `given`, each to the value here."""

    given: frozenset[str]
    weight: int = 1
    webhook_url: str | None = field(default=None, repr=False)
    """Where it is told of tasks that name no URL of their own; None: of those it is not told."""
    webhook_hosts: Sequence[str] | None = None
    """The only hosts that it may be told at; None: any."""
    webhook_events: Sequence[EventType] | None = None
    """What it is told of; None: every rest."""
    sees_balance: bool = False
    """It may ask for the account's credits."""


class Clients:
    """Lists clients and changes them; `actor` is the way it was said."""

    def __init__(self, database: Database, guard: Guard) -> None:
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

    async def audit(self) -> Sequence[Mapping[str, Any]]:
        """Return what operators did last, the newest first."""
        async with self._database.read() as connection:
            return [dict(row) for row in await audit.newest(connection, limit=AUDIT_SHOWN)]

    async def change(self, actor: Actor, name: str, change: ClientChange) -> None:
        """Change a client, all of it or nothing; counts for what happens from then on.

        Raises `NotFoundError`, and `InvalidRequestError` for a weight outside 1 to 100, for hosts
        that are none and for a URL that no delivery would be let to.
        """
        if "weight" in change.given:
            checked_weight(change.weight)
        values = {
            "webhook_url": change.webhook_url,
            "webhook_hosts": _checked_hosts(change.webhook_hosts),
            "webhook_events": _words(change.webhook_events),
            "sees_balance": change.sees_balance,
        }
        values = {column: value for column, value in values.items() if column in change.given}

        async def work(connection: Connection) -> None:
            before = await clients.lock_webhooks(connection, name) if is_name(name) else None
            if before is None:
                raise no_such_client(name)
            self._check_url({**before, **values})
            if values:
                await clients.set_settings(connection, name, values)
            if "weight" in change.given:
                await queues.weigh(connection, name, change.weight)
            await audit.note(
                connection,
                Action.CLIENT_CHANGED,
                actor=actor,
                client=name,
                detail=_noted(change, values),
            )

        await self._database.run(work)

    def _check_url(self, settled: Mapping[str, Any]) -> None:
        """Check the URL with the hosts that it will stand beside, whichever of them is new."""
        url, hosts = settled["webhook_url"], settled["webhook_hosts"]
        objection = self._guard.objection_to_url(url, hosts) if url is not None else None
        if objection is not None:
            raise _flawed(_URL, objection)


def shown(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return what operators see: of the URL its host alone, for the rest may be a secret."""
    url = row["webhook_url"]
    host = urlsplit(url).netloc.lower() if url else None
    return {**{name: row[name] for name in row if name != "webhook_url"}, "webhook_host": host}


def is_name(text: str) -> bool:
    """Tell whether a client can be called so; PostgreSQL takes no NUL, and not all of Unicode."""
    return NAME.fullmatch(text) is not None


def no_such_client(name: str) -> NotFoundError:
    printable = name[:64] if name.isprintable() else ascii(name)[:64]
    return NotFoundError(f"There is no client called {printable}; see `kie-gateway clients list`.")


def _checked_hosts(hosts: Sequence[str] | None) -> list[str] | None:
    """Return the hosts in small letters; raises `InvalidRequestError` for what is none."""
    if hosts is None:
        return None
    if not 1 <= len(hosts) <= MAX_HOSTS:
        where, trouble = "/webhook_hosts", f"should name 1 to {MAX_HOSTS} hosts, or be null for any"
        raise _flawed(where, trouble)
    for place, host in enumerate(hosts):
        if len(host) > MAX_HOST or not _HOST.fullmatch(host.lower()):
            where = f"/webhook_hosts/{place}"
            trouble = "should be a host alone, as hooks.example.com: no scheme, port or path"
            raise _flawed(where, trouble)
    return sorted({host.lower() for host in hosts})


def _words(events: Sequence[EventType] | None) -> Sequence[str] | None:
    """Return the events in the order in which they are listed, each once."""
    return None if events is None else [event.value for event in EventType if event in events]


def _noted(change: ClientChange, values: Mapping[str, Any]) -> dict[str, str]:
    """Write down what was changed, without the URL's path: it may be a secret."""
    noted = {"weight": str(change.weight)} if "weight" in change.given else {}
    if "webhook_url" in values:
        url = values["webhook_url"]
        noted["webhook_host"] = urlsplit(url).netloc.lower() if url else "none"
    for name, unset in (("webhook_hosts", "any"), ("webhook_events", "usual")):
        if name in values:
            listed = values[name]
            noted[name] = unset if listed is None else " ".join(listed) or "none"
    if "sees_balance" in values:
        noted["sees_balance"] = "yes" if values["sees_balance"] else "no"
    return noted


def _flawed(pointer: str, trouble: str) -> InvalidRequestError:
    return InvalidRequestError(f"{pointer} {trouble}", [Flaw(pointer, trouble)])
