"""Uploads again from the archive: the file that a task names has expired at kie.ai."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

import structlog

from app.domain.errors import KieNotAnsweringError
from app.domain.uploads import Stored, UploadTerms, ending_for
from app.kie.uploads import KieUploads
from app.services.files.copies import Archive
from app.services.files.passage import Passage
from app.services.files.paths import LIVES, place_of
from app.store.connections.engine import Database
from app.store.files import uploads

log = structlog.get_logger(__name__)


class Renewal:
    """Gives files another life at kie.ai, each once at a time."""

    def __init__(
        self, database: Database, kie: KieUploads, archive: Archive | None, terms: UploadTerms
    ) -> None:
        self._database = database
        self._kie = kie
        self._archive = archive
        self._terms = terms
        self._locks: dict[UUID, asyncio.Lock] = {}

    async def renewed(self, client_id: UUID, file_id: UUID, *, lasting: float) -> str:
        """Return a URL of the file that is good for so many seconds, uploaded again if need be.

        Raises `KieNotAnsweringError` where that cannot be done now.
        """
        lock = self._locks.setdefault(file_id, asyncio.Lock())
        try:
            async with lock:
                found = await self._found(client_id, file_id)
                if found is not None and found["left"] >= lasting:
                    return str(found["url"])
                return await self._again(client_id, file_id, found)
        finally:
            if not lock.locked():
                self._locks.pop(file_id, None)

    async def _found(self, client_id: UUID, file_id: UUID) -> Mapping[str, Any] | None:
        async with self._database.read() as connection:
            found = await uploads.named_files(connection, client_id=client_id, ids=[file_id])
        row = found.get(file_id)
        return None if row is None else dict(row)

    async def _again(self, client_id: UUID, file_id: UUID, row: Mapping[str, Any] | None) -> str:
        if row is not None and row["object_name"] is not None and self._archive is not None:
            try:
                url = await self._upload(self._archive, client_id, row)
            except Exception as error:  # noqa: BLE001  # the archive's, of any kind
                log.warning("upload.not_renewed", file_id=str(file_id), error=type(error).__name__)
            else:
                await self._database.run(
                    lambda connection: uploads.renew_file(connection, file_id, url, lives=LIVES)
                )
                log.info("upload.renewed", file_id=str(file_id))
                return url
        detail = "The file has expired, and it could not be uploaded again now."
        raise KieNotAnsweringError(detail)

    async def _upload(self, archive: Archive, client_id: UUID, row: Mapping[str, Any]) -> str:
        found = await archive.get(row["object_name"])
        passage = Passage(found.chunks, max_bytes=max(row["bytes"], 1), stall=self._terms.stall)
        at_kie = f"{row['id']}{ending_for(row['name'], row['content_type'])}"
        async with passage.bounded():
            answer = await self._kie.upload(
                at_kie, row["content_type"], passage.through(), lambda: place_of(client_id, at_kie)
            )
        with suppress(AttributeError):
            await found.chunks.aclose()  # type: ignore[attr-defined]  # a generator has it
        if not isinstance(answer, Stored) or passage.sha256 != row["sha256"]:
            detail = "The copy is not the file, or kie.ai does not take it."
            raise KieNotAnsweringError(detail)
        return answer.url
