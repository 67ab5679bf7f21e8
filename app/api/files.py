"""`/v1/tasks/{id}/artifacts/{n}`: the files of results, from the archive."""

import re
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Response
from fastapi.responses import StreamingResponse

from app.api.browsers import GUARDED
from app.api.deps import ClientDep, ServicesDep, needs
from app.api.openapi import refusals
from app.api.parameters import only_known_parameters
from app.domain.access import Scope
from app.domain.errors import TaskErasedError
from app.domain.file_errors import RangeNotSatisfiableError
from app.domain.files import DISPOSITION, EXTENSIONS, UNKNOWN_EXTENSION
from app.services.files.handout import Handed

router = APIRouter(
    prefix="/v1/tasks", tags=["tasks"], dependencies=[Depends(only_known_parameters)]
)

_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{1,18})?|-(\d{1,18}))")

Number = Annotated[int, Path(ge=1, le=1_000_000, description="The file's `n`.")]


@router.get(
    "/{task_id}/artifacts/{n}",
    operation_id="getArtifact",
    response_class=Response,
    responses={
        200: {
            "description": "The file, where the archive is a directory.",
            "content": {"application/octet-stream": {"schema": {"type": "string"}}},
        },
        206: {
            "description": "The range of it that was asked for.",
            "content": {"application/octet-stream": {"schema": {"type": "string"}}},
        },
        302: {"description": "To a URL of the object store that is good for 15 minutes."},
        **refusals(*(401, 403, 404, 409, 410, 416, 422, 429, 503), as_in={410: TaskErasedError}),
    },
)
@needs(Scope.TASKS_READ)
async def read_artifact(
    services: ServicesDep,
    client: ClientDep,
    task_id: UUID,
    n: Number,
    range_: Annotated[
        str | None, Header(alias="Range", description="One range of bytes (RFC 9110, 14.2).")
    ] = None,
    if_range: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """Return a file of the task's result, also after kie.ai has deleted it.

    From an object store it is a redirect to a URL that anybody can fetch for 15 minutes; from a
    directory it is streamed.
    """
    handed = await services.handout.artifact(client, task_id, n)
    if handed.link is not None:
        return Response(status_code=302, headers={"Location": handed.link, **GUARDED})
    size = handed.kept.bytes or 0
    etag = f'"{(handed.kept.sha256 or b"").hex()}"'
    wanted = _wanted(range_ if if_range in (None, etag) else None, size)
    start, end = wanted or (0, size)
    found = await services.handout.read(handed.name, start, end if wanted else None)
    headers = {
        **GUARDED,
        "Content-Disposition": f'{DISPOSITION}; filename="{_file_name(handed)}"',
        "Content-Length": str(found.end - found.start),
        "Accept-Ranges": "bytes",
        "ETag": etag,
    }
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return StreamingResponse(
        found.chunks,
        status_code=206 if wanted else 200,
        headers=headers,
        media_type=handed.content_type,
    )


def _wanted(said: str | None, size: int) -> tuple[int, int] | None:
    """Read a range as the bytes from, and up to; None: it is none, and the whole is meant.

    Raises `RangeNotSatisfiableError` for one that the file does not reach.
    """
    found = _RANGE.fullmatch((said or "").strip())
    if found is None:
        return None
    first, last, of_end = found.groups()
    if of_end is not None:
        start, end = max(0, size - int(of_end)), size
    else:
        start, end = int(first), size if last is None else min(int(last) + 1, size)
    if last is not None and int(last) < int(first):
        return None
    if start >= end:
        detail = f"The file has {size} bytes, and the Range begins behind them."
        raise RangeNotSatisfiableError(detail, size=size)
    return start, end


def _file_name(handed: Handed) -> str:
    extension = EXTENSIONS.get(handed.content_type, UNKNOWN_EXTENSION)
    return f"{handed.kept.task_id}-{handed.kept.n}.{extension}"
