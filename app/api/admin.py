"""`/v1/admin`: for operators, behind a key of its own. Without that setting it is not there."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Response

from app.api.answers import ExactJSON
from app.api.bodies import operator_body
from app.api.deps import OperatorDep, ServicesDep, needs
from app.api.openapi import body_of, refusals
from app.api.parameters import only_known_admin_parameters
from app.api.schemas.admin import (
    AdminDelivery,
    AdminKeyList,
    AdminTask,
    AdminTaskList,
    AdmissionPause,
    AdmissionResume,
    AdmissionState,
    AuditList,
    Balance,
    IssuedKey,
    KeyCreate,
    MoveExpected,
    RotatedSecret,
    SecretRotate,
    TaskBind,
    TaskRequeue,
)
from app.api.schemas.clients import AdminClient, AdminClientList, ClientPatch
from app.domain.access import Role
from app.domain.errors import (
    ClientErasedError,
    InvalidRequestError,
    KieNotAnsweringError,
    NotFoundError,
)
from app.domain.report import NoAnswer
from app.services.account.pauses import Pauses
from app.services.clients.settings import ClientChange

router = APIRouter(
    prefix="/v1/admin", tags=["admin"], dependencies=[Depends(only_known_admin_parameters)]
)

BODY = (400, 401, 403, 413, 422, 429, 503)
"""How a request with a body may be refused."""

ClientName = Annotated[str, Path(description="The client, by its name.")]


# -- pauses


@router.get(
    "/admission",
    operation_id="getAdmission",
    response_model=AdmissionState,
    responses=refusals(401, 403, 422, 429, 503),
)
@needs(Role.READ)
async def read_admission(services: ServicesDep, _: OperatorDep) -> Response:
    """Return what is paused and held, what is free of the account's limits, and who waits."""
    return ExactJSON(await _admission(services.pauses))


@router.post(
    "/admission/pause",
    operation_id="pauseAdmission",
    response_model=AdmissionState,
    responses=refusals(*BODY, 404),
    openapi_extra=body_of(AdmissionPause),
)
@needs(Role.OPERATE)
async def pause_admission(
    services: ServicesDep,
    operator: OperatorDep,
    body: Annotated[AdmissionPause, Depends(operator_body(AdmissionPause))],
) -> Response:
    """Send nothing more to kie.ai, or nothing of one client's; what is under way goes on."""
    await services.pauses.pause(operator, client=body.client, note=body.note)
    return ExactJSON(await _admission(services.pauses))


@router.post(
    "/admission/resume",
    operation_id="resumeAdmission",
    response_model=AdmissionState,
    responses=refusals(*BODY, 404),
    openapi_extra=body_of(AdmissionResume),
)
@needs(Role.OPERATE)
async def resume_admission(
    services: ServicesDep,
    operator: OperatorDep,
    body: Annotated[AdmissionResume, Depends(operator_body(AdmissionResume))],
) -> Response:
    """Take a pause back: the one of everything, or one client's; or end a restored one's hold."""
    if body.restored:
        if body.client is not None:
            detail = "`restored` is about everything: leave `client` out."
            raise InvalidRequestError(detail)
        await services.restores.resume(operator)
    else:
        await services.pauses.resume(operator, client=body.client)
    return ExactJSON(await _admission(services.pauses))


@router.post(
    "/admission/expect-move",
    operation_id="expectMove",
    response_model=AdmissionState,
    responses=refusals(*BODY),
    openapi_extra=body_of(MoveExpected),
)
@needs(Role.OPERATE)
async def expect_move(
    services: ServicesDep,
    operator: OperatorDep,
    body: Annotated[MoveExpected, Depends(operator_body(MoveExpected))],
) -> Response:
    """Send nothing from this database, and accept it once where it turns up next."""
    if body.hours is None:
        await services.restores.expect_no_move(operator)
    else:
        await services.restores.expect_move(operator, within=body.hours * 3600)
    return ExactJSON(await _admission(services.pauses))


async def _admission(pauses: Pauses) -> dict[str, Any]:
    return (await pauses.status()).shown


# -- stuck work


@router.get(
    "/review",
    operation_id="listTasksToReview",
    response_model=AdminTaskList,
    responses=refusals(401, 403, 422, 429, 503),
)
@needs(Role.READ)
async def list_to_review(services: ServicesDep, _: OperatorDep) -> Response:
    """List what a restored database would send again, and may have sent before, oldest first."""
    return _all(await services.stuck.review())


@router.get(
    "/stuck",
    operation_id="listStuckTasks",
    response_model=AdminTaskList,
    responses=refusals(401, 403, 422, 429, 503),
)
@needs(Role.READ)
async def list_stuck(services: ServicesDep, _: OperatorDep) -> Response:
    """List the tasks that need a person, or will if nobody works, the oldest first."""
    return _all(await services.stuck.list())


@router.get(
    "/audit",
    operation_id="listAuditEntries",
    response_model=AuditList,
    responses=refusals(401, 403, 422, 429, 503),
)
@needs(Role.READ)
async def list_audit(services: ServicesDep, _: OperatorDep) -> Response:
    """List what operators did and what the gateway found for them, newest first."""
    return _all(await services.clients.audit())


@router.post(
    "/tasks/{task_id}/bind",
    operation_id="bindTask",
    response_model=AdminTask,
    responses=refusals(*BODY, 404, 409, 502),
    openapi_extra=body_of(TaskBind),
)
@needs(Role.OPERATE)
async def bind_task(
    services: ServicesDep,
    operator: OperatorDep,
    task_id: UUID,
    body: Annotated[TaskBind, Depends(operator_body(TaskBind))],
) -> Response:
    """Give an unconfirmed or expired task its id at kie.ai, and have kie.ai asked about it."""
    await services.stuck.bind(operator, task_id, body.kie_task_id)
    return ExactJSON(await services.stuck.one(task_id))


@router.post(
    "/tasks/{task_id}/requeue",
    operation_id="requeueTask",
    response_model=AdminTask,
    responses=refusals(*BODY, 404, 409),
    openapi_extra=body_of(TaskRequeue),
)
@needs(Role.OPERATE)
async def requeue_task(
    services: ServicesDep,
    operator: OperatorDep,
    task_id: UUID,
    body: Annotated[TaskRequeue, Depends(operator_body(TaskRequeue))],
) -> Response:
    """Put an unconfirmed task back into the queue, to be sent and perhaps paid once more."""
    await services.stuck.requeue(operator, task_id, may_pay_again=body.may_pay_again)
    return ExactJSON(await services.stuck.one(task_id))


@router.post(
    "/tasks/{task_id}/release",
    operation_id="releaseTask",
    response_model=AdminTask,
    responses=refusals(401, 403, 404, 409, 422, 429, 503),
)
@needs(Role.OPERATE)
async def release_task(services: ServicesDep, operator: OperatorDep, task_id: UUID) -> Response:
    """Ask again about a task that was set aside after defects of the gateway's own."""
    await services.stuck.release(operator, task_id)
    return ExactJSON(await services.stuck.one(task_id))


@router.delete(
    "/tasks/{task_id}",
    operation_id="eraseAnyTask",
    status_code=204,
    response_class=Response,
    responses=refusals(401, 403, 404, 409, 422, 429, 503),
)
@needs(Role.OPERATE)
async def erase_any_task(services: ServicesDep, operator: OperatorDep, task_id: UUID) -> Response:
    """Erase a task of whichever client, as `DELETE /v1/tasks/{id}` does for its own."""
    await services.erasure.of_any_client(operator, task_id)
    return Response(status_code=204)


@router.get(
    "/deliveries/{delivery_id}",
    operation_id="getAnyDelivery",
    response_model=AdminDelivery,
    responses=refusals(401, 403, 404, 422, 429, 503),
)
@needs(Role.READ)
async def read_any_delivery(services: ServicesDep, _: OperatorDep, delivery_id: UUID) -> Response:
    """Return a delivery of whichever client, with all that is kept of its receiver's answers."""
    return ExactJSON(await services.deliveries.of_any_client(delivery_id))


# -- clients and keys


@router.get(
    "/clients",
    operation_id="listClients",
    response_model=AdminClientList,
    responses=refusals(401, 403, 422, 429, 503),
)
@needs(Role.READ)
async def list_clients(services: ServicesDep, _: OperatorDep) -> Response:
    """List all clients with their weight, their queue and whether they are paused."""
    return _all(await services.clients.list())


@router.patch(
    "/clients/{name}",
    operation_id="updateClient",
    response_model=AdminClient,
    responses=refusals(*BODY, 404, 410, as_in={410: ClientErasedError}),
    openapi_extra=body_of(ClientPatch),
)
@needs(Role.KEYS)
async def change_client(
    services: ServicesDep,
    operator: OperatorDep,
    name: ClientName,
    body: Annotated[ClientPatch, Depends(operator_body(ClientPatch))],
) -> Response:
    """Change a client's share of what the account may create, and how it is notified.

    Counts for what happens from then on: what is in the outbox goes where it was to go.
    """
    given = {member: getattr(body, member) for member in body.model_fields_set}
    change = ClientChange(given=frozenset(given), **given)
    await services.clients.change(operator, name, change)
    return ExactJSON(await services.clients.one(name))


@router.post(
    "/clients/{name}/rotate-secret",
    operation_id="rotateClientSecret",
    response_model=RotatedSecret,
    responses=refusals(*BODY, 404, 410, as_in={410: ClientErasedError}),
    openapi_extra=body_of(SecretRotate),
)
@needs(Role.KEYS)
async def rotate_secret(
    services: ServicesDep,
    operator: OperatorDep,
    name: ClientName,
    body: Annotated[SecretRotate, Depends(operator_body(SecretRotate))],
) -> Response:
    """Give a client a new signing secret, shown this once; the one before signs too for a while."""
    rotated = await services.keys.rotate_secret(name, grace=body.grace, operator=operator)
    shown = {name: getattr(rotated, name) for name in rotated.__slots__}
    return ExactJSON(shown, headers={"Cache-Control": "no-store"})


@router.get(
    "/keys",
    operation_id="listKeys",
    response_model=AdminKeyList,
    responses=refusals(401, 403, 422, 429, 503),
)
@needs(Role.READ)
async def list_keys(services: ServicesDep, _: OperatorDep) -> Response:
    """List all API keys by their beginning, revoked ones too."""
    return _all(await services.keys.list())


@router.post(
    "/keys",
    operation_id="createKey",
    status_code=201,
    response_model=IssuedKey,
    responses=refusals(*BODY, 410, as_in={410: ClientErasedError}),
    openapi_extra=body_of(KeyCreate),
)
@needs(Role.KEYS)
async def create_key(
    services: ServicesDep,
    operator: OperatorDep,
    body: Annotated[KeyCreate, Depends(operator_body(KeyCreate))],
) -> Response:
    """Issue an API key, shown this once, and create its client if the name is new."""
    issued = await services.keys.create(
        body.client, scopes=body.scopes, expires_at=body.expires_at, operator=operator
    )
    shown = {name: getattr(issued, name) for name in IssuedKey.model_fields}
    return ExactJSON(shown, status_code=201, headers={"Cache-Control": "no-store"})


@router.delete(
    "/keys/{key_id}",
    operation_id="revokeKey",
    status_code=204,
    response_model=None,
    responses=refusals(401, 403, 404, 422, 429, 503),
)
@needs(Role.KEYS)
async def revoke_key(services: ServicesDep, operator: OperatorDep, key_id: UUID) -> Response:
    """Revoke a key at once and for good."""
    if not await services.keys.revoke(str(key_id), operator=operator):
        detail = "There is no active key with this id; GET /v1/admin/keys lists all keys."
        raise NotFoundError(detail)
    return Response(status_code=204)


# -- the account


@router.get(
    "/balance",
    operation_id="getBalance",
    response_model=Balance,
    responses=refusals(401, 403, 422, 502, 429, 503),
)
@needs(Role.READ)
async def read_balance(services: ServicesDep, _: OperatorDep) -> Response:
    """Ask kie.ai for the account's credits, now."""
    answer = await services.account.balance()
    if isinstance(answer, NoAnswer):
        whose = (
            "It refuses the gateway's key or credits" if answer.account else "There is no answer"
        )
        detail = f"{whose}: {answer.reason}."
        raise KieNotAnsweringError(detail)
    return ExactJSON({"balance": answer})


def _all(rows: object) -> Response:
    """Write a list that has but one page."""
    return ExactJSON({"data": rows, "next_cursor": None})
