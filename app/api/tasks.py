"""`/v1/tasks`: creating tasks and asking how they fare."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from app.api.answers import ExactJSON, task_answer, task_urls
from app.api.deps import Edge, TheClient, TheEdge, TheIdempotencyKey, new_task
from app.api.documents import body_of, refusals
from app.api.schemas import MAX_WAIT, CallbackList, Task, TaskCreate
from app.domain.errors import DatabaseUnavailableError
from app.services.submit import Created, Draft

router = APIRouter(prefix="/v1/tasks", tags=["tasks"])

Wait = Annotated[
    float | None,
    Query(
        ge=0,
        le=MAX_WAIT,
        allow_inf_nan=False,
        description="Hold the answer until the task rests, for at most so many seconds.",
    ),
]


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
    wait: Wait = None,
) -> Response:
    """Create a task: stored and committed before this answers, then sent to kie.ai once.

    The answer is 201 with the task in the state that it has, whatever kie.ai said of it.
    """
    draft = Draft(**{name: getattr(body, name) for name in Draft.__slots__})
    created = await edge.submissions.create(client, draft, key)
    task = await _as_it_stands(edge, client, created, wait)
    headers = {"Location": task_urls(created.id)["self"]}
    if created.replayed:
        headers["Idempotent-Replayed"] = "true"
    status = 200 if created.replayed else 201
    return ExactJSON(task_answer(task), status_code=status, headers=headers)


async def _as_it_stands(
    edge: Edge, client: UUID, created: Created, wait: float | None
) -> Mapping[str, Any]:
    """Wait as asked and read the task: from here on it exists, so no error may deny it."""
    try:
        if wait is not None:
            await edge.reader.wait(client, created.id, wait)
        elif created.submission is not None:
            await created.submission.ended(within=edge.submit_wait)
        return await edge.reader.task(client, created.id)
    except DatabaseUnavailableError:
        return created.snapshot


@router.get("/{task_id}", response_model=Task, responses=refusals(401, 404, 422, 503))
async def read_task(edge: TheEdge, client: TheClient, task_id: UUID, wait: Wait = None) -> Response:
    """Return the task as it is, or as it is once it rests."""
    if wait:
        await edge.reader.wait(client, task_id, wait)
    return ExactJSON(task_answer(await edge.reader.task(client, task_id)))


@router.get(
    "/{task_id}/callbacks", response_model=CallbackList, responses=refusals(401, 404, 422, 503)
)
async def list_callbacks(edge: TheEdge, client: TheClient, task_id: UUID) -> Response:
    """Return what kie.ai said of the task, newest first: parsed, and raw with secrets redacted."""
    found = await edge.reader.callbacks(client, task_id)
    return ExactJSON({"data": found, "next_cursor": None})
