"""`/api/v1`: kie.ai's own API, for services that change only the base URL and the key.

Every answer is HTTP 200 with kie.ai's envelope, whose `code` is the truth; only paths and methods
that are not there are refused by status too.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from app.api.answers import ExactJSON
from app.api.bodies import read_json
from app.api.deps import ClientDep, ServicesDep, needs
from app.api.openapi import body_of
from app.api.parameters import IdempotencyKeyDep
from app.api.schemas.dropin import (
    CreatedEnvelope,
    CreditEnvelope,
    DownloadEnvelope,
    KieBodyT,
    KieCreate,
    KieDownload,
    RecordEnvelope,
    kie_validated,
)
from app.api.tasks import created_task
from app.domain import errors, file_errors
from app.domain.access import Scope
from app.domain.dialect import Dialect
from app.domain.draft import Draft
from app.domain.errors import Flaw, GatewayError
from app.domain.shapes.kie import OK, created, envelope, record
from app.domain.task import FailSource, State
from app.domain.trace_context import traceparent_of
from app.services.files.handout import Handed

PREFIX = "/api/v1/"

router = APIRouter(prefix=PREFIX.rstrip("/"), tags=["drop-in"])

CODES: Mapping[type[GatewayError], int] = {
    errors.MalformedBodyError: 422,
    file_errors.MalformedMultipartError: 400,
    file_errors.UnsupportedFileTypeError: 400,
    file_errors.UploadRefusedError: 400,
    file_errors.UploadStalledError: 408,
    file_errors.FileNotFetchableError: 400,
    file_errors.FileExpiredError: 422,
    errors.InvalidIdempotencyKeyError: 422,
    errors.InvalidRequestError: 422,
    errors.IdempotencyKeyReusedError: 422,
    errors.UnauthenticatedError: 401,
    errors.NotPermittedError: 422,  # 401 means a bad key, and real clients give up on it
    errors.BudgetExceededError: 433,
    errors.ModelCostUnknownError: 433,
    errors.InsufficientScopeError: 401,
    errors.InsufficientRoleError: 401,
    errors.ClientDisabledError: 401,
    errors.NotFoundError: 404,
    errors.MethodNotAllowedError: 404,  # kie.ai's 405 says "called too often"
    errors.BodyTooLargeError: 413,
    errors.QueueTooLongError: 429,
    errors.RateLimitedError: 429,
    errors.TooManyStreamsError: 429,
    errors.TooManyWaitsError: 429,
    file_errors.TooManyUploadsError: 429,
    errors.QueueFullError: 429,
    errors.OverloadedError: 429,
    errors.TooManyValuesError: 413,
    errors.DatabaseUnavailableError: 455,  # maintenance
    errors.KieNotAnsweringError: 455,
    errors.InternalError: 500,
    errors.NotCancelableError: 422,
    errors.NotRefreshableError: 422,
    errors.NotStuckError: 422,
    errors.PaidTwiceRiskError: 422,
    errors.UrlDisabledError: 422,
    errors.CursorLostError: 422,
    errors.TaskErasedError: 422,
    errors.ClientErasedError: 422,
    errors.BodyDeletedError: 422,
    errors.NotErasableError: 422,
    file_errors.ArtifactNotStoredError: 422,
    file_errors.RangeNotSatisfiableError: 422,
    file_errors.ArchiveAwayError: 455,
}
"""kie.ai's code for each of our errors; `docs/migrating.md` shows those that can happen here."""

TEXTS: Mapping[type[GatewayError], str] = {
    errors.UnauthenticatedError: "You do not have access permissions: {detail}",
    errors.InsufficientScopeError: "You do not have access permissions: {detail}",
    errors.ClientDisabledError: "You do not have access permissions: {detail}",
    errors.MalformedBodyError: "The request body is not readable JSON: {detail}",
    errors.InternalError: "Server exception, please try again later",
}
"""kie.ai's own texts for the same, where they are known."""

UNKNOWN_RECORD = envelope(422, "recordInfo is null", None)
FOREIGN_URL = envelope(422, "url is wrong", None)

BY_STATUS = frozenset({404, 405})
"""A path or method that is not there: refused by these HTTP statuses as well."""

TASK = "X-Kie-Gateway-Task"
"""The header with the task's id in the native API."""


def refused(error: GatewayError, status: int) -> Response:
    """Write a refusal as kie.ai does."""
    return ExactJSON(envelope_of(error), status_code=status if status in BY_STATUS else OK)


def envelope_of(error: GatewayError) -> dict[str, Any]:
    """Return a refusal in kie.ai's envelope."""
    flaws = [f"{_place(flaw)} {flaw.detail}".strip() for flaw in error.flaws]
    message = TEXTS.get(type(error), "{detail}").replace(
        "{detail}", "; ".join(flaws) or error.detail
    )
    return envelope(CODES[type(error)], message, None)


def _place(flaw: Flaw) -> str:
    return (flaw.parameter or flaw.pointer or "").removeprefix("/")


def kie_body(model: type[KieBodyT]) -> Callable[..., Awaitable[KieBodyT]]:
    """Build the dependency that reads and checks a body, after the caller's key."""

    async def read(request: Request, services: ServicesDep, _: ClientDep) -> KieBodyT:
        return kie_validated(model, await read_json(request, services.api))

    return read


@router.post(
    "/jobs/createTask",
    operation_id="createKieTask",
    response_model=CreatedEnvelope,
    openapi_extra=body_of(KieCreate),
)
@needs(Scope.TASKS_WRITE)
async def create_kie_task(
    request: Request,
    services: ServicesDep,
    client: ClientDep,
    key: IdempotencyKeyDep,
    body: Annotated[KieCreate, Depends(kie_body(KieCreate))],
) -> Response:
    """Create a task, queued or not: its id is there at once, committed, and is the gateway's.

    A create that kie.ai refuses within GATEWAY_SUBMIT_WAIT is answered with kie.ai's code.
    """
    draft = Draft(
        model=body.model,
        input=body.input,
        metadata={},
        webhook_url=body.callBackUrl,
        priority=5,
        submit_within=None,
        dialect=Dialect.KIE,
    )
    trace = traceparent_of(request.headers.getlist("traceparent"))
    stored = await services.creates.create(client, draft, key, trace)
    task = await created_task(services, client, stored, None)
    headers = {TASK: str(stored.id)}
    if stored.replayed:
        headers["Idempotent-Replayed"] = "true"
    return ExactJSON(_refusal(task) or created(stored.id), headers=headers)


def _refusal(task: Mapping[str, Any]) -> dict[str, Any] | None:
    """Quote kie.ai's refusal of the create itself; one that failed later is created."""
    by_kie = task["state"] == State.FAILED and task["fail_source"] == FailSource.KIE
    if not by_kie or task["settled_by"] is not None:
        return None
    return envelope(int(task["fail_code"]), task["fail_message"], None)


@router.get("/jobs/recordInfo", operation_id="getKieRecord", response_model=RecordEnvelope)
@needs(Scope.TASKS_READ)
async def read_kie_record(
    services: ServicesDep,
    client: ClientDep,
    task_id: Annotated[
        str, Query(alias="taskId", description="The gateway's id of the task, or kie.ai's.")
    ] = "",
) -> Response:
    """Return the task as kie.ai writes it, from what is kept: kie.ai is not asked for it."""
    task = await services.dropin.task(client, task_id)
    return ExactJSON(UNKNOWN_RECORD if task is None else envelope(OK, "success", record(task)))


@router.get("/chat/credit", operation_id="getKieCredit", response_model=CreditEnvelope)
@needs(Scope.USAGE)
async def read_kie_credit(services: ServicesDep, client: ClientDep) -> Response:
    """Return the account's credits to a client that may see them (`sees_balance`)."""
    return ExactJSON(envelope(OK, "success", await services.dropin.balance(client)))


@router.post(
    "/common/download-url",
    operation_id="createKieDownloadUrl",
    response_model=DownloadEnvelope,
    openapi_extra=body_of(KieDownload),
)
@needs(Scope.FILES)
async def make_kie_download_url(
    request: Request,
    services: ServicesDep,
    client: ClientDep,
    body: Annotated[KieDownload, Depends(kie_body(KieDownload))],
) -> Response:
    """Have kie.ai make a link to a result of one of your tasks, by which anyone can fetch it.

    Once kie.ai has deleted the result, the link is to the copy in the archive, where there is one:
    good for 15 minutes, or, where the archive is a directory, for your own key.
    """
    link = await services.dropin.download_url(client, body.url)
    if link is None:
        return ExactJSON(FOREIGN_URL)
    if isinstance(link, Handed):
        own = f"{request.base_url}v1/tasks/{link.kept.task_id}/artifacts/{link.kept.n}"
        return ExactJSON(envelope(OK, "success", link.link or own))
    return ExactJSON(envelope(link.code, link.message, link.url))
