"""A network that loses requests and answers: what is repeated, with what, and for how long."""

import asyncio
import json
import logging
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest

from kie_gateway_client import (
    AsyncGateway,
    GatewayError,
    Invalid,
    NotFound,
    RateLimited,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    Unusable,
)
from kie_gateway_client import Gateway as Client
from tests.client.conftest import Connect
from tests.client.front import Cuts, Drops, Front, Loses, Passes, Says, Turn
from tests.client.side import Side
from tests.client.test_tasks import INPUT, MODEL, NOBODY, task_ends
from tests.gateway import Gateway
from tests.upstream import Upstream, succeeded


def refusal(status: int, code: str, *headers: str) -> Says:
    body = {"code": code, "detail": "later", "request_id": "r-1", "status": status}
    return Says(status, json.dumps(body).encode(), headers)


LATER = "Retry-After: 0"
TURNS: dict[str, tuple[Turn, ...]] = {
    "dropped": (Drops(), Drops()),
    "answers lost": (Loses(), Loses(), Loses()),
    "an answer cut": (Cuts(b'"state"'), Cuts(b"HTTP/1.1")),
    "too many": (refusal(429, "rate_limited", LATER), refusal(429, "queue_full", LATER)),
    "away": (refusal(503, "database_unavailable", LATER), Says(502, b"<html>"), Says(504)),
    "lost, then away": (Loses(), refusal(503, "database_unavailable")),
}


@pytest.mark.parametrize("kind", TURNS)
async def test_whatever_is_lost_one_task_is_paid(
    behind: Side, front: Front, gateway: Gateway, upstream: Upstream, kind: str
) -> None:
    front.turns.extend(TURNS[kind])
    running = asyncio.create_task(behind.call("run", MODEL, INPUT))
    await task_ends(gateway, upstream, succeeded)
    task = await running
    keys = front.values("Idempotency-Key")
    assert len(keys) > len(TURNS[kind])
    assert len({*keys}) == 1
    assert UUID(keys[0]).version == 4
    assert len(upstream.creates) == 1
    assert [one.id for one in await behind.all("list")] == [task.id]


async def test_what_is_asked_is_asked_again(behind: Side, front: Front) -> None:
    task = await behind.call("create", MODEL, INPUT)
    front.turns.extend((Drops(), Loses(), Cuts(b'"id"'), refusal(503, "x", LATER)))
    assert await behind.call("get", task.id) == task
    front.turns.extend((Passes(), Loses()))
    assert len(await behind.all("list")) == 1
    assert await behind.all("list") == await behind.all("list")


ONCE: dict[str, tuple[Turn, type[GatewayError]]] = {
    "an answer lost": (Loses(), Unreachable),
    "away": (refusal(503, "database_unavailable", LATER), Unavailable),
    "a proxy": (Says(502), Unavailable),
}


@pytest.mark.parametrize("kind", ONCE)
async def test_what_could_be_done_twice_is_done_once(behind: Side, front: Front, kind: str) -> None:
    """A webhook that is sent again is sent again with each request; 429 has done nothing."""
    turn, error = ONCE[kind]
    front.turns.append(turn)
    with pytest.raises(error):
        await behind.call("redeliver", NOBODY)
    assert len(front.requests) == 1
    front.turns.append(refusal(429, "rate_limited", LATER))
    with pytest.raises(NotFound):
        await behind.call("redeliver", NOBODY)
    assert len(front.requests) == 3


async def test_patience_ends(behind: Side, front: Front) -> None:
    front.turns.extend([refusal(503, "database_unavailable", "Retry-After: 100")] * 2)
    with pytest.raises(Unavailable) as away:
        await behind.call("create", MODEL, INPUT)
    assert len(front.requests) == 1  # nobody waits for what comes too late
    error = away.value
    assert (error.status, error.code, error.retry_after) == (503, "database_unavailable", 100.0)
    assert (error.request_id, error.idempotency_key) == (
        "r-1",
        front.values("Idempotency-Key")[0],
    )
    front.turns.clear()
    front.turns.extend([Says(429, b"", ("Retry-After: 0",))] * 50)
    with pytest.raises(RateLimited):
        await behind.patient(0.5).call("get", NOBODY)


async def test_what_ends_a_run_says_how_to_go_on(
    behind: Side, front: Front, gateway: Gateway, upstream: Upstream
) -> None:
    """Also where the task is created, and it is the wait that fails."""
    front.turns.extend((Passes(), refusal(429, "too_many_waits", "Retry-After: 60")))
    with pytest.raises(RateLimited) as held:
        await behind.call("run", MODEL, INPUT, timeout=0.1)
    key = held.value.idempotency_key
    await task_ends(gateway, upstream, succeeded)
    task = await behind.call("run", MODEL, INPUT, idempotency_key=key)
    assert [one.id for one in await behind.all("list")] == [task.id]


@pytest.mark.parametrize(
    "given", [{"x": float("nan")}, {"x": {1}}, {1: "x"}, {"x": "\ud800"}, {"x": Decimal("NaN")}]
)
def test_an_input_without_a_json_form_is_not_sent(given: Any) -> None:
    with Client("http://127.0.0.1:9", "kgw_x") as gateway, pytest.raises(Unusable):
        gateway.create(MODEL, given)


async def test_nobody_there(connect: Connect, gateway: Gateway) -> None:
    side = await connect("http://127.0.0.1:9", gateway.api_key, patience=0.0)
    with pytest.raises(Unreachable, match=r"no answer from http://127\.0\.0\.1:9") as error:
        await side.call("create", MODEL, INPUT)
    assert error.value.sent is False
    assert isinstance(error.value, Unavailable)


STRANGERS: dict[str, Turn] = {
    "a page": Says(200, b"<html>"),
    "another service": Says(404, b'{"detail": "Not Found"}'),
    "another object": Says(200, b'{"ok": true}'),
    "a redirect": Says(302, b"", ("Location: http://127.0.0.1:9/",)),
    "a bomb": Says(200, b"\x1f\x8b", ("Content-Encoding: gzip",)),
    "no text": Says(200, b"\xff"),
    "endless numbers": Says(200, b'{"id": 1e999999999999999999999}'),
}


@pytest.mark.parametrize("kind", STRANGERS)
async def test_somebody_else_answers(behind: Side, front: Front, kind: str) -> None:
    """And a redirect is not followed: the key is not theirs."""
    front.turns.append(STRANGERS[kind])
    with pytest.raises(UnexpectedAnswer):
        await behind.call("get", NOBODY)
    assert len(front.requests) == 1


async def test_an_answer_is_bounded(
    behind: Side, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kie_gateway_client.steps.MAX_ANSWER_BYTES", 1000)
    front.turns.extend([Says(200, b" " * 1001)] * 50)
    with pytest.raises(Unreachable, match="too large"):
        await behind.patient(0.3).call("get", NOBODY)


@pytest.mark.parametrize("key", ["kgw_" + "Zt6Rk1Vx9Lp4Ns7B" * 2, "schlüssel-Zt6Rk1Vx9Lp4Ns7B"])
async def test_a_wrong_key_is_refused_and_shown_nowhere(
    connect: Connect, front: Front, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    side = await connect(front.url, f" {key}\n", patience=0.0)
    errors: list[BaseException] = []
    for turn in (Passes(), Drops(), Says(200, b"<html>"), Says(429)):
        front.turns.append(turn)
        with pytest.raises(GatewayError) as raised:
            await side.call("create", MODEL, INPUT)
        errors.append(raised.value)
    assert isinstance(errors[0], Unauthorized)
    shown = [str(everything(error)) for error in errors]
    shown += [repr(side.gateway), repr(side.gateway.calls.terms), caplog.text]
    assert key not in "".join(shown)


def everything(error: BaseException | None) -> list[Any]:
    if error is None:
        return []
    below = everything(error.__cause__) + everything(error.__context__)
    return [repr(error), str(error), vars(error), *below]


def test_what_cannot_be_used_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KIE_GATEWAY_API_KEY", raising=False)
    monkeypatch.delenv("KIE_GATEWAY_URL", raising=False)
    secret = "kgw_secret\nx"
    for kind in (Client, AsyncGateway):
        for url in ("gateway", "ftp://h.test", "http://a:b@h.test", "http://h:x", "https://h/?a=b"):
            with pytest.raises(ValueError, match="URL"):
                kind(url, "kgw_x")
        for key in (None, "", " ", secret):
            with pytest.raises(ValueError, match="an API key is needed") as refused:
                kind("http://h.test", key)
            assert "secret" not in str(refused.value)
        monkeypatch.setenv("KIE_GATEWAY_API_KEY", "kgw_of_the_environment")
        monkeypatch.setenv("KIE_GATEWAY_URL", "https://h.test/base/")
        assert repr(kind()) == f"{kind.__name__}('https://h.test/base')"
        monkeypatch.delenv("KIE_GATEWAY_API_KEY")


async def test_an_error_of_a_newer_gateway_goes_by_its_status(behind: Side, front: Front) -> None:
    for status, kind in ((418, Invalid), (429, RateLimited), (500, Unavailable)):
        front.turns.append(refusal(status, "not_known_yet", "Retry-After: 3600"))
        with pytest.raises(kind) as error:
            await behind.call("get", NOBODY)
        assert (error.value.code, error.value.status) == ("not_known_yet", status)


def test_a_client_of_ones_own_is_used_and_left_open() -> None:
    http = httpx.Client()
    gateway = Client("http://127.0.0.1:9", "kgw_x", http=http, patience=0)
    with gateway, pytest.raises(Unreachable):
        gateway.get(NOBODY)
    assert not http.is_closed
    http.close()
