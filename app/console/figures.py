"""What models are known to do, and what tasks have cost."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from starlette.responses import Response

from app.console.routing import BAD_INPUT, Pages
from app.console.visits import Visit
from app.domain.days import read_day
from app.domain.errors import InvalidRequestError, NotFoundError, bad_parameter
from app.domain.usage import ENDS, Group, Wanted, wanted
from app.services.spend.usage import ALL_GROUPS

pages = Pages()

MODELS = "/console/models"
USAGE = "/console/usage"
GROUPS = 100
"""Rows of the table by client and model: those of the largest names of the alphabet are left out.
"""
DAYS = 100
"""Days of a chart, and of the reconciliation."""


@pages.get(MODELS)
async def models(visit: Visit) -> Response:
    """Show what is known of each model of the last week."""
    found = await visit.services.models.of_all()
    return visit.render("models.html", here=MODELS, models=found)


@pages.get(USAGE)
async def usage(visit: Visit) -> Response:
    """Show what was used by day, by client and model, and what the balance says of it."""
    try:
        content = await _used(visit)
    except (InvalidRequestError, NotFoundError) as error:
        content = {"trouble": error.detail}
    trouble = content.get("trouble")
    status = BAD_INPUT if trouble else 200
    return visit.render(
        "usage.html", status=status, here=USAGE, given=visit.given, **{"trouble": None, **content}
    )


async def _used(visit: Visit) -> dict[str, Any]:
    services, client = visit.services, visit.given.get("client")
    first, last = (read_day(name, visit.given.get(name)) for name in ("from", "to"))
    days = _wanted(visit, first, last, (Group.DAY,), DAYS)
    by_day = await services.usage.of_all(days, client)
    by_pair = await services.usage.of_all(
        _wanted(visit, first, last, (Group.CLIENT, Group.MODEL), GROUPS), client
    )
    balance = await services.reconciliation.by_day(days.first, days.last)
    return {
        "days": _filled(by_day.rows, days),
        "first": days.first,
        "last": days.last,
        "total": by_day.total,
        "pairs": sorted(by_pair.rows, key=lambda row: -row["credits"]),
        "more_pairs": by_pair.more,
        "balance": balance,
    }


def _wanted(
    visit: Visit, first: date | None, last: date | None, by: Sequence[str], limit: int
) -> Wanted:
    found = wanted(
        visit.services.usage.today(),
        first=first,
        last=last,
        by=by,
        allowed=ALL_GROUPS,
        limit=limit,
    )
    if (found.last - found.first).days >= DAYS:
        name = "from"
        raise bad_parameter(name, f"should be at most {DAYS} days before `to`")
    return found


def _filled(rows: Sequence[Mapping[str, Any]], days: Wanted) -> list[dict[str, Any]]:
    """Return a row for each day, those without tasks too, as charts draw them."""
    found = {row["day"]: row for row in rows}
    nothing = {"tasks": dict.fromkeys(map(str, ENDS), 0), "credits": 0}
    count = (days.last - days.first).days + 1
    names = [(days.first + timedelta(days=n)).isoformat() for n in range(count)]
    return [
        {"day": name, **(row := found.get(name, nothing))["tasks"], "credits": row["credits"]}
        for name in names
    ]
