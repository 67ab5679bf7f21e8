"""The tasks of all clients, page by page."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from starlette.responses import RedirectResponse, Response

from app.api.cursors import page_cursor, read_page_cursor
from app.console.routing import BAD_INPUT, Pages
from app.console.visits import Visit
from app.domain.errors import InvalidRequestError, NotFoundError, bad_parameter
from app.domain.paging import Filter, Place
from app.domain.task import State

pages = Pages()

HERE = "/console/tasks"
SHOWN = 50
FILTERS = ("state", "client", "model", "created_after", "created_before")


@pages.get(HERE)
async def tasks(visit: Visit) -> Response:
    """Show a page of tasks, newest first; a wrong filter is shown with what is wrong in it."""
    rows: Sequence[Mapping[str, Any]] = ()
    place, trouble = None, None
    try:
        rows, place = await _found(visit)
    except (InvalidRequestError, NotFoundError) as error:
        trouble = error.detail
    names = [one["client"] for one in await visit.services.clients.list()]
    return visit.render(
        "tasks.html",
        status=BAD_INPUT if trouble else 200,
        here=HERE,
        live="/console/live",
        given=visit.given,
        tasks=rows,
        states=list(State),
        names=names[:SHOWN],
        next=link(HERE, visit, FILTERS, page_cursor(place)),
        first=link(HERE, visit, FILTERS, "") if "cursor" in visit.given else None,
        trouble=trouble,
    )


async def _found(visit: Visit) -> tuple[Sequence[Mapping[str, Any]], Place | None]:
    narrowed = Filter(
        states=tuple(dict.fromkeys(_state(word) for word in visit.lists.get("state", ()))),
        model=visit.given.get("model"),
        created_after=visit.instant("created_after"),
        created_before=visit.instant("created_before"),
    )
    after = read_page_cursor(visit.given.get("cursor"))
    client = visit.given.get("client")
    return await visit.services.overview.page(narrowed, client=client, after=after, limit=SHOWN)


def _state(word: str) -> State:
    try:
        return State(word)
    except ValueError:
        name = "state"
        raise bad_parameter(name, f"should be one of {', '.join(State)}") from None


def link(path: str, visit: Visit, names: tuple[str, ...], cursor: str | None) -> str | None:
    """Return where a page of the same list is; None where there is none (`cursor` None)."""
    if cursor is None:
        return None
    query = [(name, value) for name in names for value in visit.lists.get(name, ())]
    return f"{path}?{urlencode([*query, *([('cursor', cursor)] if cursor else [])])}"


@pages.get("/console/find")
async def find(visit: Visit) -> Response:
    """Lead to a task by its id, or by kie.ai's."""
    text = visit.require("id")
    try:
        found: UUID | None = UUID(text)
    except ValueError:
        found = None
    if found is None or not await visit.services.overview.mark(found):
        found = await visit.services.overview.by_kie_id(text)
    return RedirectResponse(f"{HERE}/{found}", status_code=303)
