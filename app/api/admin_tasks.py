"""`GET /v1/admin/tasks`: the tasks of all clients, for operators."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from app.api.answers import ExactJSON
from app.api.cursors import page_cursor, read_page_cursor
from app.api.deps import OperatorDep, ServicesDep, needs
from app.api.instants import Instant, query_instant
from app.api.openapi import refusals
from app.api.parameters import only_known_admin_parameters, without_nul
from app.api.schemas.admin_tasks import AnyTaskList
from app.domain.access import Role
from app.domain.paging import Filter
from app.domain.task import State

router = APIRouter(
    prefix="/v1/admin/tasks", tags=["admin"], dependencies=[Depends(only_known_admin_parameters)]
)


@router.get(
    "",
    operation_id="listAllTasks",
    response_model=AnyTaskList,
    responses=refusals(401, 403, 404, 422, 429, 503),
)
@needs(Role.READ)
async def list_all_tasks(
    services: ServicesDep,
    _: OperatorDep,
    state: Annotated[
        list[State] | None, Query(description="One or more states; repeat the parameter.")
    ] = None,
    client: Annotated[str | None, Query(description="Only of this client, by its name.")] = None,
    model: Annotated[str | None, Query(max_length=200)] = None,
    created_after: Instant = None,
    created_before: Instant = None,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Return the tasks of all clients, or of one, newest first.

    With `model`, a page ends after it has looked at some 10,000 tasks: it may have fewer than
    `limit`, or none, and a `next_cursor` all the same.
    """
    narrowed = Filter(
        states=tuple(dict.fromkeys(state or ())),
        model=without_nul("model", model),
        created_after=query_instant("created_after", created_after),
        created_before=query_instant("created_before", created_before),
    )
    page, place = await services.overview.page(
        narrowed, client=client, after=read_page_cursor(cursor), limit=limit
    )
    return ExactJSON({"data": page, "next_cursor": page_cursor(place)})
