"""`/callbacks/kie`: kie.ai's webhook. Its URL is its key."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from app.api.answers import ExactJSON
from app.api.bodies import drain, whole_or_head
from app.api.callers import recognise
from app.api.deps import ServicesDep
from app.api.openapi import refusals
from app.domain.callback_url import CALLBACK_PATH
from app.domain.errors import NotFoundError

router = APIRouter(tags=["callbacks"])


@router.post(
    f"{CALLBACK_PATH}/{{task_id}}/{{token}}",
    operation_id="receiveCallback",
    responses=refusals(404, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"type": "object"},
                    "example": {"code": 200, "msg": "success", "data": {"taskId": "…"}},
                }
            },
        }
    },
)
async def receive_callback(
    services: ServicesDep, request: Request, task_id: str, token: str
) -> Response:
    """Keep what kie.ai says. 200 means that the bytes are committed; 404, that none were kept.

    Of a body beyond GATEWAY_KIE_MAX_ANSWER_BYTES the head is kept, and kie.ai is asked instead.
    """
    try:
        known = UUID(task_id)
    except ValueError:
        detail = "No such callback address."
        raise NotFoundError(detail) from None
    services.receiver.admit(known, token)
    recognise(request)
    body, whole = await whole_or_head(request, services.api.max_callback_bytes)
    await services.receiver.receive(known, body, dict(request.headers), whole=whole)
    if not whole:
        await drain(request)
    return ExactJSON({"code": 200, "msg": "success"})
