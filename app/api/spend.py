"""What was spent, and what may be spent: a client's own, and of all clients for operators."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from app.api.admin import BODY, ClientName
from app.api.answers import ExactJSON
from app.api.bodies import operator_body
from app.api.cursors import group_cursor, read_group_cursor
from app.api.deps import ClientDep, OperatorDep, ServicesDep, needs
from app.api.openapi import body_of, refusals
from app.api.parameters import only_known_admin_parameters, only_known_parameters
from app.api.schemas.spend import (
    Budget,
    BudgetList,
    BudgetPut,
    ClientBudgetList,
    UsageList,
)
from app.domain.access import Role, Scope
from app.domain.days import read_day
from app.domain.spend import Period, checked_budget
from app.domain.usage import MAX_GROUPS, USUAL_GROUPS, Group, Wanted, wanted
from app.services.spend.usage import ALL_GROUPS, OWN_GROUPS, UsagePage, table

router = APIRouter(prefix="/v1", tags=["spend"], dependencies=[Depends(only_known_parameters)])
admin = APIRouter(
    prefix="/v1/admin", tags=["admin"], dependencies=[Depends(only_known_admin_parameters)]
)

CSV = "text/csv"
_CSV_CONTENT = {CSV: {"schema": {"type": "string"}}}
_USAGE: dict[int | str, dict[str, Any]] = {200: {"content": _CSV_CONTENT}}

Day = Annotated[
    str | None,
    Query(
        description="A day in UTC, as 2026-08-01; an instant counts as its day.",
        json_schema_extra={"format": "date"},
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The parameters of a look at usage."""

    first: date | None
    last: date | None
    by: Sequence[str]
    limit: int
    cursor: str | None

    def wanted(self, allowed: Collection[Group], today: date) -> Wanted:
        """Return what is asked for; raises `InvalidRequestError`."""
        found = wanted(
            today,
            first=self.first,
            last=self.last,
            by=self.by,
            allowed=allowed,
            limit=self.limit,
        )
        return replace(found, after=read_group_cursor(self.cursor, len(found.by)))


async def asked(
    first: Annotated[Day, Query(alias="from")] = None,
    last: Annotated[Day, Query(alias="to")] = None,
    group_by: Annotated[
        str,
        Query(
            max_length=300,
            description="Names with commas between: `day`, `model`, and one of `fail_class` and "
            "`metadata.KEY`; operators also `client`. Empty: only the total.",
        ),
    ] = "day",
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_GROUPS)] = USUAL_GROUPS,
) -> Asked:
    """Take the parameters; raises `InvalidRequestError`."""
    return Asked(
        first=read_day("from", first),
        last=read_day("to", last),
        by=[name for name in group_by.split(",") if name],
        limit=limit,
        cursor=cursor,
    )


AskedDep = Annotated[Asked, Depends(asked)]


@router.get(
    "/usage",
    operation_id="getUsage",
    response_model=UsageList,
    responses={**refusals(401, 403, 422, 429, 503), **_USAGE},
)
@needs(Scope.USAGE)
async def read_usage(
    request: Request, services: ServicesDep, client: ClientDep, about: AskedDep
) -> Response:
    """Return what your tasks have cost: by day, model, kind of failure or a metadata key.

    A task counts on the day on which it came to its final state; what becomes known later counts
    on that later day, as the difference. As CSV where `Accept` prefers `text/csv`.
    """
    page = await services.usage.of_client(client, about.wanted(OWN_GROUPS, services.usage.today()))
    return _answer(request, page)


@router.get(
    "/budget",
    operation_id="getBudget",
    response_model=BudgetList,
    responses=refusals(401, 403, 422, 429, 503),
)
@needs(Scope.USAGE)
async def read_budget(services: ServicesDep, client: ClientDep) -> Response:
    """Return your budgets, what is spent and reserved of each, and when it renews."""
    return ExactJSON({"data": await services.budgets.own(client), "next_cursor": None})


# -- for operators


@admin.get(
    "/usage",
    operation_id="getAllUsage",
    response_model=UsageList,
    responses={**refusals(401, 403, 404, 422, 429, 503), **_USAGE},
)
@needs(Role.READ)
async def read_all_usage(
    request: Request,
    services: ServicesDep,
    _: OperatorDep,
    about: AskedDep,
    client: Annotated[str | None, Query(description="Only of this client, by its name.")] = None,
) -> Response:
    """Return what the tasks of all clients, or of one, have cost; as `GET /v1/usage` does."""
    page = await services.usage.of_all(about.wanted(ALL_GROUPS, services.usage.today()), client)
    return _answer(request, page)


@admin.get(
    "/budgets",
    operation_id="listBudgets",
    response_model=ClientBudgetList,
    responses=refusals(401, 403, 422, 429, 503),
)
@needs(Role.READ)
async def list_budgets(services: ServicesDep, _: OperatorDep) -> Response:
    """List the budgets of all clients, and how they stand."""
    return ExactJSON({"data": await services.budgets.all(), "next_cursor": None})


@admin.get(
    "/clients/{name}/budgets",
    operation_id="listClientBudgets",
    response_model=BudgetList,
    responses=refusals(401, 403, 404, 422, 429, 503),
)
@needs(Role.READ)
async def list_client_budgets(services: ServicesDep, _: OperatorDep, name: ClientName) -> Response:
    """List one client's budgets, and how they stand."""
    return ExactJSON({"data": await services.budgets.of_client(name), "next_cursor": None})


@admin.get(
    "/clients/{name}/budgets/{period}",
    operation_id="getClientBudget",
    response_model=Budget,
    responses=refusals(401, 403, 404, 422, 429, 503),
)
@needs(Role.READ)
async def read_client_budget(
    services: ServicesDep, _: OperatorDep, name: ClientName, period: Period
) -> Response:
    """Return one of a client's budgets, and how it stands."""
    return ExactJSON(await services.budgets.one(name, period))


@admin.put(
    "/clients/{name}/budgets/{period}",
    operation_id="setClientBudget",
    response_model=Budget,
    responses=refusals(*BODY, 404),
    openapi_extra=body_of(BudgetPut),
)
@needs(Role.KEYS)
async def set_client_budget(
    services: ServicesDep,
    operator: OperatorDep,
    name: ClientName,
    period: Period,
    body: Annotated[BudgetPut, Depends(operator_body(BudgetPut))],
) -> Response:
    """Set what a client may spend in a day, a month or in all.

    It counts for every create that begins after the answer. What was spent in the period already,
    and what is under way, counts too.
    """
    budget = checked_budget(period, body.credits, body.mode, body.thresholds)
    await services.budgets.set(operator, name, budget)
    return ExactJSON(await services.budgets.one(name, period))


@admin.delete(
    "/clients/{name}/budgets/{period}",
    operation_id="clearClientBudget",
    status_code=204,
    response_model=None,
    responses=refusals(401, 403, 404, 422, 429, 503),
)
@needs(Role.KEYS)
async def clear_client_budget(
    services: ServicesDep, operator: OperatorDep, name: ClientName, period: Period
) -> Response:
    """Take a client's budget away: this period bounds it no longer."""
    await services.budgets.clear(operator, name, period)
    return Response(status_code=204)


# -- writing answers


def _answer(request: Request, page: UsagePage) -> Response:
    cursor = group_cursor(page.last)
    if _prefers_csv(request.headers.get("accept", "")):
        headers = {} if cursor is None else {"X-Next-Cursor": cursor}
        return Response(table(page), media_type=CSV, headers=headers)
    return ExactJSON({**page.shown, "next_cursor": cursor})


def _prefers_csv(accept: str) -> bool:
    """Tell whether CSV is preferred to JSON, or named first; nobody's browser names it."""
    weights: dict[str, float] = {}
    for kind in accept.lower().split(","):
        name, *parameters = (part.strip() for part in kind.split(";"))
        if name in (CSV, "application/json"):
            weights.setdefault(name, _weight(parameters))
    best = max(weights, key=lambda name: weights[name], default=None)
    return best == CSV and weights[CSV] > 0


def _weight(parameters: Sequence[str]) -> float:
    """Return how much a kind is wanted, 0 to 1 (RFC 9110 section 12.4.2)."""
    found = (re.fullmatch(r"q=([01](?:\.\d{0,3})?)", one) for one in parameters)
    return next((float(one[1]) for one in found if one), 1.0)
