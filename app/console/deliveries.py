"""What clients were notified of: looking back, and sending it again."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from app.api.cursors import id_cursor, read_id_cursor
from app.console.routing import BAD_INPUT, Pages
from app.console.tasks import link
from app.console.visits import Visit
from app.domain.access import Role
from app.domain.delivery import DeliveryState
from app.domain.errors import InvalidRequestError, NotFoundError, bad_parameter
from app.domain.paging import Chosen

pages = Pages()

HERE = "/console/deliveries"
SHOWN = 50
FILTERS = ("state", "client", "created_after", "created_before")
REPEATED = (DeliveryState.EXHAUSTED, DeliveryState.DELIVERED, DeliveryState.DISABLED)
"""The states that many are chosen by, to be sent again."""


@pages.get(HERE)
async def deliveries(visit: Visit) -> Response:
    """Show a page of deliveries, newest first; a wrong filter is shown with what is wrong."""
    rows: Sequence[Mapping[str, Any]] = ()
    last, trouble = None, None
    try:
        rows, last = await visit.services.deliveries.page_of_all(
            _chosen(visit),
            client=visit.given.get("client"),
            before=read_id_cursor(visit.given.get("cursor")),
            limit=SHOWN,
        )
    except (InvalidRequestError, NotFoundError) as error:
        trouble = error.detail
    return visit.render(
        "deliveries.html",
        status=BAD_INPUT if trouble else 200,
        here=HERE,
        live="/console/live",
        given=visit.given,
        states=list(DeliveryState),
        repeated=REPEATED,
        deliveries=rows,
        next=link(HERE, visit, FILTERS, id_cursor(last)),
        first=link(HERE, visit, FILTERS, "") if "cursor" in visit.given else None,
        trouble=trouble,
    )


def _chosen(visit: Visit) -> Chosen:
    return Chosen(
        state=_state(visit.given.get("state")),
        created_after=visit.instant("created_after"),
        created_before=visit.instant("created_before"),
    )


def _state(word: str | None) -> DeliveryState | None:
    try:
        return None if word is None else DeliveryState(word)
    except ValueError:
        name = "state"
        raise bad_parameter(name, f"should be one of {', '.join(DeliveryState)}") from None


@pages.post(HERE + "/redeliver", Role.OPERATE)
async def redeliver_many(visit: Visit) -> Response:
    """Send many of a client's again, as many as its budget of repetitions has."""
    client = visit.require("client")
    repeated = await visit.services.deliveries.redeliver_all_of(
        visit.operator, client, _chosen(visit)
    )
    return visit.render(
        "repeated.html", here=HERE, client=client, repeated=repeated, more=repeated.after
    )


@pages.get(HERE + "/{delivery_id}")
async def delivery(visit: Visit) -> Response:
    """Show one with every attempt, and what its receiver answered."""
    found = await visit.services.deliveries.of_any_client(visit.id("delivery_id"))
    return visit.render("delivery.html", here=HERE, live="/console/live", delivery=found)


@pages.post(HERE + "/{delivery_id}/redeliver", Role.OPERATE)
async def redeliver(visit: Visit) -> Response:
    """Send one again."""
    await visit.services.deliveries.redeliver_of_any(visit.operator, visit.id("delivery_id"))
    return visit.done(visit.back, "redelivered")
