"""`/docs` and `/openapi.json`: the API to read and to try, with no other host involved."""

import base64
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.security import HTTPAuthorizationCredentials
from starlette.responses import FileResponse

from app.api.answers import ExactJSON
from app.api.browsers import DOCS_POLICY
from app.api.deps import ServicesDep, needs, operator
from app.api.errors import refusal
from app.domain.access import Role
from app.domain.errors import NotFoundError, UnauthenticatedError

PAGES = Path(__file__).parent / "pages"
_CACHED = {"Cache-Control": "private, max-age=86400"}


def _viewer() -> Path:
    """Find Swagger UI's files. Only they are used of the package, not its code."""
    found = find_spec("fastapi_swagger")
    if found is None or not found.submodule_search_locations:
        message = "the package fastapi-swagger is not installed: /docs has no viewer"
        raise ModuleNotFoundError(message)
    return Path(found.submodule_search_locations[0]) / "resources"


ASSETS: Mapping[str, tuple[Path, str]] = {
    "start.js": (PAGES / "start.js", "text/javascript"),
    "swagger-ui-bundle.js": (_viewer() / "swagger-ui-bundle.js", "text/javascript"),
    "swagger-ui.css": (_viewer() / "swagger-ui.css", "text/css"),
    "favicon.png": (_viewer() / "favicon-32x32.png", "image/png"),
}
"""What the page loads, by the last part of its path: the file, and its type."""

Answer = Callable[[Request], Awaitable[Response]]
CHALLENGE = 'Basic realm="kie-gateway", charset="UTF-8"'
"""What makes a browser ask for the key: any user name, the key as the password."""


async def _page(_: Request) -> Response:
    headers = {"Content-Security-Policy": DOCS_POLICY}
    return FileResponse(PAGES / "docs.html", media_type="text/html", headers=headers)


async def _document(request: Request) -> Response:
    return ExactJSON(request.app.openapi())


async def _asset(name: str) -> Response:
    if name not in ASSETS:
        detail = "There is nothing at this path; /docs lists what there is."
        raise NotFoundError(detail)
    path, media_type = ASSETS[name]
    return FileResponse(path, media_type=media_type, headers=_CACHED)


def _for_operators(answer: Answer) -> Callable[..., Awaitable[Response]]:
    """Ask for the admin key first, as a Bearer key or as a Basic password."""

    async def guarded(request: Request, services: ServicesDep) -> Response:
        try:
            await operator(request, services, _credentials(request))
        except UnauthenticatedError as error:
            response = refusal(request.scope, error)
            response.headers["WWW-Authenticate"] = CHALLENGE
            return response
        return await answer(request)

    return needs(Role.READ)(guarded)


def _credentials(request: Request) -> HTTPAuthorizationCredentials | None:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        with contextlib.suppress(ValueError):  # also what is no base64, and no UTF-8
            value = base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
    return HTTPAuthorizationCredentials(scheme="Bearer", credentials=value) if value else None


def _router(page: Callable[..., Any], document: Callable[..., Any]) -> APIRouter:
    router = APIRouter(include_in_schema=False)
    router.get("/docs")(page)
    router.get("/openapi.json")(document)
    router.get("/docs/{name}")(_asset)  # public code: no key opens anything with it
    return router


ROUTERS: Mapping[str, tuple[APIRouter, ...]] = {
    "on": (_router(_page, _document),),
    "admin": (_router(_for_operators(_page), _for_operators(_document)),),
    "off": (),
}
"""By the values of GATEWAY_DOCS."""
