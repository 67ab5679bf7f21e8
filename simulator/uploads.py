"""The upload host: takes files in three ways, hands them out again, and fails when told to."""

import asyncio
import base64
import binascii
import hashlib
import mimetypes
import secrets
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from simulator import json_codec
from simulator.answers import ClosedConnection, answer
from simulator.api_key import ApiKeyCheck
from simulator.bodies import RefusedError
from simulator.envelopes import OK, envelope

LIFE = 3 * 24 * 3600
"""Seconds that uploads live; `DELETE /simulator/uploads` ends all lives at once."""
KEPT = 4 * 1024 * 1024
"""Bytes of a file that are kept to be handed out; of larger ones only size and hash are."""
MAX_FILE = 1024 * 1024 * 1024
MAX_TEXT = 160 * 1024 * 1024
FETCH_TIMEOUT = 30.0


class NextUpload(BaseModel):
    """How the next uploads go."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: int | None = None
    """Refuse with this code, once the file has come."""
    msg: str = "File upload failed"
    early: bool = False
    """Answer before the file has come."""
    hang_up_after: int | None = Field(default=None, ge=0)
    """Close the connection after so many bytes of the body."""
    stall: float = Field(default=0.0, ge=0, le=3600)
    """Seconds for which nothing is read, after the first bytes."""
    bytes_per_second: int | None = Field(default=None, ge=1024)
    """Read no faster."""
    count: int = Field(default=1, ge=1, le=1000)


@dataclass(slots=True, kw_only=True)
class Upload:
    """A file that came whole."""

    path: str
    name: str
    content_type: str
    size: int
    sha256: str
    url: str
    at: float
    data: bytes | None = field(repr=False)


@dataclass(slots=True)
class _Form:
    """What was read of a form."""

    fields: dict[str, bytearray] = field(default_factory=dict)
    file_name: str | None = None
    content_type: str = ""
    size: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    data: bytearray = field(default_factory=bytearray)
    ended: bool = False
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _name: bytes = b""
    _value: bytes = b""
    _part: str = ""

    def callbacks(self) -> Any:  # noqa: ANN401  # the parser's own
        return {
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._begin,
            "on_part_data": self._take,
            "on_end": self._end,
        }

    def text(self, name: str) -> str:
        return bytes(self.fields.get(name, b"")).decode("utf-8", "replace")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _begin(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._part = options.get(b"name", b"").decode("latin-1")
        if b"filename" in options:
            self.file_name = options[b"filename"].decode("utf-8", "replace")
            self.content_type = self._headers.get(b"content-type", b"").decode("latin-1")
        self._headers = {}

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._part != "file":
            value = self.fields.setdefault(self._part, bytearray())
            value += data[start:end][: 4096 - len(value)]
            return
        piece = memoryview(data)[start:end]
        self.digest.update(piece)
        self.size += len(piece)
        if self.size <= KEPT:
            self.data += piece

    def _end(self) -> None:
        self.ended = True


class Uploads:
    """kie.ai's upload endpoints, and the simulator's own about them."""

    def __init__(self, key_check: ApiKeyCheck, public_url: str | None) -> None:
        self._key_check = key_check
        self._public_url = public_url
        self._expected: deque[NextUpload] = deque()
        self.kept: dict[str, Upload] = {}
        """By path and name: the same again overwrites."""
        self.cut_off = 0
        """Uploads that did not come whole."""

    def routes(self) -> list[Route]:
        keyed = self._key_check.required
        own = "/simulator/uploads"
        large: dict[str, Any] = {"methods": ["POST"], "max_body_size": MAX_FILE}
        text: dict[str, Any] = {"methods": ["POST"], "max_body_size": MAX_TEXT}
        return [
            Route("/api/file-stream-upload", keyed(self.stream), **large),
            Route("/api/file-base64-upload", keyed(self.base64), **text),
            Route("/api/file-url-upload", keyed(self.url), **text),
            Route("/uploads/{place:path}", self.file),
            Route(own, self.list, methods=["GET"]),
            Route(own, self.expect, methods=["POST"]),
            Route(own, self.clear, methods=["DELETE"]),
        ]

    async def stream(self, request: Request) -> Response:
        """Take a form; nothing of a large file is held."""
        plan = self._next()
        if plan.early and plan.code == OK:
            return self._stored(request, "early", "early", size=0, sha256="", data=None)
        if plan.early:
            raise RefusedError(plan.code or 500, plan.msg)
        form = _Form()
        try:
            if not await self._read(request, form, plan):
                return ClosedConnection()
        except ClientDisconnect:
            self.cut_off += 1
            raise
        if plan.code is not None:
            raise RefusedError(plan.code, plan.msg)
        if not form.ended or form.file_name is None:
            raise RefusedError(400, "file is required")
        return self._stored(
            request,
            form.text("uploadPath"),
            form.text("fileName") or form.file_name,
            size=form.size,
            sha256=form.digest.hexdigest(),
            data=bytes(form.data) if form.size <= KEPT else None,
        )

    async def _read(self, request: Request, form: _Form, plan: NextUpload) -> bool:
        """Read the form; False: it hangs up before the end."""
        _, options = parse_options_header(request.headers.get("content-type", ""))
        began, came = time.monotonic(), 0
        try:
            parser = MultipartParser(options.get(b"boundary", b""), form.callbacks())
            async for piece in request.stream():
                came += len(piece)
                parser.write(piece)
                if plan.hang_up_after is not None and came >= plan.hang_up_after:
                    self.cut_off += 1
                    return False
                if plan.stall:
                    await asyncio.sleep(plan.stall)
                if plan.bytes_per_second:
                    due = began + came / plan.bytes_per_second
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
        except FormParserError:
            raise RefusedError(400, "the form cannot be read") from None
        return True

    async def base64(self, request: Request) -> Response:
        """Take a file in a JSON text, a data URL's too."""
        body = _object(await request.body())
        text = _text(body, "base64Data")
        text = text.partition(",")[2] if text.startswith("data:") else text
        try:
            data = base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            raise RefusedError(400, "base64Data cannot be decoded") from None
        return self._take(request, body, data, body.get("fileName") or secrets.token_hex(8))

    async def url(self, request: Request) -> Response:
        """Fetch a file, as kie.ai does: within 30 s."""
        body = _object(await request.body())
        url = _text(body, "fileUrl")
        try:
            async with httpx.AsyncClient(timeout=FETCH_TIMEOUT, trust_env=False) as http:
                fetched = await http.get(url)
                fetched.raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL):
            raise RefusedError(400, "the file cannot be downloaded") from None
        last = url.partition("?")[0].rpartition("/")[2]
        return self._take(request, body, fetched.content, body.get("fileName") or last)

    def _take(self, request: Request, body: dict[str, Any], data: bytes, name: str) -> Response:
        plan = self._next()
        if plan.code is not None:
            raise RefusedError(plan.code, plan.msg)
        digest = hashlib.sha256(data).hexdigest()
        path = _text(body, "uploadPath")
        return self._stored(request, path, name, size=len(data), sha256=digest, data=data)

    def _stored(
        self,
        request: Request,
        path: str,
        name: str,
        *,
        size: int,
        sha256: str,
        data: bytes | None,
    ) -> Response:
        if not path:
            raise RefusedError(400, "uploadPath is required")
        place = f"{path.strip('/')}/{name}"
        reached = f"{request.scope['scheme']}://{request.headers.get('host', 'localhost')}"
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        upload = Upload(
            path=path,
            name=name,
            content_type=kind,
            size=size,
            sha256=sha256,
            url=f"{(self._public_url or reached).rstrip('/')}/uploads/{quote(place)}",
            at=time.time(),
            data=data,
        )
        self.kept[place] = upload
        data_of = {
            "success": True,
            "fileName": name,
            "filePath": f"kieai/USERID/{place}",
            "downloadUrl": upload.url,
            "fileSize": size,
            "mimeType": kind,
            "uploadedAt": _instant(upload.at),
        }
        said = envelope(OK, "File uploaded successfully", data_of)
        return answer({"success": True, **said})

    async def file(self, request: Request) -> Response:
        """Hand a file out to anyone, while it lives."""
        upload = self.kept.get(request.path_params["place"])
        if upload is None or upload.data is None or time.time() > upload.at + LIFE:
            raise HTTPException(404)
        return Response(upload.data, media_type=upload.content_type)

    async def list(self, _: Request) -> Response:
        rows = [
            {
                "path": upload.path,
                "name": upload.name,
                "contentType": upload.content_type,
                "bytes": upload.size,
                "sha256": upload.sha256,
                "url": upload.url,
                "at": upload.at,
            }
            for upload in self.kept.values()
        ]
        return answer({"data": rows, "cutOff": self.cut_off})

    async def expect(self, request: Request) -> Response:
        """Queue how the next uploads go."""
        try:
            plan = NextUpload.model_validate_json(await request.body())
        except ValidationError as error:
            errors = error.errors(include_url=False, include_input=False, include_context=False)
            return answer({"errors": errors}, 400)
        self._expected.extend([plan] * plan.count)
        return answer({"count": plan.count})

    async def clear(self, _: Request) -> Response:
        """Forget all files, and what was to come."""
        self.kept.clear()
        self._expected.clear()
        self.cut_off = 0
        return answer({})

    def _next(self) -> NextUpload:
        return self._expected.popleft() if self._expected else NextUpload()


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json_codec.read(body)
    except json_codec.UnreadableError:
        document = None
    if not isinstance(document, dict):
        raise RefusedError(400, "The request body is not readable JSON")
    return document


def _text(body: dict[str, Any], name: str) -> str:
    found = body.get(name)
    if not isinstance(found, str) or not found:
        raise RefusedError(400, f"{name} is required")
    return found


def _instant(at: float) -> str:
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
