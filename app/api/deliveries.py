"""What we sent to a client's URLs: looking back, sending it again, calling a URL again."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from app.api.answers import ExactJSON
from app.api.cursors import id_cursor, read_id_cursor
from app.api.deps import Edge, TheClient, TheEdge, only_known_parameters, own_body
from app.api.instants import Instant, query_instant
from app.api.openapi import body_of, refusals
from app.api.schemas.deliveries import (
    Delivery,
    DeliveryList,
    EnabledUrl,
    Redelivered,
    Redelivery,
    Repetition,
    UrlEnable,
)
from app.domain.delivery import DeliveryState
from app.domain.errors import UrlDisabledError
from app.domain.paging import Chosen

router = APIRouter(prefix="/v1", tags=["deliveries"], dependencies=[Depends(only_known_parameters)])

State = Annotated[DeliveryState | None, Query(description="Only deliveries in this state.")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=200)]


@router.get(
    "/tasks/{task_id}/deliveries",
    response_model=DeliveryList,
    responses=refusals(401, 404, 422, 503),
)
async def list_task_deliveries(
    edge: TheEdge,
    client: TheClient,
    task_id: UUID,
    state: State = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """Return what you were, or are to be, told of the task, newest first, with every attempt."""
    return await _page(edge, client, Chosen(task_id=task_id, state=state), cursor, limit)


@router.get("/deliveries", response_model=DeliveryList, responses=refusals(401, 422, 503))
async def list_deliveries(
    edge: TheEdge,
    client: TheClient,
    state: State = None,
    created_after: Instant = None,
    created_before: Instant = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """Return your deliveries, newest first, each with every attempt and what was answered."""
    chosen = Chosen(
        state=state,
        created_after=query_instant("created_after", created_after),
        created_before=query_instant("created_before", created_before),
    )
    return await _page(edge, client, chosen, cursor, limit)


async def _page(
    edge: Edge, client: UUID, chosen: Chosen, cursor: str | None, limit: int
) -> Response:
    before = read_id_cursor(cursor)
    found, last = await edge.deliveries.page(client, chosen, before=before, limit=limit)
    return ExactJSON({"data": found, "next_cursor": id_cursor(last)})


@router.post(
    "/deliveries/redeliver",
    status_code=202,
    response_model=Redelivered,
    responses=refusals(400, 401, 413, 422, 503),
    openapi_extra=body_of(Redelivery),
)
async def redeliver_many(
    edge: TheEdge, client: TheClient, said: Annotated[Redelivery, Depends(own_body(Redelivery))]
) -> Response:
    """Send many again, the oldest first, at most 1,000 by one call.

    Each is a new delivery of the same body. Of a delivery and its repetitions the first stands for
    all; one that failed and was repeated with success since, or is about to be, is left out.
    """
    chosen = Chosen(
        state=None if said.state is None else DeliveryState(said.state),
        created_after=said.created_after,
        created_before=said.created_before,
    )
    after = read_id_cursor(said.cursor)
    repeated = await edge.deliveries.redeliver_all(client, chosen, after=after)
    content = {
        "data": repeated.ids,
        "next_cursor": id_cursor(repeated.after),
        "disabled_urls": repeated.disabled_urls,
    }
    return ExactJSON(content, status_code=202)


@router.post(
    "/deliveries/enable",
    response_model=EnabledUrl,
    responses=refusals(400, 401, 404, 413, 422, 503),
    openapi_extra=body_of(UrlEnable),
)
async def enable_url(
    edge: TheEdge, client: TheClient, said: Annotated[UrlEnable, Depends(own_body(UrlEnable))]
) -> Response:
    """Call a URL again that had answered 410. What was not told meanwhile can be redelivered."""
    await edge.deliveries.enable(client, said.url)
    return ExactJSON({"url": said.url})


@router.get(
    "/deliveries/{delivery_id}", response_model=Delivery, responses=refusals(401, 404, 422, 503)
)
async def read_delivery(edge: TheEdge, client: TheClient, delivery_id: UUID) -> Response:
    """Return one delivery with every attempt."""
    return ExactJSON(await edge.deliveries.one(client, delivery_id))


@router.post(
    "/deliveries/{delivery_id}/redeliver",
    status_code=202,
    response_model=Repetition,
    responses=refusals(401, 404, 409, 422, 503, as_in={409: UrlDisabledError}),
)
async def redeliver(edge: TheEdge, client: TheClient, delivery_id: UUID) -> Response:
    """Send one again, in whatever state it is: as a new delivery of the same body.

    It has a `webhook-id` of its own, so that a receiver which drops repetitions hears of it.
    """
    made = await edge.deliveries.redeliver(client, delivery_id)
    content = {"id": made.id, "origin_id": made.origin_id}
    headers = {"Location": f"/v1/deliveries/{made.id}"}
    return ExactJSON(content, status_code=202, headers=headers)
