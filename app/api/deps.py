"""What the routes are given: the services, the caller's client, the checked body."""

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.api.schemas import TaskCreate, validated
from app.domain.document import UnreadableDocumentError, parse
from app.domain.errors import (
    BodyTooLargeError,
    Flaw,
    InvalidIdempotencyKeyError,
    MalformedBodyError,
)
from app.services.health import Health
from app.services.keys import Keys
from app.services.read import Reader
from app.services.receive import Receiver
from app.services.submit import Submissions


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """The services behind the routes, and the edge's own limits."""

    keys: Keys
    submissions: Submissions
    receiver: Receiver
    reader: Reader
    health: Health
    max_body_bytes: int
    submit_wait: float
    """Seconds that a create waits for kie.ai's answer before it answers without."""


def edge(request: Request) -> Edge:
    found: Edge = request.app.state.edge
    return found


TheEdge = Annotated[Edge, Depends(edge)]

_bearer = HTTPBearer(auto_error=False, description="A key made by `kie-gateway keys create NAME`.")


async def client(
    request: Request,
    edge: TheEdge,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> UUID:
    """Return the caller's client; raises `UnauthenticatedError`."""
    # Of two headers a proxy may have checked the other one.
    alone = len(request.headers.getlist("authorization")) == 1
    return await edge.keys.authenticate(credentials.credentials if credentials and alone else "")


TheClient = Annotated[UUID, Depends(client)]


async def limited_body(request: Request, limit: int) -> bytes:
    """Read the body, and stop as soon as it is too large; raises `BodyTooLargeError`."""
    body = bytearray()
    if _announced(request) <= limit:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                break
        else:
            return bytes(body)
    detail = f"The body may have {limit} bytes (GATEWAY_MAX_BODY_BYTES)."
    raise BodyTooLargeError(detail)


def _announced(request: Request) -> int:
    length = request.headers.get("content-length", "0")
    return int(length) if length.isdecimal() else 0


async def new_task(request: Request, edge: TheEdge) -> TaskCreate:
    """Read and check the body of a create, whatever its Content-Type says."""
    body = await limited_body(request, edge.max_body_bytes)
    try:
        document = parse(body)
    except UnreadableDocumentError as error:
        detail = f"The body is not usable JSON: {error.reason}."
        raise MalformedBodyError(detail, [Flaw(error.pointer, error.reason)]) from None
    return validated(document)


MAX_KEY = 255


def idempotency_key(
    idempotency_key: Annotated[
        str | None,
        Header(
            description="Repeat a create with the same key and it is the same task. "
            f"1 to {MAX_KEY} printable ASCII characters."
        ),
    ] = None,
) -> str | None:
    """Check the key; raises `InvalidIdempotencyKeyError`."""
    if idempotency_key is None:
        return None
    if 1 <= len(idempotency_key) <= MAX_KEY and all(" " <= c <= "~" for c in idempotency_key):
        return idempotency_key
    detail = f"The Idempotency-Key should be 1 to {MAX_KEY} printable ASCII characters."
    raise InvalidIdempotencyKeyError(detail)


TheIdempotencyKey = Annotated[str | None, Depends(idempotency_key)]
