"""`/v1/files`: input files, handed on to kie.ai as they come."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from app.api.answers import ExactJSON
from app.api.bodies import read_json
from app.api.callers import take_time
from app.api.cursors import id_cursor, read_id_cursor
from app.api.deps import CallerDep, ClientDep, ServicesDep, needs
from app.api.multipart import FileForm, is_form, refuse_a_file_as_body
from app.api.openapi import refusals
from app.api.parameters import only_known_parameters
from app.api.schemas.bodies import validated
from app.api.schemas.uploads import File, FileFromUrl, FileList
from app.domain.access import Scope
from app.domain.limits import Held
from app.domain.references import reference
from app.domain.uploads import Incoming

router = APIRouter(
    prefix="/v1/files", tags=["files"], dependencies=[Depends(only_known_parameters)]
)

_BODY: Mapping[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "name": {"type": "string", "description": "What to call it."},
                    },
                }
            },
            "application/json": {"schema": {"$ref": "#/components/schemas/FileFromUrl"}},
        },
    }
}


@router.post(
    "",
    operation_id="uploadFile",
    status_code=201,
    response_model=File,
    responses=refusals(400, 401, 403, 408, 413, 415, 422, 429, 502, 503),
    openapi_extra=dict(_BODY),
)
@needs(Scope.FILES)
async def upload_file(services: ServicesDep, caller: CallerDep, request: Request) -> Response:
    """Upload a file to kie.ai: a form with one part `file`, or JSON with a `url` to fetch it from.

    It is handed on as it comes. A file that is cut off, by whom ever, leaves nothing behind.
    """
    with services.limits.holding(caller, Held.UPLOAD):
        if is_form(request):
            take_time(request)
            form = FileForm(request, fields=("name",))
            async with services.uploads.arriving():
                part = await form.file()
            incoming = Incoming(
                name=form.fields.get("name") or part.file_name,
                content_type=part.content_type,
                chunks=form.chunks(),
            )
            uploaded = await services.uploads.upload(caller.client_id, incoming)
        else:
            refuse_a_file_as_body(request)
            body = validated(FileFromUrl, await read_json(request, services.api))
            uploaded = await services.uploads.upload_from(
                caller.client_id, body.url, pointer="/url", name=body.name
            )
    location = {"Location": f"{router.prefix}/{uploaded.row['id']}"}
    return ExactJSON(_answer(uploaded.row), status_code=201, headers=location)


@router.get(
    "",
    operation_id="listFiles",
    response_model=FileList,
    responses=refusals(401, 403, 422, 429, 503),
)
@needs(Scope.FILES)
async def list_files(
    services: ServicesDep,
    client: ClientDep,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """List your files, newest first; those that kie.ai has deleted are among them."""
    after = read_id_cursor(cursor)
    page, last = await services.uploads.files(client, after=after, limit=limit)
    return ExactJSON({"data": [_answer(row) for row in page], "next_cursor": id_cursor(last)})


@router.get(
    "/{file_id}",
    operation_id="getFile",
    response_model=File,
    responses=refusals(401, 403, 404, 422, 429, 503),
)
@needs(Scope.FILES)
async def get_file(services: ServicesDep, client: ClientDep, file_id: UUID) -> Response:
    """Return one of your files."""
    return ExactJSON(_answer(await services.uploads.file(client, file_id)))


def _answer(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "reference": reference(row["id"])}
