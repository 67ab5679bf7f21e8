"""Handing out what the archive has: to the client whose task it is, and to nobody else."""

from dataclasses import dataclass
from uuid import UUID

from app.domain.errors import NotFoundError, task_erased
from app.domain.file_errors import ArchiveAwayError, ArtifactNotStoredError
from app.domain.files import UNKNOWN_TYPE, ArtifactState
from app.outbound.archive import Archive, ArchiveError, Found, NoObjectError
from app.store.connections.engine import Database
from app.store.files import reading
from app.store.files.reading import Kept
from app.store.tasks import tombstones

_GONE = (ArtifactState.DELETING, ArtifactState.DELETED)

RESULTS_LIVE_DAYS = 14
"""After them kie.ai has deleted a result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """A file, as a link or to be streamed."""

    kept: Kept
    name: str
    """In the archive."""
    content_type: str
    link: str | None
    """A URL that is good for 15 minutes; None: `Handout.read` streams it."""


class Handout:
    """Finds a client's copies, and reads them."""

    def __init__(self, database: Database, archive: Archive | None) -> None:
        self._database = database
        self._archive = archive

    async def artifact(self, client_id: UUID, task_id: UUID, n: int) -> Handed:
        """Return the copy.

        Raises `NotFoundError`, `TaskErasedError`, `ArtifactNotStoredError`, `ArchiveAwayError`.
        """
        async with self._database.read(client_id) as connection:
            kept = await reading.read_artifact(
                connection, client_id=client_id, task_id=task_id, n=n
            )
            is_there = kept is not None and kept.state not in _GONE
            if not is_there and await tombstones.any_erased(connection, client_id, [task_id]):
                raise task_erased()
        if kept is None:
            detail = "There is no task with this id that has such a file."
            raise NotFoundError(detail)
        return await self._handed(kept)

    async def of_url(self, client_id: UUID, url: str, *, always: bool) -> Handed | None:
        """Return the copy of a result at this URL; None: there is none, or the source has it.

        `always`: whether or not the source can still be expected to have it.
        """
        if self._archive is None:
            return None
        async with self._database.read(client_id) as connection:
            found = await reading.stored_of(
                connection, client_id=client_id, url=url, days=RESULTS_LIVE_DAYS
            )
        if found is None or not (always or found[1]):
            return None
        return await self._handed(found[0])

    async def _handed(self, kept: Kept) -> Handed:
        if kept.state != ArtifactState.STORED or kept.object is None:
            raise ArtifactNotStoredError(_SAID[ArtifactState(kept.state)].format(kept=kept))
        archive = self._require()
        try:
            link = await archive.presign(kept.object)
        except ArchiveError as error:
            raise _away() from error
        kind = kept.content_type or UNKNOWN_TYPE
        return Handed(kept=kept, name=kept.object, content_type=kind, link=link)

    async def read(self, name: str, start: int, end: int | None) -> Found:
        """Read bytes from `start` up to `end`; raises `ArtifactNotStoredError`, as above."""
        try:
            return await self._require().get(name, start, end)
        except NoObjectError as error:
            detail = (
                "The archive has lost this file. Until result_expires_at it is at its source_url."
            )
            raise ArtifactNotStoredError(detail) from error
        except ArchiveError as error:
            raise _away() from error

    def _require(self) -> Archive:
        if self._archive is None:
            raise _away()
        return self._archive


_SAID = {
    ArtifactState.WAITING: "It is to be copied; wait for the event task.archived, or ask again.",
    ArtifactState.FAILED: "It could not be copied: {kept.reason}.",
    ArtifactState.STORED: "The archive has lost this file.",
    ArtifactState.DELETING: "The copy was deleted.",
    ArtifactState.DELETED: "The copy was deleted.",
}


def _away() -> ArchiveAwayError:
    """Give no reason: it may be about the gateway's own credentials."""
    return ArchiveAwayError("The archive does not answer; please try again.")
