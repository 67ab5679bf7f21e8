"""What is known of models, and of the account's balance against the books."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from app.api.answers import ExactJSON
from app.api.deps import ClientDep, OperatorDep, ServicesDep, needs
from app.api.openapi import refusals
from app.api.parameters import only_known_admin_parameters, only_known_parameters
from app.api.schemas.models import ModelList, ReconciliationList
from app.api.spend import Day
from app.domain.access import Role, Scope
from app.domain.days import read_day

router = APIRouter(prefix="/v1", tags=["spend"], dependencies=[Depends(only_known_parameters)])
admin = APIRouter(
    prefix="/v1/admin", tags=["admin"], dependencies=[Depends(only_known_admin_parameters)]
)


@router.get(
    "/models",
    operation_id="listModels",
    response_model=ModelList,
    responses=refusals(401, 403, 422, 429, 503),
)
@needs(Scope.USAGE)
async def list_models(services: ServicesDep, client: ClientDep) -> Response:
    """List the models that you used in the last 7 days, and what your tasks say of them.

    How many succeed, what they cost, how long they take. At most 200, the most used first.
    """
    return ExactJSON({"data": await services.models.of_client(client), "next_cursor": None})


@admin.get(
    "/models",
    operation_id="listAllModels",
    response_model=ModelList,
    responses=refusals(401, 403, 422, 429, 503),
)
@needs(Role.READ)
async def list_all_models(services: ServicesDep, _: OperatorDep) -> Response:
    """List the models of all clients, and what their tasks say of them; as `GET /v1/models`."""
    return ExactJSON({"data": await services.models.of_all(), "next_cursor": None})


@admin.get(
    "/reconciliation",
    operation_id="getReconciliation",
    response_model=ReconciliationList,
    responses=refusals(401, 403, 422, 429, 503),
)
@needs(Role.READ)
async def read_reconciliation(
    services: ServicesDep,
    _: OperatorDep,
    first: Annotated[Day, Query(alias="from")] = None,
    last: Annotated[Day, Query(alias="to")] = None,
) -> Response:
    """Compare the account's balance with what tasks cost, by day: what is lost unexplained.

    Without days the last 30; at most 100.
    """
    found = services.reconciliation.by_day(read_day("from", first), read_day("to", last))
    return ExactJSON({**await found, "next_cursor": None})
