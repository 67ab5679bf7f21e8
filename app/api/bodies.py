"""Reading request bodies: bounded, exact, whatever their Content-Type; checked after the key."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from fastapi import Request
from starlette.requests import ClientDisconnect

from app.api.deps import CallerDep, OperatorDep, ServicesDep
from app.api.schemas.bodies import MAX_POINTER, Body, validated
from app.domain import exact_json
from app.domain.errors import BodyTooLargeError, Flaw, MalformedBodyError, TooManyValuesError
from app.domain.exact_json import UnreadableDocumentError, parse
from app.services.services import ApiSettings


def client_body(model: type[Body]) -> Callable[..., Awaitable[Body]]:
    """Build the dependency that reads and checks a client's body."""

    async def read(request: Request, services: ServicesDep, _: CallerDep) -> Body:
        return validated(model, await read_json(request, services.api))

    return read


def operator_body(model: type[Body]) -> Callable[..., Awaitable[Body]]:
    """Build the dependency that reads and checks an operator's body."""

    async def read(request: Request, services: ServicesDep, _: OperatorDep) -> Body:
        return validated(model, await read_json(request, services.api))

    return read


AT_ONCE = 64 * 1024
"""Bytes of a body that are read on the spot; more are read in a thread, which gives way to the
event loop wherever the parser calls back."""


async def read_json(request: Request, limits: ApiSettings) -> object:
    """Read a JSON body; raises `BodyTooLargeError`, `MalformedBodyError`, `TooManyValuesError`."""
    body = await limited_body(request, limits.max_body_bytes)
    read = partial(parse, body, most=limits.max_json_values)
    try:
        return read() if len(body) <= AT_ONCE else await asyncio.to_thread(read)
    except exact_json.TooManyValuesError:
        reason = f"may have {limits.max_json_values} JSON values (GATEWAY_MAX_JSON_VALUES)"
        detail = f"The body {reason}."
        raise TooManyValuesError(detail, [Flaw("", reason)]) from None
    except UnreadableDocumentError as error:
        detail = f"The body is not usable JSON: {error.reason}."
        coding = request.headers.get("content-encoding", "identity")
        if coding != "identity":
            detail += " It says that it is compressed (Content-Encoding): send it as it is."
        flaw = Flaw(error.pointer[:MAX_POINTER], error.reason)
        raise MalformedBodyError(detail, [flaw]) from None


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
    detail = (
        f"The body may have {limit} bytes (GATEWAY_MAX_BODY_BYTES). Give files by URL, or upload "
        "them by POST /v1/files."
    )
    raise BodyTooLargeError(detail)


HEAD = 64 * 1024
"""Bytes that are kept of a body that is not kept whole."""

PATIENCE = 10.0
"""Seconds for a body to arrive: kie.ai hangs up after 15."""

DRAIN = 5.0
"""Seconds for which the rest of a body is thrown away, so that its sender gets to the answer."""


async def whole_or_head(request: Request, limit: int) -> tuple[bytes, bool]:
    """Read the body, and tell that it is whole; of one that is too large or too slow, its head."""
    body = bytearray()
    bound = limit if _announced(request) <= limit else HEAD
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            async for chunk in request.stream():
                body += chunk
                if len(body) > bound:
                    break
            else:
                return bytes(body), True
    return bytes(body[:HEAD]), False


async def drain(request: Request) -> None:
    """Throw away what is left of the body: many senders look for an answer only behind it."""
    with suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(DRAIN):
            async for _ in request.stream():
                pass


def _announced(request: Request) -> int:
    length = request.headers.get("content-length", "0")
    return int(length) if length.isdecimal() else 0
