"""What the routes are given: the services, the caller's client, the checked body."""

import difflib
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.api.schemas.tasks import MAX_WAIT, Body, TaskCreate, TaskWait, validated
from app.domain.errors import (
    BodyTooLargeError,
    Flaw,
    InvalidIdempotencyKeyError,
    InvalidRequestError,
    MalformedBodyError,
    UnauthenticatedError,
)
from app.domain.exact_json import UnreadableDocumentError, parse
from app.services.account.pauses import Pauses
from app.services.account.probe import Account
from app.services.clients.keys import Keys
from app.services.clients.settings import Clients
from app.services.deliveries.history import Deliveries
from app.services.dropin import DropIn
from app.services.tasks.commands import Commands
from app.services.tasks.create import Creates
from app.services.tasks.events import Feed
from app.services.tasks.read import Reader
from app.services.tasks.receive import Receiver
from app.services.tasks.stuck import StuckTasks


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """The services behind the routes, and the edge's own limits."""

    keys: Keys
    creates: Creates
    receiver: Receiver
    reader: Reader
    commands: Commands
    feed: Feed
    deliveries: Deliveries
    dropin: DropIn
    max_body_bytes: int
    submit_wait: float
    """Seconds that a create waits for kie.ai's answer before it answers without."""
    refresh_wait: float = 5.0
    """Seconds that a refresh waits for the answer of kie.ai."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The services behind the operators' routes, and the key to them."""

    pauses: Pauses
    stuck: StuckTasks
    clients: Clients
    account: Account
    keys: Keys
    admin_key: str = field(repr=False)


_admin_bearer = HTTPBearer(
    auto_error=False, scheme_name="AdminKey", description="The setting GATEWAY_ADMIN_KEY."
)


async def desk(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_admin_bearer)],
) -> Desk:
    """Return the operators' services to who has their key; raises `UnauthenticatedError`."""
    found: Desk = request.app.state.desk
    alone = len(request.headers.getlist("authorization")) == 1
    given = credentials.credentials if credentials and alone else ""
    if not hmac.compare_digest(_hidden(given), _hidden(found.admin_key)):
        detail = "Send the header `Authorization: Bearer …` with this gateway's GATEWAY_ADMIN_KEY."
        raise UnauthenticatedError(detail)
    return found


def _hidden(key: str) -> bytes:
    """Hash a key, so that the comparison does not tell its length either."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


TheDesk = Annotated[Desk, Depends(desk)]


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


def body(model: type[Body]) -> Callable[..., Awaitable[Body]]:
    """Build the dependency that reads and checks an operator's body, whose key comes first."""

    async def read(request: Request, edge: TheEdge, _: TheDesk) -> Body:
        return validated(model, await read_document(request, edge))

    return read


def own_body(model: type[Body]) -> Callable[..., Awaitable[Body]]:
    """Build the dependency that reads and checks a caller's body, whose key comes first."""

    async def read(request: Request, edge: TheEdge, _: TheClient) -> Body:
        return validated(model, await read_document(request, edge))

    return read


async def new_task(request: Request, edge: TheEdge) -> TaskCreate:
    """Read and check the body of a create, whatever its Content-Type says."""
    return validated(TaskCreate, await read_document(request, edge))


async def wait_request(request: Request, edge: TheEdge) -> TaskWait:
    """Read and check the body of a wait."""
    return validated(TaskWait, await read_document(request, edge))


async def read_document(request: Request, edge: Edge) -> object:
    """Read a JSON body, whatever its Content-Type says; raises `MalformedBodyError`."""
    body = await limited_body(request, edge.max_body_bytes)
    try:
        return parse(body)
    except UnreadableDocumentError as error:
        detail = f"The body is not usable JSON: {error.reason}."
        raise MalformedBodyError(detail, [Flaw(error.pointer, error.reason)]) from None


METADATA = "metadata."
"""`?metadata.KEY=VALUE` narrows a list to the tasks with this pair."""

METADATA_PARAMETER: Mapping[str, object] = {
    "name": f"{METADATA}KEY",
    "in": "query",
    "description": "Only tasks with this pair in their metadata; KEY is the pair's own name.",
    "schema": {"type": "string", "maxLength": 512},
}
"""Described to the OpenAPI document, which knows no parameters with free names."""


def only_known_parameters(request: Request, _: TheClient) -> None:
    """Refuse a misspelt query parameter: a filter that is ignored answers another question.

    It asks for the client first: who has no key is told nothing else.
    """
    _refuse_unknown(request)


def only_known_admin_parameters(request: Request, _: TheDesk) -> None:
    """Refuse any query parameter: the operators' paths have none."""
    _refuse_unknown(request)


def _refuse_unknown(request: Request) -> None:
    route = request.scope["route"]
    known = set(_query_names(route.dependant))
    free = METADATA_PARAMETER in (route.openapi_extra or {}).get("parameters", ())
    for name in request.query_params:
        if name in known or (free and name.startswith(METADATA)):
            continue
        near = difflib.get_close_matches(name, known, n=1)
        others = f"known are: {', '.join(sorted(known))}" if known else "this path has none"
        hint = f"did you mean {near[0]}?" if near else others
        detail = f"{name[:80]}: unknown parameter; {hint}"
        raise InvalidRequestError(detail)


def _query_names(dependant: Dependant) -> Iterator[str]:
    """Walk what a route and its dependencies declare."""
    for parameter in dependant.query_params:
        yield parameter.alias
    for needed in dependant.dependencies:
        yield from _query_names(needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How long an answer may be held, and the header that says so."""

    seconds: float | None
    applied: Mapping[str, str]


_PREFERRED_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE)


def waiting(
    request: Request,
    wait: Annotated[
        float | None,
        Query(
            ge=0,
            le=MAX_WAIT,
            allow_inf_nan=False,
            description="Hold the answer until the task rests, for at most so many seconds.",
        ),
    ] = None,
    _: Annotated[
        str,
        Header(
            alias="prefer",
            description="`wait=N` (RFC 7240): the same, where `?wait` is not given.",
        ),
    ] = "",
) -> Waiting:
    """Take `?wait=N` or `Prefer: wait=N`; a preference is met as far as possible, never refused."""
    preferred = _PREFERRED_WAIT.search(",".join(request.headers.getlist("prefer")))
    if wait is not None or preferred is None:
        return Waiting(seconds=wait, applied={})
    seconds = min(int(preferred[1]), MAX_WAIT)
    return Waiting(seconds=seconds, applied={"Preference-Applied": f"wait={seconds}"})


TheWait = Annotated[Waiting, Depends(waiting)]


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
