"""kie.ai's three ways to upload a file, for services that change only base URL and key.

All three are handed on as streams, and a file of theirs is one of `/v1/files` too. Answers are
kie.ai's, always HTTP 200.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from app.api import dropin
from app.api.answers import ExactJSON
from app.api.callers import take_time
from app.api.deps import CallerDep, ServicesDep, needs
from app.api.dropin import kie_body
from app.api.multipart import FileForm
from app.api.openapi import body_of
from app.api.schemas.dropin import KieBase64, KieFetch, UploadEnvelope
from app.domain.access import Scope
from app.domain.base64_body import Base64Body
from app.domain.errors import GatewayError
from app.domain.limits import Held
from app.domain.shapes.kie import OK, envelope, uploaded
from app.domain.uploads import Incoming, Wishes
from app.services.files.uploads import Uploaded
from app.services.limits.under_way import give_back

PREFIX = "/api/file-"

router = APIRouter(prefix="/api", tags=["drop-in"])

FILE = "X-Kie-Gateway-File"
"""The header with the file's id in the native API."""

FIELDS = ("uploadPath", "fileName")

_FORM: Mapping[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        **{name: {"type": "string"} for name in FIELDS},
                    },
                }
            }
        },
    }
}


def refused(error: GatewayError, status: int) -> Response:
    """Write a refusal as kie.ai's upload host does."""
    return ExactJSON(
        {"success": False, **dropin.envelope_of(error)},
        status_code=status if status in dropin.BY_STATUS else OK,
    )


@router.post(
    "/file-stream-upload",
    operation_id="uploadKieFile",
    response_model=UploadEnvelope,
    openapi_extra=dict(_FORM),
)
@needs(Scope.FILES)
async def upload_kie_file(services: ServicesDep, caller: CallerDep, request: Request) -> Response:
    """Upload a file as a form; the fields may come before or behind it."""
    with services.limits.holding(caller, Held.UPLOAD):
        take_time(request)
        form = FileForm(request, fields=FIELDS, strict=False)
        async with services.uploads.arriving():
            part = await form.file()
        wishes = Wishes(members=form.fields)
        incoming = Incoming(
            name=part.file_name, content_type=part.content_type, chunks=form.chunks()
        )
        return _answer(await services.uploads.upload(caller.client_id, incoming, wishes))


@router.post(
    "/file-base64-upload",
    operation_id="uploadKieText",
    response_model=UploadEnvelope,
    openapi_extra=body_of(KieBase64),
)
@needs(Scope.FILES)
async def upload_kie_base64(services: ServicesDep, caller: CallerDep, request: Request) -> Response:
    """Upload a file as base64 in JSON, a data URL's too; it is decoded as it comes."""
    with services.limits.holding(caller, Held.UPLOAD):
        take_time(request)
        body = Base64Body("base64Data", FIELDS)
        chunks = _decoded(body, request)
        async with services.uploads.arriving():
            first = await anext(chunks, b"")
        wishes = Wishes(members=body.members)
        incoming = Incoming(name=None, content_type=body.content_type, chunks=_after(first, chunks))
        return _answer(await services.uploads.upload(caller.client_id, incoming, wishes))


@router.post(
    "/file-url-upload",
    operation_id="uploadKieUrl",
    response_model=UploadEnvelope,
    openapi_extra=body_of(KieFetch),
)
@needs(Scope.FILES)
async def upload_kie_url(
    services: ServicesDep,
    caller: CallerDep,
    body: Annotated[KieFetch, Depends(kie_body(KieFetch))],
) -> Response:
    """Upload a file that is fetched from its URL: from public addresses, without redirects."""
    wishes = Wishes(members={name: getattr(body, name) or "" for name in FIELDS})
    with services.limits.holding(caller, Held.UPLOAD):
        return _answer(
            await services.uploads.upload_from(
                caller.client_id, body.fileUrl, pointer="/fileUrl", wishes=wishes
            )
        )


async def _decoded(body: Base64Body, request: Request) -> AsyncIterator[bytes]:
    """Yield what the body's long text decodes to."""
    async for piece in request.stream():
        give_back(len(piece))  # it is handed on, not kept
        if found := body.feed(piece):
            yield found
    body.end()


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for chunk in rest:
        yield chunk


def _answer(done: Uploaded) -> Response:
    said = envelope(OK, "File uploaded successfully", uploaded(done.row, done.path))
    headers = {FILE: str(done.row["id"])}
    return ExactJSON({"success": True, **said}, headers=headers)
