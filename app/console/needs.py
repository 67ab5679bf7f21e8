"""What only a person can decide, each with the button that solves it."""

from typing import Any

from starlette.responses import Response

from app.console.routing import Pages
from app.console.visits import Visit
from app.domain.access import Role
from app.domain.admission import HoldReason
from app.domain.delivery import DeliveryState
from app.domain.paging import Chosen
from app.services.tasks.stuck import SHOWN

pages = Pages()

HERE = "/console/needs-you"
LISTED = 50
"""Rows of each of the other lists."""


@pages.get(HERE)
async def needs_you(visit: Visit) -> Response:
    """Show stuck tasks, what was not delivered, and what was spent by nobody."""
    services = visit.services
    account = await services.health.account()
    restored = account["hold_reason"] == HoldReason.DATABASE_RESTORED
    review: list[Any] = list(await services.stuck.review()) if restored else []
    stuck = await services.stuck.list()
    exhausted, _ = await services.deliveries.page_of_all(
        Chosen(state=DeliveryState.EXHAUSTED), limit=LISTED, unanswered=True
    )
    balance = await services.reconciliation.standing()
    return visit.render(
        "needs.html",
        here=HERE,
        live="/console/live",
        restored=(account["hold_detail"] or "PostgreSQL has lost commits.") if restored else None,
        review=review[:LISTED],
        more_review=len(review) - len(review[:LISTED]),
        stuck=stuck,
        more_stuck=len(stuck) == SHOWN,
        exhausted=exhausted,
        disabled=await services.deliveries.disabled_of_all(LISTED),
        over=balance.unexplained > balance.alert,
        unexplained=balance.unexplained,
        alert=balance.alert,
    )


@pages.post("/console/enable-url", Role.OPERATE)
async def enable_url(visit: Visit) -> Response:
    """Call a client's URL again."""
    client, sha256 = visit.require("client"), visit.require("sha256")
    await visit.services.deliveries.enable_named(visit.operator, client, sha256)
    return visit.done(visit.back, "enabled")
