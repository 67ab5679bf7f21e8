"""How each create fault treats a create: whether it is accepted, and what is answered."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from simulator import json_codec
from simulator.answers import ClosedConnection, HalfAnswer, answer, page, wait_or_disconnect
from simulator.envelopes import OK, envelope
from simulator.faults import CREATE_REFUSALS, SERVER_ERROR, Refusal

Reply = Callable[[Request, Response, float | None], Awaitable[Response]]
"""From the usual answer, that of an accepted create, and `seconds`: what is answered instead."""
Envelope = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """What happens to one create."""

    accepts: bool
    code: int | None
    """The code of the answer. None: there is none, or it is unreadable."""
    reply: Reply
    reads: bool = True
    repeats: bool = False
    """The usual answer is the one about the task that was accepted last."""


def _says(make: Callable[[], Response]) -> Reply:
    async def reply(_: Request, __: Response, ___: float | None) -> Response:
        return make()

    return reply


def _refusal(refusal: Refusal, *, accepts: bool = False) -> Treatment:
    def make() -> Response:
        return answer(envelope(refusal.code, refusal.message, None))

    return Treatment(accepts=accepts, code=refusal.code, reply=_says(make))


def _page(status: HTTPStatus, *, accepts: bool = False) -> Treatment:
    return Treatment(accepts=accepts, code=status, reply=_says(lambda: page(status)))


def _reworded(code: int, change: Callable[[Envelope, str], Envelope]) -> Treatment:
    """Accept, and answer another envelope: made from the usual one and the task's id."""

    async def reply(_: Request, usual: Response, __: float | None) -> Response:
        said: Any = json_codec.read(bytes(usual.body))
        return answer(change(said, said["data"]["taskId"]))

    return Treatment(accepts=True, code=code, reply=reply)


def _code_zero(usual: Envelope, task_id: str) -> Envelope:
    return usual | {"code": 0, "data": {"taskId": task_id}}


def _id_at_root(usual: Envelope, task_id: str) -> Envelope:
    return usual | {"taskId": task_id, "data": None}


def _data_is_id(usual: Envelope, task_id: str) -> Envelope:
    return usual | {"data": task_id}


def _error_with_id(_: Envelope, task_id: str) -> Envelope:
    return envelope(SERVER_ERROR.code, SERVER_ERROR.message, {"taskId": task_id})


async def _as_usual(_: Request, usual: Response, __: float | None) -> Response:
    return usual


async def _half(_: Request, usual: Response, __: float | None) -> Response:
    return HalfAnswer(usual.body, media_type=usual.media_type)


async def _late(request: Request, usual: Response, seconds: float | None) -> Response:
    await wait_or_disconnect(request, seconds)
    return usual


async def _never(request: Request, _: Response, __: float | None) -> Response:
    await wait_or_disconnect(request, None)
    return ClosedConnection()


def _garbage() -> Response:
    return Response(b'{"code":200,"msg":"succ\xff\x00<', media_type="application/json")


def _empty() -> Response:
    return Response(media_type="application/json")


USUAL = Treatment(accepts=True, code=OK, reply=_as_usual)

CREATE_FAULTS: Mapping[str, Treatment] = {
    **{name: _refusal(refusal) for name, refusal in CREATE_REFUSALS.items()},
    "create-http-400": _page(HTTPStatus.BAD_REQUEST),
    "create-http-404": _page(HTTPStatus.NOT_FOUND),
    "create-http-413": _page(HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    "create-http-422": _page(HTTPStatus.UNPROCESSABLE_ENTITY),
    "create-http-429": _page(HTTPStatus.TOO_MANY_REQUESTS),
    "create-http-502": _page(HTTPStatus.BAD_GATEWAY),
    "create-closed-unread": Treatment(
        accepts=False, code=None, reply=_says(lambda: ClosedConnection(reset=True)), reads=False
    ),
    "create-closed-after-reading": Treatment(
        accepts=False, code=None, reply=_says(ClosedConnection)
    ),
    "create-hang": Treatment(accepts=False, code=None, reply=_never),
    "create-same-id": Treatment(accepts=False, code=OK, reply=_as_usual, repeats=True),
    "create-http-502-after-accept": _page(HTTPStatus.BAD_GATEWAY, accepts=True),
    "create-500-after-accept": _refusal(SERVER_ERROR, accepts=True),
    "create-500-with-id-after-accept": _reworded(SERVER_ERROR.code, _error_with_id),
    "create-code-zero": _reworded(0, _code_zero),
    "create-id-at-root": _reworded(OK, _id_at_root),
    "create-data-is-id": _reworded(OK, _data_is_id),
    "create-cut-off-after-accept": Treatment(
        accepts=True, code=None, reply=_says(ClosedConnection)
    ),
    "create-half-answer": Treatment(accepts=True, code=None, reply=_half),
    "create-garbage-answer": Treatment(accepts=True, code=None, reply=_says(_garbage)),
    "create-empty-answer": Treatment(accepts=True, code=None, reply=_says(_empty)),
    "create-hang-after-accept": Treatment(accepts=True, code=None, reply=_never),
    "create-slow": Treatment(accepts=True, code=OK, reply=_late),
}
