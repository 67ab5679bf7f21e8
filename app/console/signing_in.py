"""Signing in with an admin key, signing out, and what is at no path."""

from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from app.console import visits
from app.console.routing import LOGIN, Pages, status_of
from app.console.visits import Visit, keep, local, sent_by
from app.domain.errors import GatewayError, NotFoundError, RateLimitedError, UnauthenticatedError

pages = Pages()
anywhere = Pages()
"""Behind all others."""

MOST = 1000
"""Characters of a key: none is that long."""


@pages.get(LOGIN, role=None)
async def form(visit: Visit) -> Response:
    """Ask for the key."""
    wanted = local(visit.given.get("next"))
    if visit.session.operator is not None:
        return RedirectResponse(wanted, status_code=303)
    return _asked(visit, wanted)


@pages.post(LOGIN, role=None)
async def sign_in(visit: Visit) -> Response:
    """Begin a session; a wrong key counts towards the wait of its address, as in the API."""
    wanted = local(visit.given.get("next"))
    key = visit.given.get("admin_key", "")[:MOST]
    try:
        session = await visit.services.sessions.open(sent_by(visit.request, key))
    except UnauthenticatedError as error:
        return _asked(visit, wanted, "This is no admin key of this gateway.", error)
    except RateLimitedError as error:
        answer = _asked(visit, wanted, error.detail, error)
        answer.headers["Retry-After"] = str(int(error.retry_after) + 1)
        return answer
    return keep(RedirectResponse(wanted, status_code=303), visit.request, session)


@pages.post("/console/logout", role=None)
async def sign_out(_: Visit) -> Response:
    """Have the browser forget the session."""
    answer = RedirectResponse(f"{LOGIN}?{urlencode({'done': 'signed-out'})}", status_code=303)
    answer.delete_cookie(visits.COOKIE, path=visits.HOME, httponly=True, samesite="strict")
    return answer


def _asked(
    visit: Visit, wanted: str, trouble: str | None = None, error: GatewayError | None = None
) -> Response:
    status = 200 if error is None else status_of(error)
    answer = visit.render("login.html", status=status, next=wanted, trouble=trouble)
    return keep(answer, visit.request, visit.session)


@anywhere.get("/console{rest:path}")
async def nowhere(_: Visit) -> Response:
    """Say that there is no such page, to who has signed in."""
    detail = "The console has no such page."
    raise NotFoundError(detail)
