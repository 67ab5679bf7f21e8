"""Reading request bodies: bounded, exact, whatever their Content-Type; checked after the key."""

from collections.abc import Awaitable, Callable

from fastapi import Request

from app.api.deps import ClientDep, OperatorDep, ServicesDep
from app.api.schemas.bodies import Body, validated
from app.domain.errors import BodyTooLargeError, Flaw, MalformedBodyError
from app.domain.exact_json import UnreadableDocumentError, parse


def client_body(model: type[Body]) -> Callable[..., Awaitable[Body]]:
    """Build the dependency that reads and checks a client's body."""

    async def read(request: Request, services: ServicesDep, _: ClientDep) -> Body:
        return validated(model, await read_json(request, services.api.max_body_bytes))

    return read


def operator_body(model: type[Body]) -> Callable[..., Awaitable[Body]]:
    """Build the dependency that reads and checks an operator's body."""

    async def read(request: Request, services: OperatorDep) -> Body:
        return validated(model, await read_json(request, services.api.max_body_bytes))

    return read


async def read_json(request: Request, limit: int) -> object:
    """Read a JSON body; raises `BodyTooLargeError`, `MalformedBodyError`."""
    body = await limited_body(request, limit)
    try:
        return parse(body)
    except UnreadableDocumentError as error:
        detail = f"The body is not usable JSON: {error.reason}."
        raise MalformedBodyError(detail, [Flaw(error.pointer, error.reason)]) from None


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
