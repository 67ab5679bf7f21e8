"""What operators did, and what the gateway found for them."""

from starlette.responses import Response

from app.console.routing import Pages
from app.console.visits import Visit

pages = Pages()

HERE = "/console/audit"
SHOWN = 50


@pages.get(HERE)
async def audit(visit: Visit) -> Response:
    """Show a page of the audit, newest first."""
    before = visit.number("before")
    if before is not None:
        before = max(0, min(before, 2**62))
    found = await visit.services.clients.audit(limit=SHOWN + 1, before=before)
    more = len(found) > SHOWN
    return visit.render(
        "audit.html",
        here=HERE,
        live="/console/live",
        entries=found[:SHOWN],
        next=f"{HERE}?before={found[SHOWN - 1]['id']}" if more else None,
        first=HERE if before is not None else None,
    )
