"""What we sent to a client's URLs: looking back, sending it again, calling a URL again."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from app.api.answers import ExactJSON
from app.api.bodies import client_body
from app.api.cursors import id_cursor, read_id_cursor
from app.api.deps import ClientDep, ServicesDep, needs
from app.api.instants import Instant, query_instant
from app.api.openapi import body_of, refusals
from app.api.parameters import only_known_parameters
from app.api.schemas.deliveries import (
    Delivery,
    DeliveryList,
    DisabledUrlList,
    EnabledUrl,
    Redelivered,
    Redelivery,
    Repetition,
    UrlEnable,
)
from app.domain.access import Scope
from app.domain.delivery import DeliveryState
from app.domain.errors import BodyDeletedError, TaskErasedError, UrlDisabledError
from app.domain.paging import Chosen
from app.services.services import Services

router = APIRouter(prefix="/v1", tags=["deliveries"], dependencies=[Depends(only_known_parameters)])

State = Annotated[DeliveryState | None, Query(description="Only deliveries in this state.")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=200)]


@router.get(
    "/tasks/{task_id}/deliveries",
    operation_id="listTaskDeliveries",
    response_model=DeliveryList,
    responses=refusals(401, 403, 404, 410, 422, 429, 503, as_in={410: TaskErasedError}),
)
@needs(Scope.DELIVERIES)
async def list_task_deliveries(
    services: ServicesDep,
    client: ClientDep,
    task_id: UUID,
    state: State = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """Return what you were, or are to be, sent about the task, newest first, with every attempt."""
    return await _page(services, client, Chosen(task_id=task_id, state=state), cursor, limit)


@router.get(
    "/deliveries",
    operation_id="listDeliveries",
    response_model=DeliveryList,
    responses=refusals(401, 403, 422, 429, 503),
)
@needs(Scope.DELIVERIES)
async def list_deliveries(
    services: ServicesDep,
    client: ClientDep,
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
    return await _page(services, client, chosen, cursor, limit)


async def _page(
    services: Services, client: UUID, chosen: Chosen, cursor: str | None, limit: int
) -> Response:
    before = read_id_cursor(cursor)
    found, last = await services.deliveries.page(client, chosen, before=before, limit=limit)
    return ExactJSON({"data": found, "next_cursor": id_cursor(last)})


@router.post(
    "/deliveries/redeliver",
    operation_id="redeliverMany",
    status_code=202,
    response_model=Redelivered,
    responses=refusals(400, 401, 403, 413, 422, 429, 503),
    openapi_extra=body_of(Redelivery),
)
@needs(Scope.DELIVERIES)
async def redeliver_many(
    services: ServicesDep,
    client: ClientDep,
    body: Annotated[Redelivery, Depends(client_body(Redelivery))],
) -> Response:
    """Send many again, the oldest first, at most 1,000 by one call, and as many as you may.

    Of 600 per minute, unless an operator chose another number, a sixth may be repeated at once;
    `next_cursor` goes on with the others. Where there is none left you hear when there is.

    Each is a new delivery of the same body. Of a delivery and its repetitions the first counts for
    all; one that failed and was repeated with success since, or is about to be, is left out.
    """
    chosen = Chosen(
        state=None if body.state is None else DeliveryState(body.state),
        created_after=body.created_after,
        created_before=body.created_before,
    )
    after = read_id_cursor(body.cursor, in_body=True)
    repeated = await services.deliveries.redeliver_all(client, chosen, after=after)
    content = {
        "data": repeated.ids,
        "next_cursor": id_cursor(repeated.after),
        "disabled_urls": repeated.disabled_urls,
    }
    return ExactJSON(content, status_code=202)


@router.post(
    "/deliveries/enable",
    operation_id="enableUrl",
    response_model=EnabledUrl,
    responses=refusals(400, 401, 403, 404, 413, 422, 429, 503),
    openapi_extra=body_of(UrlEnable),
)
@needs(Scope.DELIVERIES)
async def enable_url(
    services: ServicesDep,
    client: ClientDep,
    body: Annotated[UrlEnable, Depends(client_body(UrlEnable))],
) -> Response:
    """Call a URL again that was disabled. What was not sent meanwhile can be redelivered."""
    await services.deliveries.enable(client, body.url)
    return ExactJSON({"url": body.url})


@router.get(
    "/deliveries/disabled-urls",
    operation_id="listDisabledUrls",
    response_model=DisabledUrlList,
    responses=refusals(401, 403, 422, 429, 503),
)
@needs(Scope.DELIVERIES)
async def list_disabled_urls(services: ServicesDep, client: ClientDep) -> Response:
    """Return your URLs that are not called any more and why, newest first, 1,000 at most."""
    found = await services.deliveries.disabled_urls(client)
    return ExactJSON({"data": found, "next_cursor": None})


@router.get(
    "/deliveries/{delivery_id}",
    operation_id="getDelivery",
    response_model=Delivery,
    responses=refusals(401, 403, 404, 422, 429, 503),
)
@needs(Scope.DELIVERIES)
async def read_delivery(services: ServicesDep, client: ClientDep, delivery_id: UUID) -> Response:
    """Return one delivery with every attempt."""
    return ExactJSON(await services.deliveries.one(client, delivery_id))


@router.post(
    "/deliveries/{delivery_id}/redeliver",
    operation_id="redeliver",
    status_code=202,
    response_model=Repetition,
    responses=refusals(
        *(401, 403, 404, 409, 410, 422, 429, 503),
        as_in={409: UrlDisabledError, 410: BodyDeletedError},
    ),
)
@needs(Scope.DELIVERIES)
async def redeliver(services: ServicesDep, client: ClientDep, delivery_id: UUID) -> Response:
    """Send one again, in whatever state it is: as a new delivery of the same body.

    It has a `webhook-id` of its own, so that a receiver which drops repetitions accepts it.
    """
    made = await services.deliveries.redeliver(client, delivery_id)
    content = {"id": made.id, "origin_id": made.origin_id}
    headers = {"Location": f"/v1/deliveries/{made.id}"}
    return ExactJSON(content, status_code=202, headers=headers)
