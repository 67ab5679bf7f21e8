"""Uploads: through to kie.ai as they come, recorded once they are whole, renewed where that helps.

No transaction is open while a byte is on its way, and nothing is recorded of what was cut off.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from app.domain.errors import (
    DatabaseUnavailableError,
    Flaw,
    GatewayError,
    InvalidRequestError,
    KieNotAnsweringError,
)
from app.domain.file_errors import (
    FileNotFetchableError,
    UploadRefusedError,
    UploadStalledError,
    no_such_file,
)
from app.domain.files import Trouble
from app.domain.report import NoAnswer
from app.domain.uploads import (
    Incoming,
    NewFile,
    Rejected,
    Stored,
    UploadTerms,
    Wishes,
    checked_type,
    clean_name,
    clean_path,
    ending_for,
)
from app.kie.uploads import KieUploads
from app.metrics import Metrics
from app.outbound.fetch import Fetcher, FetchError
from app.services.files.copies import Archive, Copy
from app.services.files.passage import Passage, stalled, too_large
from app.services.files.paths import LIVES, object_name, place_of
from app.store.connections.engine import Columns, Database
from app.store.files import uploads

ABOUT_THE_FILE = frozenset({400, 404, 405, 413, 415, 422, 451, 500, 501, 505})
"""kie.ai's codes that may be about the file; all others are about the account, or pass."""
OUTCOMES: Mapping[type[GatewayError], str] = {
    UploadStalledError: "stalled",
    KieNotAnsweringError: "unanswered",
    DatabaseUnavailableError: "unrecorded",
}
"""How an upload ended that was not refused."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Counting:
    bytes: int = 0


@dataclass(slots=True)
class _Sent:
    """What becomes known of a file while it comes."""

    id: UUID
    client_id: UUID
    wishes: Wishes | None
    name: str = ""
    kind: str = ""
    url: str = ""

    @property
    def at_kie(self) -> str:
        """Its name at kie.ai, fit for a header, and nobody else's."""
        return f"{self.id}{ending_for(self.name, self.kind)}"

    @property
    def wanted_name(self) -> str:
        return clean_name(self.wishes.name) if self.wishes and self.wishes.name else self.name

    def fields(self) -> Mapping[str, str]:
        return place_of(self.client_id, self.at_kie, self.wishes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """A file that is recorded."""

    row: Mapping[str, Any]
    path: str
    """The path that the caller wanted."""


class Uploads:
    """Takes files of callers in, and knows those that were taken."""

    def __init__(
        self,
        database: Database,
        kie: KieUploads,
        fetcher: Fetcher,
        archive: Archive | None,
        terms: UploadTerms,
        new_id: Callable[[], UUID],
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._kie = kie
        self._fetcher = fetcher
        self._archive = archive
        self._terms = terms
        self._new_id = new_id
        self._metrics = metrics

    @asynccontextmanager
    async def arriving(self) -> AsyncIterator[None]:
        """Bound the time for what comes before a file's bytes; raises `UploadStalledError`."""
        try:
            async with asyncio.timeout(self._terms.stall):
                yield
        except TimeoutError:
            raise stalled(self._terms.stall) from None

    async def upload(
        self, client_id: UUID, incoming: Incoming, wishes: Wishes | None = None
    ) -> Uploaded:
        """Hand a file on to kie.ai and record it.

        Raises `UnsupportedFileTypeError`, `BodyTooLargeError`, `UploadStalledError`,
        `UploadRefusedError`, `KieNotAnsweringError`, and what the source of its bytes raises.
        """
        with self._counted() as counting:
            sent = _Sent(self._new_id(), client_id, wishes)
            passage = Passage(
                incoming.chunks, max_bytes=self._terms.max_bytes, stall=self._terms.stall
            )
            try:
                async with passage.bounded():
                    await self._judge(incoming, passage, sent)
                    answer = await self._kie.upload(
                        sent.at_kie, sent.kind, passage.through(), sent.fields
                    )
                sent.url = _taken(answer, passage)
                row = await self._recorded(passage, sent)
            except BaseException:
                if passage.copy is not None:
                    await passage.copy.forget()
                raise
            counting.bytes = passage.bytes
        return Uploaded(row=row, path=clean_path(wishes.path) if wishes else "")

    async def _judge(self, incoming: Incoming, passage: Passage, sent: "_Sent") -> None:
        """Say what the file is by its first bytes, before any of it goes on."""
        head = await passage.head()
        if not head:
            detail = "The file is empty."
            raise InvalidRequestError(detail, [Flaw("/file", "should not be empty")])
        sent.name = clean_name(incoming.name)
        sent.kind = checked_type(incoming.content_type, head, sent.name, self._terms.types)
        if self._archive is not None:
            name = object_name(sent.client_id, sent.at_kie)
            passage.copy = Copy(self._archive, name, sent.kind)

    async def _recorded(self, passage: Passage, sent: "_Sent") -> Mapping[str, Any]:
        copy = passage.copy
        new = NewFile(
            id=sent.id,
            client_id=sent.client_id,
            name=sent.wanted_name,
            content_type=sent.kind,
            bytes=passage.bytes,
            sha256=passage.sha256,
            url=sent.url,
            lives=LIVES,
            object_name=copy.name if copy is not None and await copy.is_kept() else None,
        )
        return await self._database.run(lambda connection: uploads.insert_file(connection, new))

    @contextmanager
    def _counted(self) -> Iterator["_Counting"]:
        """Count an upload by how it ends."""
        counting = _Counting()
        outcome = "cut_off"
        try:
            yield counting
            outcome = "stored"
        except GatewayError as error:
            outcome = OUTCOMES.get(type(error), "refused")
            raise
        finally:
            self._metrics.uploaded(outcome, counting.bytes)

    async def upload_from(
        self,
        client_id: UUID,
        url: str,
        *,
        pointer: str,
        name: str | None = None,
        wishes: Wishes | None = None,
    ) -> Uploaded:
        """Fetch a file and hand it on as it comes; raises as `upload`.

        Raises `FileNotFetchableError` too; `pointer` says where in the body the URL is.
        """
        objection = self._fetcher.objection(url)
        if objection is not None:
            raise _not_fetchable(pointer, objection)
        try:
            async with self._fetcher.fetch(url) as fetched:
                incoming = Incoming(
                    name=name or _last_of(url),
                    content_type=fetched.content_type,
                    chunks=fetched.chunks,
                )
                return await self.upload(client_id, incoming, wishes)
        except FetchError as error:
            if error.trouble is Trouble.TOO_LARGE:
                raise too_large(self._terms.max_bytes) from None
            raise _not_fetchable(pointer, _said(error)) from None

    async def file(self, client_id: UUID, file_id: UUID) -> Columns:
        """Return a file of the client's; raises `NotFoundError`."""
        async with self._database.read(client_id) as connection:
            found = await uploads.read_file(connection, client_id=client_id, file_id=file_id)
        if found is None:
            raise no_such_file()
        return dict(found)

    async def files(
        self, client_id: UUID, *, after: UUID | None, limit: int
    ) -> tuple[Sequence[Columns], UUID | None]:
        """Return a page of the client's files, newest first, and where the next one begins."""
        async with self._database.read(client_id) as connection:
            rows = await uploads.list_files(
                connection, client_id=client_id, after=after, limit=limit + 1
            )
        page = [dict(row) for row in rows[:limit]]
        return page, page[-1]["id"] if len(rows) > limit else None


def _taken(answer: Stored | Rejected | NoAnswer, passage: Passage) -> str:
    """Return the file's URL; raises what became of it otherwise."""
    if passage.trouble is not None:
        raise passage.trouble
    match answer:
        case Stored(url=url) if passage.is_whole:
            return url
        case Stored():  # before it had all of it: nobody knows what it has
            log.warning("upload.cut_short", bytes=passage.bytes)
        case Rejected(code=code, message=message) if code in ABOUT_THE_FILE:
            detail = f"kie.ai does not take the file: {message}"
            raise UploadRefusedError(detail)
        case Rejected(code=code, message=message):
            log.warning("upload.refused", code=code, message=message)
        case NoAnswer(reason=reason):
            log.warning("upload.unanswered", reason=reason)
    detail = "kie.ai does not take files now; please try again later."
    raise KieNotAnsweringError(detail)


def _last_of(url: str) -> str:
    return url.partition("?")[0].partition("#")[0].rpartition("/")[2]


def _said(error: FetchError) -> str:
    """Say no address: where a name leads inside is not for callers."""
    if error.trouble is Trouble.BLOCKED:
        return "leads to an address that is not public"
    return error.reason


def _not_fetchable(pointer: str, trouble: str) -> FileNotFetchableError:
    return FileNotFetchableError(f"{pointer} {trouble}", [Flaw(pointer, trouble)])
