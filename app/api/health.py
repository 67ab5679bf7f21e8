"""`/livez`, `/readyz`, `/metrics`: for whoever restarts us, sends us work, or watches us."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from app.api.answers import ExactJSON
from app.api.schemas.tasks import Liveness, Readiness
from app.metrics import CONTENT_TYPE, Metrics
from app.services.health import Check, Health
from app.services.metrics import MetricsPage


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """What stands behind these paths, and counts the requests of all others."""

    health: Health
    metrics_page: MetricsPage
    metrics: Metrics


def probes(request: Request) -> Probes:
    found: Probes = request.app.state.probes
    return found


TheProbes = Annotated[Probes, Depends(probes)]

live = APIRouter(tags=["health"])
inside = APIRouter(tags=["health"])
"""For our own platform."""
outside = APIRouter(tags=["health"])
"""For whoever may come: tells fit or not, and no more."""


@live.get("/livez", response_model=Liveness)
async def livez() -> Response:
    """Tell that the process answers, whatever else is wrong."""
    return ExactJSON({"status": "ok", "service": "kie-gateway"})


@inside.get(
    "/readyz",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Not fit for work; says why."}},
)
async def readyz(probes: TheProbes) -> Response:
    """Tell whether the database, its schema and this process's loops are fit for work."""
    checks = await probes.health.checks()
    found = {check.name: check.trouble or "ok" for check in checks}
    return _fitness(checks, {"checks": found})


@outside.get("/readyz")
async def bare_readyz(probes: TheProbes) -> Response:
    """Tell whether this process is fit for work, and not why."""
    return _fitness(await probes.health.checks(), {})


def _fitness(checks: Sequence[Check], detail: Mapping[str, object]) -> Response:
    fit = all(check.trouble is None for check in checks if check.fatal)
    content = {"status": "ok" if fit else "unavailable", **detail}
    return ExactJSON(content, status_code=200 if fit else 503)


@inside.get("/metrics", include_in_schema=False)
async def metrics(probes: TheProbes) -> Response:
    """Tell this process's numbers in Prometheus's text format; see docs/metrics.md."""
    return Response(await probes.metrics_page.page(), media_type=CONTENT_TYPE)
