"""What a transaction leaves to be done once it is committed: wake-ups and counts.

They belong to one try. `Database.run` repeats its work when a commit's answer is lost, and what a
failed try collected must neither be sent nor be counted.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar
from uuid import UUID

from app.store import signals
from app.store.connections.engine import Connection, Database
from app.store.signals import Signals

Result = TypeVar("Result")


class Consequences:
    """Collects, in the transaction, what its commit makes true."""

    def __init__(self) -> None:
        self.topics: set[str] = set()
        self.counts: list[Callable[[], None]] = []

    def wake(self, *topics: str | UUID, after: float = 0.0) -> None:
        """Wake who waits for these topics, where there is something to do `after` seconds.

        A task's topic is its id.
        """
        names = (topic.hex if isinstance(topic, UUID) else topic for topic in topics)
        self.topics.update(signals.after(name, after) for name in names)

    def count(self, counting: Callable[[], None]) -> None:
        """Have a metric counted, or a line logged, that only the commit makes true."""
        self.counts.append(counting)


Work = Callable[[Connection, Consequences], Awaitable[Result]]
"""Idempotent work in a transaction; what follows from it goes into the consequences."""


class Transactions:
    """Runs work in transactions, and publishes what follows once it is committed."""

    def __init__(self, database: Database, signals: Signals) -> None:
        self._database = database
        self._signals = signals

    async def run(
        self,
        work: Work[Result],
        *,
        patience: float = 10.0,
        insist: bool = False,
        at_once: bool = False,
    ) -> Result:
        """Run `work` in a transaction, then wake and count what it left.

        `work` must be idempotent: it runs again while the database is away, for `patience` seconds.
        Raises `DatabaseUnavailableError` after that, and whatever `work` raises; with `insist`,
        that too only once patience is over. `at_once`: it is one statement (see `Database.run`).
        """
        collected = Consequences()

        async def one_try(connection: Connection) -> Result:
            nonlocal collected
            collected = Consequences()
            return await work(connection, collected)

        result = await self._database.run(
            one_try, patience=patience, insist=insist, at_once=at_once
        )
        self._signals.announce(*collected.topics)
        for counting in collected.counts:
            counting()
        return result


class Transact(Protocol):
    """Runs work in a transaction and publishes its consequences: `Transactions.run`.

    For services that move no task and still have somebody to wake.
    """

    async def __call__(self, work: Work[Result], *, patience: float = ...) -> Result: ...
