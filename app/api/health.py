"""`/livez` and `/readyz`: for whoever decides to restart us or to send us work."""

from fastapi import APIRouter, Response

from app.api.answers import ExactJSON
from app.api.deps import TheEdge
from app.api.schemas import Liveness, Readiness

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
async def readyz(edge: TheEdge) -> Response:
    """Tell whether the database, its schema and this process's loops are fit for work."""
    found = {check.name: check.trouble or "ok" for check in await edge.health.checks()}
    ready = all(state == "ok" for state in found.values())
    content = {"status": "ok" if ready else "unavailable", "checks": found}
    return ExactJSON(content, status_code=200 if ready else 503)
