"""Sealing clients' secrets anew, so that a retired entry of `GATEWAY_SECRET_KEYS` may go."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from app.domain.audit import SOMEBODY, Action, Operator
from app.services.clients.vault import UnopenedSecretError, Vault
from app.store.clients import audit, clients
from app.store.connections.engine import Connection, Database, Row

BATCH = 100
"""Clients in one transaction: their rows are locked for some milliseconds."""

COLUMNS = ("signing_secret", "previous_secret")

Progress = Callable[[int], None]
"""Told how many secrets were looked at so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seals:
    """How the secrets that are kept are sealed."""

    total: int = 0
    old: int = 0
    """Those that an entry behind the first opens."""
    unopened: int = 0
    """Those that no entry opens."""

    def __add__(self, other: "Seals") -> "Seals":
        return Seals(
            total=self.total + other.total,
            old=self.old + other.old,
            unopened=self.unopened + other.unopened,
        )


class Resealing:
    """Counts the seals, and makes them those of the first key."""

    def __init__(self, database: Database, vault: Vault, new_id: Callable[[], UUID]) -> None:
        self._database = database
        self._vault = vault
        self._new_id = new_id

    async def seals(self) -> Seals:
        """Look at every secret, and change nothing."""
        found, after = Seals(), None
        while True:
            async with self._database.read() as connection:
                rows = await clients.sealed(connection, after=after, limit=BATCH)
            if not rows:
                return found
            found = sum((self._seals(row) for row in rows), found)
            after = rows[-1]["id"]

    async def reseal(
        self, *, operator: Operator = SOMEBODY, progress: Progress = lambda _: None
    ) -> Seals:
        """Seal with the first key what an older one opens; returns what was found, now resealed.

        What no entry opens stays as it is. It may be ended at any moment, and be run again.
        """
        run, found, after = self._new_id(), Seals(), None
        for batch in itertools.count(1):
            work = partial(self._batch, operator, run, batch, after)
            seals, after = await self._database.run(work)
            if after is None:
                return found
            found += seals
            progress(found.total)
        raise AssertionError

    async def _batch(
        self, operator: Operator, run: UUID, batch: int, after: UUID | None, connection: Connection
    ) -> tuple[Seals, UUID | None]:
        """Do the next clients; returns what was found of them, and the last one's id."""
        if batch == 1:
            await audit.begin_run(
                *(connection, Action.SECRETS_RESEALED),
                operator=operator,
                client=None,
                run=run,
                detail={},
            )
        rows = await clients.sealed(connection, after=after, limit=BATCH, lock=True)
        if not rows:
            return Seals(), None
        found = sum((self._seals(row) for row in rows), Seals())
        for row in rows:
            values = {name: self._resealed(row[name]) for name in COLUMNS}
            if any(values[name] != row[name] for name in COLUMNS):
                await clients.set_sealed(connection, row["id"], values)
        _, done = await audit.count_run(connection, run)
        await audit.count_on(connection, run, batches=batch, done=done + found.old)
        return found, rows[-1]["id"]

    def _seals(self, row: Row) -> Seals:
        sealed = [row[name] for name in COLUMNS if row[name] is not None]
        current = sum(map(self._vault.is_current, sealed))
        opened = sum(map(self._vault.opens, sealed))
        return Seals(total=len(sealed), old=opened - current, unopened=len(sealed) - opened)

    def _resealed(self, sealed: bytes | None) -> bytes | None:
        if sealed is None or self._vault.is_current(sealed):
            return sealed
        try:
            return self._vault.seal(self._vault.open(sealed))
        except UnopenedSecretError:
            return sealed
