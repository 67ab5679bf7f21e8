"""Whether this process is fit to be sent work."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from app.domain.admission import Limits
from app.domain.errors import DatabaseUnavailableError
from app.store import schema
from app.store.account import condition, witness
from app.store.engine import Database

SILENT_AFTER = 60.0
"""Seconds without a beat after which a loop counts as stuck."""

WATCH_EVERY = 1.0
"""Seconds between looks, so that the log tells even where nobody asks."""

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

    def beat(self, loop: str) -> None:
        """Note that a loop has come round."""
        self._beats[loop] = self._monotonic()

    def silences(self) -> Mapping[str, float]:
        """Return the seconds since each loop's last beat."""
        now = self._monotonic()
        return {name: now - at for name, at in self._beats.items()}

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
        return [*await self._database_checks(), self._loops()]

    async def schema_trouble(self) -> str | None:
        """Say how the schema differs from what this code needs; raises when it is away."""
        async with self._database.read() as connection:
            found = await schema.present(connection)
        needed = schema.needed()
        if found == needed:
            return None
        return f"the schema is at {found or 'nothing'}, not {needed}: run kie-gateway migrate"

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
        except DatabaseUnavailableError:
            return [Check(name="database", trouble="PostgreSQL does not answer")]
        found = [Check(name="database", trouble=None), Check(name="schema", trouble=trouble)]
        return found if trouble else [*found, *await self._admission()]

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
