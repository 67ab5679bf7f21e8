"""`/v1/admin`: the operators' side, behind a key of its own. Without that key it is not there."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Response

from app.api.answers import ExactJSON
from app.api.deps import TheDesk, body, only_known_admin_parameters
from app.api.openapi import body_of, refusals
from app.api.schemas.admin import (
    AdminClient,
    AdminClientList,
    AdminKeyList,
    AdminTask,
    AdminTaskList,
    AdmissionPause,
    AdmissionResume,
    AdmissionState,
    AuditList,
    Balance,
    ClientChange,
    IssuedKey,
    KeyCreate,
    RotatedSecret,
    SecretRotate,
    TaskBind,
    TaskRequeue,
)
from app.domain.audit import Actor
from app.domain.errors import KieNotAnsweringError, NotFoundError
from app.domain.report import NoAnswer
from app.services.account.pauses import Pauses
from app.services.clients.settings import ClientChange as ClientSettings

router = APIRouter(
    prefix="/v1/admin", tags=["admin"], dependencies=[Depends(only_known_admin_parameters)]
)

BODY = (400, 401, 413, 422, 503)
"""How a request with a body may be refused."""

ClientName = Annotated[str, Path(description="The client, by its name.")]


# -- the brake


@router.get("/admission", response_model=AdmissionState, responses=refusals(401, 422, 503))
async def read_admission(desk: TheDesk) -> Response:
    """Tell what is paused and held, what is free of the account's limits, and who waits."""
    return ExactJSON(await _admission(desk.pauses))


@router.post(
    "/admission/pause",
    response_model=AdmissionState,
    responses=refusals(*BODY, 404),
    openapi_extra=body_of(AdmissionPause),
)
async def pause_admission(
    desk: TheDesk, said: Annotated[AdmissionPause, Depends(body(AdmissionPause))]
) -> Response:
    """Send nothing more to kie.ai, or nothing of one client's; what is under way goes on."""
    await desk.pauses.pause(Actor.ADMIN_API, client=said.client, note=said.note)
    return ExactJSON(await _admission(desk.pauses))


@router.post(
    "/admission/resume",
    response_model=AdmissionState,
    responses=refusals(*BODY, 404),
    openapi_extra=body_of(AdmissionResume),
)
async def resume_admission(
    desk: TheDesk, said: Annotated[AdmissionResume, Depends(body(AdmissionResume))]
) -> Response:
    """Take a pause back: the one of everything, or one client's."""
    await desk.pauses.resume(Actor.ADMIN_API, client=said.client)
    return ExactJSON(await _admission(desk.pauses))


async def _admission(pauses: Pauses) -> dict[str, Any]:
    found = await pauses.status()
    return {**found.account, "clients": found.clients}


# -- stuck work


@router.get("/stuck", response_model=AdminTaskList, responses=refusals(401, 422, 503))
async def list_stuck(desk: TheDesk) -> Response:
    """List the tasks that need a person, or will if nobody works, the oldest first."""
    return _all(await desk.stuck.list())


@router.get("/audit", response_model=AuditList, responses=refusals(401, 422, 503))
async def list_audit(desk: TheDesk) -> Response:
    """List what operators did and what the gateway found for them, newest first."""
    return _all(await desk.clients.audit())


@router.post(
    "/tasks/{task_id}/bind",
    response_model=AdminTask,
    responses=refusals(*BODY, 404, 409, 502),
    openapi_extra=body_of(TaskBind),
)
async def bind_task(
    desk: TheDesk, task_id: UUID, said: Annotated[TaskBind, Depends(body(TaskBind))]
) -> Response:
    """Give an unconfirmed or expired task its id at kie.ai, and have kie.ai asked about it."""
    await desk.stuck.bind(Actor.ADMIN_API, task_id, said.kie_task_id)
    return ExactJSON(await desk.stuck.one(task_id))


@router.post(
    "/tasks/{task_id}/requeue",
    response_model=AdminTask,
    responses=refusals(*BODY, 404, 409),
    openapi_extra=body_of(TaskRequeue),
)
async def requeue_task(
    desk: TheDesk, task_id: UUID, said: Annotated[TaskRequeue, Depends(body(TaskRequeue))]
) -> Response:
    """Put an unconfirmed task back into the queue, to be sent and perhaps paid once more."""
    await desk.stuck.requeue(Actor.ADMIN_API, task_id, may_pay_again=said.may_pay_again)
    return ExactJSON(await desk.stuck.one(task_id))


@router.post(
    "/tasks/{task_id}/release",
    response_model=AdminTask,
    responses=refusals(401, 404, 409, 422, 503),
)
async def release_task(desk: TheDesk, task_id: UUID) -> Response:
    """Ask again about a task that was set aside after defects of the gateway's own."""
    await desk.stuck.release(Actor.ADMIN_API, task_id)
    return ExactJSON(await desk.stuck.one(task_id))


# -- clients and keys


@router.get("/clients", response_model=AdminClientList, responses=refusals(401, 422, 503))
async def list_clients(desk: TheDesk) -> Response:
    """List all clients with their weight, their queue and whether they are paused."""
    return _all(await desk.clients.list())


@router.patch(
    "/clients/{name}",
    response_model=AdminClient,
    responses=refusals(*BODY, 404),
    openapi_extra=body_of(ClientChange),
)
async def change_client(
    desk: TheDesk, name: ClientName, said: Annotated[ClientChange, Depends(body(ClientChange))]
) -> Response:
    """Change a client's share of what the account may create, and how it is told.

    Counts for what happens from then on: what is in the outbox goes where it was to go.
    """
    given = {member: getattr(said, member) for member in said.model_fields_set}
    change = ClientSettings(given=frozenset(given), **given)
    await desk.clients.change(Actor.ADMIN_API, name, change)
    return ExactJSON(await desk.clients.one(name))


@router.post(
    "/clients/{name}/rotate-secret",
    response_model=RotatedSecret,
    responses=refusals(*BODY, 404),
    openapi_extra=body_of(SecretRotate),
)
async def rotate_secret(
    desk: TheDesk, name: ClientName, said: Annotated[SecretRotate, Depends(body(SecretRotate))]
) -> Response:
    """Give a client a new signing secret, shown this once; the one before signs too for a while."""
    rotated = await desk.keys.rotate_secret(name, grace=said.grace, actor=Actor.ADMIN_API)
    shown = {name: getattr(rotated, name) for name in rotated.__slots__}
    return ExactJSON(shown, headers={"Cache-Control": "no-store"})


@router.get("/keys", response_model=AdminKeyList, responses=refusals(401, 422, 503))
async def list_keys(desk: TheDesk) -> Response:
    """List all API keys by their beginning, revoked ones too."""
    return _all(await desk.keys.list())


@router.post(
    "/keys",
    status_code=201,
    response_model=IssuedKey,
    responses=refusals(*BODY),
    openapi_extra=body_of(KeyCreate),
)
async def create_key(
    desk: TheDesk, said: Annotated[KeyCreate, Depends(body(KeyCreate))]
) -> Response:
    """Issue an API key, shown this once, and create its client if the name is new."""
    issued = await desk.keys.create(said.client, actor=Actor.ADMIN_API)
    shown = {"id": issued.id, "client": issued.client, "api_key": issued.api_key}
    return ExactJSON(shown, status_code=201, headers={"Cache-Control": "no-store"})


@router.delete(
    "/keys/{key_id}",
    status_code=204,
    response_model=None,
    responses=refusals(401, 404, 422, 503),
)
async def revoke_key(desk: TheDesk, key_id: UUID) -> Response:
    """Revoke a key at once and for good."""
    if not await desk.keys.revoke(str(key_id), actor=Actor.ADMIN_API):
        detail = "There is no living key with this id."
        raise NotFoundError(detail)
    return Response(status_code=204)


# -- the account


@router.get("/balance", response_model=Balance, responses=refusals(401, 422, 502, 503))
async def read_balance(desk: TheDesk) -> Response:
    """Ask kie.ai for the account's credits, now."""
    said = await desk.account.balance()
    if isinstance(said, NoAnswer):
        whose = "It refuses the gateway's key or credits" if said.account else "There is no answer"
        detail = f"{whose}: {said.reason}."
        raise KieNotAnsweringError(detail)
    return ExactJSON({"balance": said})


def _all(rows: object) -> Response:
    """Write a list that has but one page."""
    return ExactJSON({"data": rows, "next_cursor": None})
