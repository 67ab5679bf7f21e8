"""All pages of the console, as one application."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from app.console import (
    audit,
    clients,
    deliveries,
    evidence,
    figures,
    live,
    needs,
    now,
    signing_in,
    tasks,
)
from app.console.assets import ASSETS, STATIC
from app.domain.errors import NotFoundError

_MODULES = (
    *(live, now, tasks, evidence, needs, deliveries),
    *(figures, clients, audit, signing_in),
)
_YEAR = {"Cache-Control": "private, max-age=31536000, immutable"}


def site() -> Router:
    """Build the pages."""
    routes = [route for module in _MODULES for route in module.pages.routes]
    return Router(
        [Route(STATIC + "{name}", _asset), *routes, *signing_in.anywhere.routes],
        redirect_slashes=False,
    )


async def _asset(request: Request) -> Response:
    """Return a file that pages load: no secret, so nobody needs to sign in for it."""
    asset = ASSETS.get(request.path_params["name"])
    if asset is None:
        detail = "There is no such file."
        raise NotFoundError(detail)
    return Response(asset.content, media_type=asset.media_type, headers=_YEAR)
