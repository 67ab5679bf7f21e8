"""`/livez`, `/readyz`, `/metrics`: for whoever restarts us, sends us work, or watches us."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from app.api.answers import ExactJSON
from app.api.schemas import Liveness, Readiness
from app.metrics import CONTENT_TYPE, Metrics
from app.services.expose import Exposition
from app.services.health import Health


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """What stands behind these paths, and counts the requests of all others."""

    health: Health
    exposition: Exposition
    metrics: Metrics


def probes(request: Request) -> Probes:
    found: Probes = request.app.state.probes
    return found


TheProbes = Annotated[Probes, Depends(probes)]

router = APIRouter(tags=["health"])


@router.get("/livez", response_model=Liveness)
async def livez() -> Response:
    """Tell that the process answers, whatever else is wrong."""
    return ExactJSON({"status": "ok", "service": "kie-gateway"})


@router.get(
    "/readyz",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Not fit for work; says why."}},
)
async def readyz(probes: TheProbes) -> Response:
    """Tell whether the database, its schema and this process's loops are fit for work."""
    found = {check.name: check.trouble or "ok" for check in await probes.health.checks()}
    ready = all(state == "ok" for state in found.values())
    content = {"status": "ok" if ready else "unavailable", "checks": found}
    return ExactJSON(content, status_code=200 if ready else 503)


@router.get("/metrics", include_in_schema=False)
async def metrics(probes: TheProbes) -> Response:
    """Tell this process's numbers in Prometheus's text format; see docs/metrics.md."""
    return Response(await probes.exposition.page(), media_type=CONTENT_TYPE)
