"""Whether this process is fit to be sent work."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.domain.errors import DatabaseUnavailableError
from app.store import schema
from app.store.engine import Database

SILENT_AFTER = 60.0
"""Seconds without a beat after which a loop counts as stuck."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at: what is wrong with it and what to do, or None."""

    name: str
    trouble: str | None


class Health:
    """Looks at the database, its schema and this process's loops."""

    def __init__(self, database: Database, monotonic: Callable[[], float]) -> None:
        self._database = database
        self._monotonic = monotonic
        self._beats: dict[str, float] = {}

    def beat(self, loop: str) -> None:
        """Note that a loop has come round."""
        self._beats[loop] = self._monotonic()

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

    async def _database_checks(self) -> list[Check]:
        try:
            trouble = await self.schema_trouble()
        except DatabaseUnavailableError:
            return [Check(name="database", trouble="PostgreSQL does not answer")]
        return [Check(name="database", trouble=None), Check(name="schema", trouble=trouble)]

    def _loops(self) -> Check:
        silent = sorted(name for name, age in self._silences().items() if age > SILENT_AFTER)
        trouble = f"no beat for {SILENT_AFTER:g} s: {', '.join(silent)}" if silent else None
        return Check(name="loops", trouble=trouble)

    def _silences(self) -> Mapping[str, float]:
        now = self._monotonic()
        return {name: now - at for name, at in self._beats.items()}
