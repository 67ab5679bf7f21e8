"""What stands before every page: a session, a form's token, a role; and errors become pages."""

import math
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from app.api.callers import recognise
from app.api.errors import STATUS
from app.console import visits
from app.console.render import page
from app.console.visits import Visit, filled_in, sent_by
from app.domain.access import Role
from app.domain.errors import (
    GatewayError,
    InsufficientRoleError,
    InvalidRequestError,
    RateLimitedError,
    UnauthenticatedError,
)
from app.services.clients.sessions import Session
from app.services.services import Services

Show = Callable[[Visit], Awaitable[Response]]

LOGIN = "/console/login"
BAD_INPUT = 400
"""What a browser is answered whose form has something wrong in it."""


class ForeignFormError(Exception):
    """A form without this session's token: it was not made here, or for another session."""

    title = "This form is not this session's"
    detail = "It is from another session, or was open for too long. Go back, reload, try again."


class Pages:
    """Some pages of the console, each with the role that it needs."""

    def __init__(self) -> None:
        self.routes: list[Route] = []

    def get(self, path: str, role: Role | None = Role.READ) -> Callable[[Show], Show]:
        """Show at a path; without `role` also to those who have not signed in."""
        return partial(self._add, path, "GET", role)

    def post(self, path: str, role: Role | None) -> Callable[[Show], Show]:
        """Act on a form."""
        return partial(self._add, path, "POST", role)

    def _add(self, path: str, method: str, role: Role | None, show: Show) -> Show:
        async def answer(request: Request) -> Response:
            request.scope["route"] = route
            return await _answered(request, show, role)

        route = Route(path, answer, methods=[method])
        self.routes.append(route)
        return show


async def _answered(request: Request, show: Show, role: Role | None) -> Response:
    session: Session | None = None
    try:
        services: Services = request.app.state.services
        session = await _session(request, services)
        if role is not None and session.operator is None:
            return _to_login(request)
        if session.operator is not None:
            recognise(request)
        visit = await _visit(request, services, session)
        if role is not None and not session.may(role):
            detail = f"This needs an admin key with the role {role}."
            raise InsufficientRoleError(detail)  # its page is written below
        return await show(visit)
    except (GatewayError, ForeignFormError) as error:
        return _refused(request, session, error)


async def _session(request: Request, services: Services) -> Session:
    token = request.cookies.get(visits.COOKIE, "")
    found = await services.sessions.recognise(token, sent_by(request))
    return found or services.sessions.stranger()


async def _visit(request: Request, services: Services, session: Session) -> Visit:
    """Read what was filled in; raises `ForeignFormError` for a form without this one's token."""
    pairs = await filled_in(request)
    lists: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        lists[name] = (*lists.get(name, ()), value)
    given = {name: values[0] for name, values in lists.items()}
    if request.method == "POST" and not session.made(given.get("form_token", "")):
        raise ForeignFormError
    return Visit(request=request, services=services, session=session, given=given, lists=lists)


def _to_login(request: Request) -> Response:
    """Have somebody sign in, and lead them back to what they wanted to read."""
    query = request.scope["query_string"].decode("latin-1")
    wanted = request.url.path + (f"?{query}" if query else "")
    target = quote(wanted if request.method == "GET" else visits.HOME, safe="")
    return RedirectResponse(f"{LOGIN}?next={target}", status_code=303)


def _refused(
    request: Request, session: Session | None, error: GatewayError | ForeignFormError
) -> Response:
    visit = session and Visit(request=request, services=request.app.state.services, session=session)
    response = page("error.html", status_of(error), visit=visit, error=error)
    if isinstance(error, RateLimitedError):
        response.headers["Retry-After"] = str(math.ceil(error.retry_after))
    if isinstance(error, UnauthenticatedError):
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def status_of(error: GatewayError | ForeignFormError) -> int:
    """Return the status of an error's page."""
    if isinstance(error, ForeignFormError):
        return STATUS[InsufficientRoleError]
    return BAD_INPUT if isinstance(error, InvalidRequestError) else STATUS[type(error)]
