"""Whether this process is fit to be sent work."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from app.domain.admission import Limits
from app.domain.errors import DatabaseUnavailableError
from app.store import releases
from app.store.account import condition, witness
from app.store.connections import server
from app.store.connections.engine import Database

SILENT_AFTER = 60.0
"""Seconds without a beat after which a loop counts as stuck."""

UNWRITABLE_FOR = 10.0
"""Seconds for which the database may take no writes: a failover that goes well is shorter."""

WATCH_EVERY = 1.0
"""Seconds between looks, so that the log tells even where nobody asks."""

READ_ONLY = "PostgreSQL takes no writes: a standby, or read-only"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at: what is wrong with it and what to do, or None."""

    name: str
    trouble: str | None
    fatal: bool = True
    """Whether the trouble makes the process unfit for work."""


class Health:
    """Looks at the database, its schema and this process's loops."""

    def __init__(self, database: Database, monotonic: Callable[[], float], limits: Limits) -> None:
        self._database = database
        self._monotonic = monotonic
        self._limits = limits
        self._beats: dict[str, float] = {}
        self._stuck: frozenset[str] = frozenset()
        self._unwritable_since: float | None = None
        self._ending = False

    def end(self) -> None:
        """Be unfit for work from now on: what balances must not send any more here."""
        self._ending = True

    def beat(self, loop: str, *, rests: float = 0.0) -> None:
        """Note that a loop has come round, and for how many seconds it means to rest."""
        self._beats[loop] = self._monotonic() + rests

    def silences(self) -> Mapping[str, float]:
        """Return for how many seconds each loop has been silent beyond its rest."""
        now = self._monotonic()
        return {name: max(0.0, now - at) for name, at in self._beats.items()}

    def stuck(self) -> frozenset[str]:
        """Return the loops that are stuck; logs each once as it hangs and once as it is back."""
        silences = self.silences()
        found = frozenset(name for name, age in silences.items() if age > SILENT_AFTER)
        for name in sorted(found - self._stuck):
            log.error("loop.stuck", loop=name, silent_for=round(silences[name], 1))
        for name in sorted(self._stuck - found):
            log.error("loop.back", loop=name)
        self._stuck = found
        return found

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            self.stuck()
            await asyncio.sleep(WATCH_EVERY)

    async def checks(self) -> list[Check]:
        if self._ending:
            return [Check(name="shutdown", trouble="this process is ending: send work to another")]
        return [*await self._database_checks(), self._loops()]

    async def schema_trouble(self) -> str | None:
        """Say why this release cannot run on the schema; raises when the database is away."""
        async with self._database.read() as connection:
            found = await releases.misfit(connection)
        return None if found is None else str(found)

    async def fsync_trouble(self) -> str | None:
        """Say that the server forgets commits when its machine stops; raises when it is away."""
        async with self._database.read() as connection:
            found = await witness.durability(connection)
        if found["fsync"] == "on":
            return None
        return (
            "PostgreSQL runs with fsync = off: when its machine stops, it loses tasks that were "
            "sent, and they are paid again; turn fsync on, or set GATEWAY_ALLOW_UNSAFE_FSYNC=true"
        )

    async def _database_checks(self) -> list[Check]:
        try:
            trouble = await self.schema_trouble()
            database = await self._database_check()
        except DatabaseUnavailableError:
            return [Check(name="database", trouble="PostgreSQL does not answer")]
        found = [database, Check(name="schema", trouble=trouble)]
        return found if trouble else [*found, *await self._admission()]

    async def _database_check(self) -> Check:
        """Tell whether the database takes writes, without writing."""
        async with self._database.read() as connection:
            writable = await server.is_writable(connection)
        now = self._monotonic()
        if writable:
            self._unwritable_since = None
            return Check(name="database", trouble=None)
        if self._unwritable_since is None:
            self._unwritable_since = now
        lasting = now - self._unwritable_since >= UNWRITABLE_FOR
        return Check(name="database", trouble=READ_ONLY, fatal=lasting)

    async def _admission(self) -> list[Check]:
        """Report a pause or a hold of the account: the queue waits, and this process is fit."""
        try:
            account = await self.account()
        except DatabaseUnavailableError:
            return []
        said = [
            f"paused since {_spelled(account['paused_at'])}" if account["paused_at"] else "",
            f"held: {account['hold_reason']} since {_spelled(account['held_since'])}"
            if account["hold_reason"]
            else "",
        ]
        trouble = "; ".join(one for one in said if one)
        return [Check(name="admission", trouble=trouble or None, fatal=False)]

    async def account(self) -> Mapping[str, Any]:
        """Return how the account stands, as operators see it."""
        async with self._database.read() as connection:
            return dict(await condition.status(connection, self._limits))

    def _loops(self) -> Check:
        silent = sorted(self.stuck())
        trouble = f"no beat for {SILENT_AFTER:g} s: {', '.join(silent)}" if silent else None
        return Check(name="loops", trouble=trouble)


def _spelled(instant: datetime | None) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}" if instant else "just now"
