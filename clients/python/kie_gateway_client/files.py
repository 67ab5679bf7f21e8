"""Calls about files: what inputs name, and what results are."""

from typing import TYPE_CHECKING

from kie_gateway_client.errors import UnexpectedAnswer
from kie_gateway_client.reading import Calling, Id, written
from kie_gateway_client.shapes import FILE
from kie_gateway_client.steps import (
    Answer,
    Call,
    Item,
    Items,
    Sleep,
    Source,
    Upload,
    opened,
    read,
)
from kie_gateway_client.terms import OK, Tries

if TYPE_CHECKING:
    from kie_gateway_client.models import File

FOUND_ELSEWHERE = frozenset({302, 303, 307, 308})
MAX_FILE_BYTES = 2**30
UPLOAD_HELD = 120.0
"""Seconds that kie.ai may take for a file beyond those that all answers have."""


class FileCalls(Calling):
    """Calls about files."""

    def upload(
        self, source: Source, *, name: str | None = None, content_type: str | None = None
    ) -> "Call[File]":
        """Upload a file to kie.ai and return it; an input names it by its `reference`.

        `source` is a path, bytes, something open for reading, or an iterable of bytes; it is sent
        as it is read. Raises `OSError` for a path that cannot be read, and `Invalid` for a file
        that is not taken. Only a path or bytes are tried again, and only where nothing was kept.
        """
        upload = Upload(source, name, content_type)
        request = self.terms.request(
            "POST", "files", upload=upload, is_safe=False, held=UPLOAD_HELD
        )
        return (yield from self.one(FILE, request))

    def upload_url(self, url: str, *, name: str | None = None) -> "Call[File]":
        """Have the gateway fetch a file from a public URL and upload it."""
        body = written({"url": url, **({} if name is None else {"name": name})})
        request = self.terms.request("POST", "files", body=body, is_safe=False, held=UPLOAD_HELD)
        return (yield from self.one(FILE, request))

    def file(self, file_id: Id) -> "Call[File]":
        """Return one of your files."""
        return (yield from self.one(FILE, self.terms.request("GET", "files", file_id)))

    def files(self, *, most: int | None = None) -> "Items[File]":
        """Iterate over your files, newest first."""
        yield from self.pages(FILE, "files", most=most)

    def artifact(self, task_id: Id, n: int, *, max_bytes: int = MAX_FILE_BYTES) -> Items[bytes]:
        """Iterate over the bytes of a task's result file, from the archive.

        Where the archive is an object store, they come from there, and the key is not sent to it.
        Raises `Conflict` where there is no copy, `UnexpectedAnswer` where the file is longer than
        `max_bytes`, and `Unavailable` where it breaks off.
        """
        request = self.terms.request("GET", "tasks", task_id, "artifacts", n)
        tries = Tries(self.terms)
        while True:
            head = yield from opened(request)
            if isinstance(head, Answer) and head.status in FOUND_ELSEWHERE:
                request = self.terms.elsewhere(head)
                head = yield from opened(request)
            if isinstance(head, Answer) and head.status == OK:
                break
            yield Sleep(tries.pause(request, self.terms.error(head)))
        yield from self._body(max_bytes)

    def _body(self, left: int) -> Items[bytes]:
        while True:
            piece = yield from read()
            if not isinstance(piece, bytes):
                raise self.terms.error(piece)
            left -= len(piece)
            if left < 0:
                message = "the file is longer than may be"
                raise UnexpectedAnswer(message)
            if not piece:
                return
            yield Item(piece)
