"""`/v1/tasks`: creating tasks, asking how they fare, listing and canceling them."""

from collections.abc import Mapping
from itertools import chain
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from app.api.answers import ExactJSON
from app.api.cursors import page_cursor, read_page_cursor
from app.api.deps import (
    METADATA,
    METADATA_PARAMETER,
    Edge,
    TheClient,
    TheEdge,
    TheIdempotencyKey,
    TheWait,
    new_task,
    only_known_parameters,
    wait_request,
)
from app.api.instants import Instant, query_instant
from app.api.openapi import body_of, refusals
from app.api.schemas.tasks import (
    MAX_METADATA,
    MAX_METADATA_KEY,
    MAX_METADATA_VALUE,
    CallbackList,
    Task,
    TaskCreate,
    TaskList,
    TaskWait,
    WaitedTasks,
)
from app.domain.draft import Draft
from app.domain.errors import DatabaseUnavailableError, InvalidRequestError
from app.domain.paging import Filter
from app.domain.shapes.native import task_answer, task_urls
from app.domain.task import FINAL, State
from app.services.tasks.create import Created

router = APIRouter(
    prefix="/v1/tasks", tags=["tasks"], dependencies=[Depends(only_known_parameters)]
)


@router.post(
    "",
    status_code=201,
    response_model=Task,
    responses={
        200: {"model": Task, "description": "The key was used before: the same task."},
        **refusals(400, 401, 413, 422, 503),
    },
    openapi_extra=body_of(TaskCreate),
)
async def create_task(
    edge: TheEdge,
    client: TheClient,
    key: TheIdempotencyKey,
    body: Annotated[TaskCreate, Depends(new_task)],
    wait: TheWait,
) -> Response:
    """Create a task: stored and committed before this answers, then sent to kie.ai once.

    The answer is 201 with the task in the state that it has, whatever kie.ai said of it.
    """
    draft = Draft(**{name: getattr(body, name) for name in TaskCreate.model_fields})
    created = await edge.creates.create(client, draft, key)
    task = await as_it_stands(edge, client, created, wait.seconds)
    headers = {"Location": task_urls(created.id)["self"], **wait.applied}
    if created.replayed:
        headers["Idempotent-Replayed"] = "true"
    status = 200 if created.replayed else 201
    return ExactJSON(task_answer(task), status_code=status, headers=headers)


async def as_it_stands(
    edge: Edge, client: UUID, created: Created, wait: float | None
) -> Mapping[str, Any]:
    """Wait as asked and read the task: from here on it exists, so no error may deny it."""
    try:
        if wait is not None:
            return await edge.reader.when_final(client, created.id, seconds=wait)
        if created.submission is not None:
            await created.submission.ended(within=edge.submit_wait)
        return await edge.reader.task(client, created.id)
    except DatabaseUnavailableError:
        return created.snapshot


@router.get(
    "",
    response_model=TaskList,
    responses=refusals(401, 422, 503),
    openapi_extra={"parameters": [METADATA_PARAMETER]},
)
async def list_tasks(
    edge: TheEdge,
    client: TheClient,
    request: Request,
    state: Annotated[
        list[State] | None, Query(description="One or more states; repeat the parameter.")
    ] = None,
    model: Annotated[str | None, Query(max_length=200)] = None,
    created_after: Instant = None,
    created_before: Instant = None,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Return your tasks, newest first; `?metadata.KEY=VALUE` narrows by metadata."""
    narrowed = Filter(
        states=state or (),
        model=_without_nul(model),
        created_after=query_instant("created_after", created_after),
        created_before=query_instant("created_before", created_before),
        metadata=_metadata(request),
    )
    page, place = await edge.reader.page(
        client, narrowed, after=read_page_cursor(cursor), limit=limit
    )
    content = {"data": [task_answer(task) for task in page], "next_cursor": page_cursor(place)}
    return ExactJSON(content)


def _without_nul(model: str | None) -> str | None:
    if model is not None and "\0" in model:
        detail = "model: has a NUL, which nothing here can have"
        raise InvalidRequestError(detail)
    return model


def _metadata(request: Request) -> dict[str, str]:
    """Take `metadata.KEY=VALUE` from the query; raises `InvalidRequestError`."""
    given = [
        (name.removeprefix(METADATA), value)
        for name, value in request.query_params.multi_items()
        if name.startswith(METADATA)
    ]
    pairs = dict(given)
    if len(pairs) != len(given) or len(pairs) > MAX_METADATA or "\0" in "".join(chain(*given)):
        detail = f"metadata.KEY: each key once, at most {MAX_METADATA} of them, without NUL."
        raise InvalidRequestError(detail)
    if any(len(key) > MAX_METADATA_KEY or len(pairs[key]) > MAX_METADATA_VALUE for key in pairs):
        detail = f"metadata.KEY: {MAX_METADATA_KEY} and {MAX_METADATA_VALUE} characters at most."
        raise InvalidRequestError(detail)
    return pairs


@router.post(
    "/wait",
    response_model=WaitedTasks,
    responses=refusals(400, 401, 404, 413, 422, 503),
    openapi_extra=body_of(TaskWait),
)
async def wait_for_tasks(
    edge: TheEdge, client: TheClient, body: Annotated[TaskWait, Depends(wait_request)]
) -> Response:
    """Hold the answer until any or all of several tasks rest, or the time is over."""
    found = await edge.reader.all_when_final(client, body.ids, mode=body.mode, seconds=body.timeout)
    when_final = [task["state"] in FINAL for task in found]
    done = any(when_final) if body.mode == "any" else all(when_final)
    return ExactJSON({"data": [task_answer(task) for task in found], "done": done})


@router.get("/{task_id}", response_model=Task, responses=refusals(401, 404, 422, 503))
async def read_task(edge: TheEdge, client: TheClient, task_id: UUID, wait: TheWait) -> Response:
    """Return the task as it is, or, held by `wait`, as it is once it rests."""
    if wait.seconds:
        task = await edge.reader.when_final(client, task_id, seconds=wait.seconds)
    else:
        task = await edge.reader.task(client, task_id)
    return ExactJSON(task_answer(task), headers=wait.applied)


@router.post("/{task_id}/cancel", response_model=Task, responses=refusals(401, 404, 409, 422, 503))
async def cancel_task(edge: TheEdge, client: TheClient, task_id: UUID) -> Response:
    """Cancel a task that is still queued; 200 also where it is canceled already."""
    await edge.commands.cancel(client, task_id)
    return ExactJSON(task_answer(await edge.reader.task(client, task_id)))


@router.post("/{task_id}/refresh", response_model=Task, responses=refusals(401, 404, 409, 422, 503))
async def refresh_task(edge: TheEdge, client: TheClient, task_id: UUID) -> Response:
    """Have kie.ai asked about the task now; answers with what is known some seconds later."""
    await edge.commands.refresh(client, task_id, seconds=edge.refresh_wait)
    return ExactJSON(task_answer(await edge.reader.task(client, task_id)))


@router.get(
    "/{task_id}/callbacks", response_model=CallbackList, responses=refusals(401, 404, 422, 503)
)
async def list_callbacks(edge: TheEdge, client: TheClient, task_id: UUID) -> Response:
    """Return what kie.ai said of the task, newest first: parsed, and raw with secrets redacted."""
    found = await edge.reader.callbacks(client, task_id)
    return ExactJSON({"data": found, "next_cursor": None})
