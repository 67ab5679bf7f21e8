"""What goes on at this moment: whether anything is sent, who waits, and the brake."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from app.console.routing import Pages
from app.console.visits import Visit
from app.domain.access import Role
from app.services.health import SILENT_AFTER

pages = Pages()

HERE = "/console"
CLIENTS = 100
"""Clients on the page, those first who wait."""


@pages.get(HERE)
async def now(visit: Visit) -> Response:
    """Show admission, the queue and the loops."""
    services = visit.services
    status = await services.pauses.status()
    queues = _queues(status.shown)
    loops = [
        {"name": name, "silent": silent, "stuck": silent > SILENT_AFTER}
        for name, silent in sorted(services.health.silences().items())
    ]
    balance = await services.reconciliation.standing()
    return visit.render(
        "now.html",
        here=HERE,
        live="/console/live",
        account=status.shown,
        queued=sum(one["queued"] for one in queues),
        clients=queues[:CLIENTS],
        more_clients=len(queues) - len(queues[:CLIENTS]),
        loops=loops,
        balance=balance.last,
        unexplained=balance.unexplained,
    )


def _queues(shown: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each client with what waits and what runs of it, the longest queue first."""
    seats = {seat["client"]: seat for seat in shown["seats"]}
    nothing = {"running": 0, "may_take": None}
    rows = [
        {
            **one,
            **{name: seats.get(one["client"], nothing)[name] for name in ("running", "may_take")},
        }
        for one in shown["clients"]
    ]
    return sorted(rows, key=lambda one: (-one["queued"], -one["running"], one["client"]))


@pages.post("/console/pause", Role.OPERATE)
async def pause(visit: Visit) -> Response:
    """Send nothing more, or nothing of one client's."""
    note, client = visit.given.get("note"), visit.given.get("client")
    await visit.services.pauses.pause(visit.operator, client=client, note=note)
    return visit.done(visit.back, "paused")


@pages.post("/console/resume", Role.OPERATE)
async def resume(visit: Visit) -> Response:
    """Take a pause back."""
    await visit.services.pauses.resume(visit.operator, client=visit.given.get("client"))
    return visit.done(visit.back, "resumed")


@pages.post("/console/resume-restored", Role.OPERATE)
async def resume_restored(visit: Visit) -> Response:
    """End the hold of a restored database."""
    await visit.services.restores.resume(visit.operator)
    return visit.done(visit.back, "moved")
