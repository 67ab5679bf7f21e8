"""Archiving: claim, copy, record; no transaction is open while anything is on the network."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol
from uuid import UUID

import structlog

from app.domain.errors import DatabaseUnavailableError
from app.domain.files import ArtifactState, Trouble, next_try, object_name
from app.domain.sources import Kind, inline
from app.metrics import Metrics
from app.outbound.archive import Archive, ArchiveError
from app.outbound.fetch import Fetched, Fetcher, FetchError
from app.services.consequences import Consequences, Transact
from app.services.files.claimed import Claimed
from app.services.files.room import Room
from app.store.connections.engine import Connection, Database
from app.store.files import outcomes, owed, reading
from app.store.files.claims import DueArtifact
from app.store.files.outcomes import Counts

LAPSE_EVERY = 60.0
"""Seconds between looks for copies that are older than they are kept."""

LAPSED_AT_ONCE = 1000

SETTLE_PATIENCE = 20.0
"""Seconds that an outcome is tried to be recorded: below a lease, which is renewed meanwhile."""

REMOVE_AGAIN = (10.0, 60.0, 300.0, 1800.0, 3600.0)
"""Seconds until the removal of an object is tried again: for ever, the last of them."""

log = structlog.get_logger(__name__)


class Archived(Protocol):
    """Writes down that a task's files have come or been given up: `TaskFiles.archived`."""

    async def __call__(
        self, connection: Connection, consequences: Consequences, task_id: UUID, counts: Counts
    ) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Bounds of the copying; seconds and bytes."""

    concurrency: int
    bytes_in_flight: int
    timeout: float
    """The longest that one copy may take."""
    schedule: Sequence[float]
    """The waits before each try."""


@dataclass(slots=True)
class _Copy:
    """What is known of a copy once its bytes have gone through."""

    content_type: str
    size: int = 0
    digest: bytes = b""


class Archiver:
    """Copies results into the archive, and removes what is not to be kept."""

    def __init__(
        self,
        database: Database,
        run: Transact,
        archive: Archive | None,
        fetcher: Fetcher,
        terms: Terms,
        archived: Archived,
        chance: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        """`archive` None: there is none, and nothing is done."""
        self._database = database
        self._run = run
        self._archive = archive
        self._fetcher = fetcher
        self._terms = terms
        self._archived = archived
        self._chance = chance
        self._metrics = metrics
        self._room = Room(terms.bytes_in_flight)
        self._claimed = Claimed(database, terms.concurrency, self._carry)
        self._lapsed_at: float | None = None

    async def archive_due(self) -> float | None:
        """Begin with what is due, as far as there is room; None: nobody knows what comes next."""
        if self._archive is None:
            return None
        now = asyncio.get_running_loop().time()
        if self._lapsed_at is None or now - self._lapsed_at >= LAPSE_EVERY:
            self._lapsed_at = now
            await self._database.run(
                lambda connection: owed.lapse(connection, limit=LAPSED_AT_ONCE)
            )
        await self._claimed.claim()
        return None

    async def ended(self) -> None:
        """Wait until every copy that was begun has ended, and those that took their places."""
        await self._claimed.ended()

    async def drain(self) -> None:
        """Give back what is under way: a copy takes minutes, and another process begins anew."""
        await self._claimed.release()

    # -- one artifact

    async def _carry(self, due: DueArtifact) -> None:
        assert self._archive is not None  # noqa: S101  # nothing is claimed without
        if due.state == ArtifactState.DELETING:
            await self._remove(self._archive, due)
            return
        try:
            async with asyncio.timeout(self._terms.timeout):
                await self._copy(self._archive, due)
        except FetchError as error:
            await self._not_copied(self._archive, due, error.trouble, error.reason)
        except ArchiveError as error:
            log.warning("archive.refused", error=str(error))
            await self._not_copied(self._archive, due, Trouble.STORE, f"the archive: {error}")
        except TimeoutError:
            reason = f"it took longer than {self._terms.timeout:g} s"
            await self._not_copied(self._archive, due, Trouble.SLOW, reason)
        except DatabaseUnavailableError:
            log.warning("archive.database_away", task_id=str(due.task_id), n=due.n)

    async def _copy(self, archive: Archive, due: DueArtifact) -> None:
        if due.kind != Kind.URL:
            async with self._database.read() as connection:
                result = await reading.read_result(connection, due.task_id)
            found = None if result is None else inline(result, due.digest)
            if found is None:
                raise FetchError(Trouble.UNREADABLE, "the result does not hold it, or not readably")
            fetched = Fetched(found.content_type, len(found.content), _once(found.content))
            await self._put(archive, due, fetched)
            return
        async with self._fetcher.fetch(due.source_url or "") as fetched:
            await self._put(archive, due, fetched)

    async def _put(self, archive: Archive, due: DueArtifact, fetched: Fetched) -> None:
        """Write the object, under the name that was noted before, and record it."""
        copy = _Copy(fetched.content_type)
        name = _name(due, copy.content_type)
        most = 2 * archive.part  # one is filled while another is on its way
        async with self._room.taken(most if fetched.length is None else min(fetched.length, most)):
            if not await self._begun(due, name):
                return
            if due.object is not None and due.object != name:
                await archive.delete(due.object)  # of a try that was cut off, by another type
            async with aclosing(_hashed(fetched.chunks, copy)) as chunks:
                await archive.put(name, chunks, copy.content_type)
        if not await self._stored(due, copy) and await self._came_late(due, copy):
            await archive.delete(name)

    async def _begun(self, due: DueArtifact, name: str) -> bool:
        if name == due.object:
            return True
        async with self._database.begin() as connection:
            return await outcomes.begin(connection, due, name)

    async def _stored(self, due: DueArtifact, copy: _Copy) -> bool:
        async def work(connection: Connection, consequences: Consequences) -> bool:
            exists = await outcomes.lock_task(connection, due.task_id)
            won = exists and await outcomes.stored(
                *(connection, due),
                content_type=copy.content_type,
                size=copy.size,
                digest=copy.digest,
            )
            if won:
                consequences.count(lambda: self._metrics.archived("stored", copy.size, due.age))
                await self._settled(connection, consequences, due)
            return won

        return await self._run(work, patience=SETTLE_PATIENCE)

    async def _came_late(self, due: DueArtifact, copy: _Copy) -> bool:
        log.warning("archive.lease_lost", task_id=str(due.task_id), n=due.n)
        async with self._database.begin() as connection:
            return await outcomes.came_late(connection, due, copy.digest)

    async def _not_copied(
        self, archive: Archive, due: DueArtifact, trouble: Trouble, reason: str
    ) -> None:
        """Try again as the schedule says, or give it up."""
        wait = next_try(trouble, due.tries + 1, self._terms.schedule, self._chance())
        if wait is None and due.object is not None:
            with suppress(ArchiveError):  # of a try that was cut off after its put
                await archive.delete(due.object)

        async def work(connection: Connection, consequences: Consequences) -> None:
            if wait is not None:
                await outcomes.again(connection, due, reason, wait=wait)
                consequences.count(lambda: self._metrics.not_archived(trouble))
                return
            if not await outcomes.lock_task(connection, due.task_id):
                await owed.let_go(connection, [due.task_id])
            elif await outcomes.failed(connection, due, reason):
                consequences.count(lambda: self._metrics.not_archived(trouble))
                consequences.count(lambda: self._metrics.archived("failed", 0, due.age))
                await self._settled(connection, consequences, due)

        with suppress(DatabaseUnavailableError):  # its lease runs out
            await self._run(work, patience=SETTLE_PATIENCE)
        log.info(
            "archive.not_copied",
            task_id=str(due.task_id),
            n=due.n,
            trouble=trouble,
            reason=reason,
            final=wait is None,
        )

    async def _settled(
        self, connection: Connection, consequences: Consequences, due: DueArtifact
    ) -> None:
        counts = await outcomes.count(connection, due.task_id)
        await self._archived(connection, consequences, due.task_id, counts)

    async def _remove(self, archive: Archive, due: DueArtifact) -> None:
        try:
            if due.object is not None:
                await archive.delete(due.object)
        except ArchiveError as error:
            log.warning("archive.not_removed", error=str(error), task_id=str(due.task_id), n=due.n)
            wait = REMOVE_AGAIN[min(due.tries, len(REMOVE_AGAIN) - 1)]
            reason = f"the archive: {error}"
            await self._quietly(lambda one: outcomes.again(one, due, reason, wait=wait))
            return
        await self._quietly(lambda connection: outcomes.removed(connection, due))
        self._metrics.archived("removed", 0, due.age)

    async def _quietly(self, work: Callable[[Connection], Awaitable[object]]) -> None:
        with suppress(DatabaseUnavailableError):  # its lease runs out, and it is done once more
            await self._database.run(work, patience=SETTLE_PATIENCE)


def _name(due: DueArtifact, content_type: str) -> str:
    if due.task_created_at is None:
        raise FetchError(Trouble.UNREADABLE, "its task is gone")
    return object_name(due.client, due.task_created_at, due.task_id, due.n, content_type)


async def _hashed(chunks: AsyncIterator[bytes], copy: _Copy) -> AsyncGenerator[bytes]:
    """Pass the chunks on, and note how many bytes they are and what they hash to."""
    digest = sha256()
    async for chunk in chunks:
        digest.update(chunk)
        copy.size += len(chunk)
        yield chunk
    copy.digest = digest.digest()


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
