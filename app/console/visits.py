"""One request to the console: who makes it, what was filled in, and how it is answered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.console.render import page
from app.domain.access import Role
from app.domain.audit import Operator
from app.domain.days import YEARS
from app.domain.errors import (
    BodyTooLargeError,
    MalformedBodyError,
    NotFoundError,
    UnauthenticatedError,
    bad_parameter,
)
from app.services.clients.authentication import Sent
from app.services.clients.sessions import LASTS, Session
from app.services.services import Services

COOKIE = "kie_console"
HOME = "/console"
MOST = 64 * 1024
"""Bytes of a form."""
FIELDS = 100
"""Fields of a form or a query."""

_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request by somebody whose session is known."""

    request: Request
    services: Services
    session: Session
    given: Mapping[str, str] = field(default_factory=dict)
    """What was filled in: the form of a POST, else the query. What was left empty is not there."""
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The same with all values of each name."""

    @property
    def operator(self) -> Operator:
        """Return who it is; raises `UnauthenticatedError` where nobody has signed in."""
        if self.session.operator is None:
            detail = "Sign in first."
            raise UnauthenticatedError(detail)
        return self.session.operator

    def may(self, role: str) -> bool:
        """Tell whether the operator's key is for this: a template shows no button that is not."""
        return self.session.may(Role(role))

    def require(self, name: str) -> str:
        """Return what was filled in; raises `InvalidRequestError` where it was left empty."""
        if name not in self.given:
            raise bad_parameter(name, "should be filled in")
        return self.given[name]

    def number(self, name: str) -> int | None:
        """Return a whole number; raises `InvalidRequestError`."""
        text = self.given.get(name)
        if text is None:
            return None
        try:
            return int(text[:20])
        except ValueError:
            raise bad_parameter(name, "should be a whole number") from None

    def instant(self, name: str) -> datetime | None:
        """Return an instant, in UTC where no zone is given; raises `InvalidRequestError`."""
        text = self.given.get(name)
        if text is None:
            return None
        try:
            found = datetime.fromisoformat(text.upper())
        except ValueError:
            raise bad_parameter(name, "should be a time, such as 2026-08-01T12:00") from None
        if found.year not in YEARS:
            raise bad_parameter(name, "should be a year that we know")
        return found if found.tzinfo else found.replace(tzinfo=UTC)

    def id(self, name: str) -> UUID:
        """Return an id from the path; raises `NotFoundError` for what is none."""
        try:
            return UUID(self.request.path_params[name])
        except ValueError:
            detail = "There is nothing with this id."
            raise NotFoundError(detail) from None

    def render(self, template: str, *, status: int = 200, **content: Any) -> Response:  # noqa: ANN401  # a template's
        """Write a page."""
        return page(template, status, visit=self, **content)

    def done(self, path: str, word: str) -> Response:
        """Answer an act: by the page that shows what it led to, and the note of this name."""
        mark = "&" if "?" in path else "?"
        return RedirectResponse(f"{path}{mark}done={word}", status_code=303)

    @property
    def back(self) -> str:
        """Where the form says that it came from; only paths of the console count."""
        return local(self.given.get("back"))


def local(path: str | None) -> str:
    """Return a path of the console; of any other text, the first page's."""
    if path is None or not path.isprintable() or "\\" in path or "//" in path:
        return HOME
    inside = path == HOME or path.startswith((f"{HOME}/", f"{HOME}?"))
    return path if inside else HOME


def sent_by(request: Request, key: str = "") -> Sent:
    """Return where a request comes from, with a key that was typed in."""
    return Sent(
        key=key,
        address=request.client.host if request.client else None,
        request_id=request.scope["state"]["request_id"],
    )


def keep(response: Response, request: Request, session: Session) -> Response:
    """Have the browser keep a session: no script reads it, no other site sends it."""
    response.set_cookie(
        COOKIE,
        session.token,
        max_age=LASTS,
        path=HOME,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response


async def filled_in(request: Request) -> list[tuple[str, str]]:
    """Read the form of a POST, else the query.

    Raises `MalformedBodyError`, `BodyTooLargeError`, and `InvalidRequestError` for a NUL.
    """
    if request.method == "POST":
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
            detail = "A form of this console is expected."
            raise MalformedBodyError(detail)
        text = await _body(request)
    else:
        text = request.scope["query_string"]
    try:
        pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS)
    except ValueError:
        detail = "This is no form of this console."
        raise MalformedBodyError(detail) from None
    for name, value in pairs:
        if "\0" in name + value:
            where = "form"
            raise bad_parameter(where, "has a NUL, which nothing here can have")
    return [(name, value.strip()) for name, value in pairs if value.strip()]


async def _body(request: Request) -> bytes:
    text = b""
    async for piece in request.stream():
        text += piece
        if len(text) > MOST:
            detail = f"A form has at most {MOST} bytes."
            raise BodyTooLargeError(detail)
    return text
