"""`/v1/admin/tasks/cancel`, `requeue` and `fail`: operators' acts on many tasks at once."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from app.api.admin import BODY
from app.api.answers import ExactJSON
from app.api.bodies import operator_body
from app.api.deps import OperatorDep, ServicesDep, needs
from app.api.openapi import body_of, refusals
from app.api.parameters import only_known_admin_parameters
from app.api.schemas.bulk import BulkAnswer, TasksCancel, TasksFail, TasksRequeue
from app.domain.access import Role
from app.domain.audit import Operator
from app.domain.bulk import Act, Order
from app.domain.errors import PaidTwiceRiskError
from app.services.tasks.bulk import AT_ONCE, Bulk, Run

router = APIRouter(
    prefix="/v1/admin/tasks", tags=["admin"], dependencies=[Depends(only_known_admin_parameters)]
)


@router.post(
    "/cancel",
    operation_id="cancelTasks",
    response_model=BulkAnswer,
    responses=refusals(*BODY, 404),
    openapi_extra=body_of(TasksCancel),
)
@needs(Role.OPERATE)
async def cancel_tasks(
    services: ServicesDep,
    operator: OperatorDep,
    body: Annotated[TasksCancel, Depends(operator_body(TasksCancel))],
) -> Response:
    """Take queued tasks out of the queue; their callers are notified. At most 500 in one call."""
    order = Order(act=Act.CANCEL, selection=body.selection)
    return await _answer(services.bulk, operator, order, dry_run=body.dry_run)


@router.post(
    "/requeue",
    operation_id="requeueTasks",
    response_model=BulkAnswer,
    responses=refusals(*BODY, 404, 409, as_in={409: PaidTwiceRiskError}),
    openapi_extra=body_of(TasksRequeue),
)
@needs(Role.OPERATE)
async def requeue_tasks(
    services: ServicesDep,
    operator: OperatorDep,
    body: Annotated[TasksRequeue, Depends(operator_body(TasksRequeue))],
) -> Response:
    """Put unconfirmed tasks back into the queue, to be sent and perhaps paid once more.

    At most 500 in one call. Those that have an id at kie.ai are never meant.
    """
    order = Order(act=Act.REQUEUE, selection=body.selection, may_pay_again=body.may_pay_again)
    return await _answer(services.bulk, operator, order, dry_run=body.dry_run)


@router.post(
    "/fail",
    operation_id="failTasks",
    response_model=BulkAnswer,
    responses=refusals(*BODY, 404),
    openapi_extra=body_of(TasksFail),
)
@needs(Role.OPERATE)
async def fail_tasks(
    services: ServicesDep,
    operator: OperatorDep,
    body: Annotated[TasksFail, Depends(operator_body(TasksFail))],
) -> Response:
    """End queued or unconfirmed tasks as `failed`, by `failed_by_operator`, with a reason.

    At most 500 in one call; their callers are notified. What kie.ai says of one afterwards still
    settles it.
    """
    order = Order(act=Act.FAIL, selection=body.selection, reason=body.reason)
    return await _answer(services.bulk, operator, order, dry_run=body.dry_run)


async def _answer(bulk: Bulk, operator: Operator, order: Order, *, dry_run: bool) -> Response:
    seen = await bulk.preview(order)
    nothing = Run(done=0, remaining=seen.total)
    run = nothing if dry_run else await bulk.run(operator, order, limit=AT_ONCE)
    return ExactJSON(
        {
            "dry_run": dry_run,
            "meant": seen.total,
            "done": run.done,
            "remaining": run.remaining,
            "groups": seen.groups,
            "first_ids": seen.first_ids,
        }
    )
