"""`/v1/tasks`: creating, reading, listing and canceling tasks."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from app.api.answers import ExactJSON
from app.api.bodies import client_body
from app.api.cursors import id_cursor, page_cursor, read_id_cursor, read_page_cursor
from app.api.deps import CallerDep, ClientDep, ServicesDep, needs, services_of
from app.api.holding import held, held_if_room
from app.api.instants import Instant, query_instant
from app.api.openapi import body_of, refusals
from app.api.parameters import (
    METADATA_PARAMETER,
    IdempotencyKeyDep,
    WaitDep,
    metadata_filter,
    only_known_parameters,
    without_nul,
)
from app.api.schemas.tasks import CallbackList, Task, TaskCreate, TaskList, TaskWait, WaitedTasks
from app.domain.access import Scope
from app.domain.draft import Draft
from app.domain.errors import (
    DatabaseUnavailableError,
    OverloadedError,
    TaskErasedError,
)
from app.domain.exact_json import rfc3339
from app.domain.paging import Filter
from app.domain.shapes.native import task_answer, task_urls
from app.domain.task import FINAL, FailClass, State
from app.domain.trace_context import traceparent_of
from app.services.services import Services
from app.services.tasks.create import Created

router = APIRouter(
    prefix="/v1/tasks", tags=["tasks"], dependencies=[Depends(only_known_parameters)]
)

ERASED = {410: TaskErasedError}
"""What is answered where a task was."""


@router.post(
    "",
    operation_id="createTask",
    status_code=201,
    response_model=Task,
    responses={
        200: {"model": Task, "description": "The key was used before: the same task."},
        **refusals(400, 401, 402, 403, 410, 413, 422, 429, 503, as_in=ERASED),
    },
    openapi_extra=body_of(TaskCreate),
)
@needs(Scope.TASKS_WRITE)
async def create_task(
    request: Request,
    caller: CallerDep,
    key: IdempotencyKeyDep,
    body: Annotated[TaskCreate, Depends(client_body(TaskCreate))],
    wait: WaitDep,
) -> Response:
    """Create a task: stored and committed before this answers, then sent to kie.ai once.

    The answer is 201 with the task in its current state, whatever kie.ai answered.
    """
    services = services_of(request)
    draft = Draft(**{name: getattr(body, name) for name in TaskCreate.model_fields})
    trace = traceparent_of(request.headers.getlist("traceparent"))
    created = await services.creates.create(caller.client_id, draft, key, trace)
    with held_if_room(services, caller, wait) as granted:
        task = await created_task(services, caller.client_id, created, granted.seconds)
    headers = {"Location": task_urls(created.id)["self"], **granted.applied}
    if created.replayed:
        headers["Idempotent-Replayed"] = "true"
    status = 200 if created.replayed else 201
    return ExactJSON(task_answer(task), status_code=status, headers=headers)


async def created_task(
    services: Services, client: UUID, created: Created, wait: float | None
) -> Mapping[str, Any]:
    """Wait as asked and read the task: from here on it exists, so no error may deny it."""
    try:
        if wait is not None:
            return await services.reader.when_final(client, created.id, seconds=wait)
        sent = await created.sent(within=services.api.submit_wait)
        if sent is not None:
            return sent
        return await services.reader.task(client, created.id)
    except (DatabaseUnavailableError, OverloadedError):
        return created.snapshot


@router.get(
    "",
    operation_id="listTasks",
    response_model=TaskList,
    responses=refusals(401, 403, 422, 429, 503),
    openapi_extra={"parameters": [METADATA_PARAMETER]},
)
@needs(Scope.TASKS_READ)
async def list_tasks(
    services: ServicesDep,
    client: ClientDep,
    request: Request,
    state: Annotated[
        list[State] | None, Query(description="One or more states; repeat the parameter.")
    ] = None,
    model: Annotated[str | None, Query(max_length=200)] = None,
    fail_class: Annotated[
        FailClass | None, Query(description="Failures of this kind only.")
    ] = None,
    retryable: Annotated[
        bool | None,
        Query(description="Failures only that may, or (`false`) will not, end otherwise again."),
    ] = None,
    created_after: Instant = None,
    created_before: Instant = None,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    include: Annotated[
        list[Literal["input"]] | None,
        Query(description="`input`: with each task's input, which lists leave out."),
    ] = None,
) -> Response:
    """Return your tasks, newest first; `?metadata.KEY=VALUE` narrows by metadata.

    A page ends before it has more than 4 MiB, with at least one task and a `next_cursor`. Lists
    with inputs are read one at a time for each client, and so many bytes in a second; over that
    they wait, or are answered 429 `rate_limited`.
    """
    narrowed = Filter(
        states=state or (),
        model=without_nul("model", model),
        fail_class=fail_class,
        retryable=retryable,
        created_after=query_instant("created_after", created_after),
        created_before=query_instant("created_before", created_before),
        metadata=metadata_filter(request),
    )
    page, place = await services.reader.page(
        client,
        narrowed,
        after=read_page_cursor(cursor),
        limit=limit,
        with_input=bool(include),
    )
    content = {"data": [task_answer(task) for task in page], "next_cursor": page_cursor(place)}
    return ExactJSON(content)


@router.post(
    "/wait",
    operation_id="waitForTasks",
    response_model=WaitedTasks,
    responses=refusals(400, 401, 403, 404, 410, 413, 422, 429, 503, as_in=ERASED),
    openapi_extra=body_of(TaskWait),
)
@needs(Scope.TASKS_READ)
async def wait_for_tasks(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    body: Annotated[TaskWait, Depends(client_body(TaskWait))],
) -> Response:
    """Hold the answer until any or all of several tasks are final, or the time is over."""
    async with held(request, services, caller) as hung_up:
        waiting = services.reader.all_when_final(
            caller.client_id,
            body.ids,
            mode=body.mode,
            seconds=body.timeout,
            given_up=hung_up,
        )
        found = await services.uses.held(caller, waiting)
    ended = [task["state"] in FINAL for task in found]
    done = any(ended) if body.mode == "any" else all(ended)
    return ExactJSON({"data": [task_answer(task) for task in found], "done": done})


@router.get(
    "/{task_id}",
    operation_id="getTask",
    response_model=Task,
    responses=refusals(401, 403, 404, 410, 422, 429, 503, as_in=ERASED),
)
@needs(Scope.TASKS_READ)
async def read_task(request: Request, caller: CallerDep, task_id: UUID, wait: WaitDep) -> Response:
    """Return the task as it is, or, held by `wait`, once it is final or the time is over."""
    services, client = services_of(request), caller.client_id
    if wait.seconds:
        async with held(request, services, caller) as hung_up:
            waiting = services.reader.when_final(
                client, task_id, seconds=wait.seconds, given_up=hung_up
            )
            task = await services.uses.held(caller, waiting)
    else:
        task = await services.reader.task(client, task_id)
    return ExactJSON(task_answer(task), headers=wait.applied)


@router.delete(
    "/{task_id}",
    operation_id="eraseTask",
    status_code=204,
    response_class=Response,
    responses=refusals(401, 403, 404, 409, 422, 429, 503),
)
@needs(Scope.TASKS_WRITE)
async def erase_task(services: ServicesDep, client: ClientDep, task_id: UUID) -> Response:
    """Erase a task in a final state, with all that belongs to it; 204 also where that was done.

    Its history, callbacks, deliveries and attempts are deleted, and what is still to be delivered
    is not. From then on it is answered 410 `task_erased`; its idempotency key creates nothing.
    """
    await services.erasure.task(client, task_id)
    return Response(status_code=204)


@router.post(
    "/{task_id}/cancel",
    operation_id="cancelTask",
    response_model=Task,
    responses=refusals(401, 403, 404, 409, 410, 422, 429, 503, as_in=ERASED),
)
@needs(Scope.TASKS_WRITE)
async def cancel_task(services: ServicesDep, client: ClientDep, task_id: UUID) -> Response:
    """Cancel a task that is still queued; 200 also where it is canceled already."""
    await services.commands.cancel(client, task_id)
    return ExactJSON(task_answer(await services.reader.task(client, task_id)))


@router.post(
    "/{task_id}/refresh",
    operation_id="refreshTask",
    response_model=Task,
    responses=refusals(401, 403, 404, 409, 410, 422, 429, 503, as_in=ERASED),
)
@needs(Scope.TASKS_WRITE)
async def refresh_task(services: ServicesDep, client: ClientDep, task_id: UUID) -> Response:
    """Have kie.ai asked about the task now; answers with what is known some seconds later.

    kie.ai is asked about a task once in 5 s at most because of this. A repeat within that time is
    answered with the task as it is, and with `Retry-After`; `X-Refreshed-At` says when kie.ai was
    last to be asked.
    """
    found = await services.commands.refresh(client, task_id, seconds=services.api.refresh_wait)
    answer = ExactJSON(task_answer(await services.reader.task(client, task_id)))
    answer.headers["X-Refreshed-At"] = rfc3339(found.refreshed_at)
    if found.again_in is not None:
        answer.headers["Retry-After"] = str(max(1, math.ceil(found.again_in)))
    return answer


@router.get(
    "/{task_id}/callbacks",
    operation_id="listTaskCallbacks",
    response_model=CallbackList,
    responses=refusals(401, 403, 404, 410, 422, 429, 503, as_in=ERASED),
)
@needs(Scope.TASKS_READ)
async def list_callbacks(
    services: ServicesDep,
    client: ClientDep,
    task_id: UUID,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
) -> Response:
    """Return kie.ai's statements on the task, newest first: parsed, and raw, secrets redacted.

    A page has at most 200, and at most 4 MB unless there is only one on it.
    """
    found, last = await services.reader.callbacks(client, task_id, before=read_id_cursor(cursor))
    return ExactJSON({"data": found, "next_cursor": id_cursor(last)})
