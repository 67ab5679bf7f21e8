"""`/livez`, `/readyz`, `/metrics`: for what restarts this process, sends it work or watches it."""

from collections.abc import Mapping, Sequence

from fastapi import APIRouter, Response

from app.api.answers import ExactJSON
from app.api.deps import ServicesDep
from app.api.schemas.health import Liveness, Readiness
from app.metrics import CONTENT_TYPE
from app.services.health import Check

live = APIRouter(tags=["health"])
inside = APIRouter(tags=["health"])
"""For our own platform."""
numbers = APIRouter(tags=["health"])
"""The same; may have a port of its own."""
outside = APIRouter(tags=["health"])
"""For the public: fit or not, and no more."""


@live.get("/livez", operation_id="getLiveness", response_model=Liveness)
async def livez() -> Response:
    """Show that the process answers, whatever else is wrong."""
    return ExactJSON({"status": "ok", "service": "kie-gateway"})


@inside.get(
    "/readyz",
    operation_id="getReadiness",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Not fit for work; says why."}},
)
async def readyz(services: ServicesDep) -> Response:
    """Return whether the database, its schema and this process's loops are fit for work."""
    checks = await services.health.checks()
    found = {check.name: check.trouble or "ok" for check in checks}
    return _fitness(checks, {"checks": found})


@outside.get("/readyz", operation_id="getReadiness")
async def bare_readyz(services: ServicesDep) -> Response:
    """Return whether this process is fit for work, and not why."""
    return _fitness(await services.health.checks(), {})


def _fitness(checks: Sequence[Check], detail: Mapping[str, object]) -> Response:
    fit = all(check.trouble is None for check in checks if check.fatal)
    content = {"status": "ok" if fit else "unavailable", **detail}
    return ExactJSON(content, status_code=200 if fit else 503)


@numbers.get("/metrics", include_in_schema=False)
async def metrics(services: ServicesDep) -> Response:
    """Return this process's numbers in Prometheus's text format; see docs/metrics.md."""
    return Response(await services.metrics_page.page(), media_type=CONTENT_TYPE)
