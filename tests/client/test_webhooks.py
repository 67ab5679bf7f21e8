"""Webhooks: those that the gateway sends are accepted, and nothing else is."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.main import create_app
from kie_gateway_client import (
    EventType,
    State,
    UnexpectedAnswer,
    WebhookEvent,
    WebhookRejected,
    verify_webhook,
)
from tests.gateway import Gateway
from tests.stage import eventually, serving
from tests.upstream import Upstream, succeeded

ADMIN_KEY = "q8Wm3Zt6Rk1Vx9Lp4Ns7Bd2Hf5Gj0Yc"
ROTATE = "/v1/admin/clients/tests/rotate-secret"
NOW = 1_795_305_600
ID = "01a204db-c799-726c-9c4c-4d3992420ebb"
BODY = (
    '{"type":"task.succeeded","timestamp":"2026-11-22T00:00:00.123456Z","data":'
    f'{{"id":"{ID}","state":"succeeded","version":7,"x":1.50}}}}'
).encode()


async def test_what_the_gateway_sends_is_accepted(
    make_settings: Any,
    upstream: Upstream,
    sql: Any,  # noqa: ARG001  # its rows go after the test
) -> None:
    heard: list[tuple[bytes, Mapping[str, str]]] = []

    async def hook(request: Request) -> Response:
        heard.append((await request.body(), request.headers))
        return Response(status_code=204)

    settings = make_settings(delivery_allow_loopback=True, admin_key=SecretStr(ADMIN_KEY))
    async with (
        serving(Starlette(routes=[Route("/", hook, methods=["POST"])])) as hook_url,
        serving(create_app(settings, worker=True)) as url,
        Gateway.at(url, settings) as gateway,
    ):
        operator = {"Authorization": f"Bearer {ADMIN_KEY}"}
        secrets = []
        for _ in range(2):
            async with httpx.AsyncClient(headers=operator, trust_env=False) as http:
                secrets.append((await http.post(f"{url}{ROTATE}", json={})).json())
        old, new = (one["signing_secret"] for one in secrets)
        task = await gateway.create(webhook_url=f"{hook_url}/")
        await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))

        async def arrived() -> tuple[bytes, Mapping[str, str]] | None:
            return heard[0] if heard else None

        body, headers = await eventually(arrived)
        shown = await gateway.task(task["id"])

    for secret in (old, new, [new, old], ["whsec_" + "b" * 32, old]):
        event = verify_webhook(body, headers, secret)
        assert event.type is EventType.SUCCEEDED
        assert event.id == headers["webhook-id"]
        assert event.task.state is State.SUCCEEDED
        assert str(event.task.id) == shown["id"]
        assert event.task.version <= shown["version"]
    with pytest.raises(WebhookRejected, match="no signature"):
        verify_webhook(body, headers, "whsec_" + "b" * 32)
    with pytest.raises(WebhookRejected, match="no signature"):
        verify_webhook(body + b" ", headers, new)
    with pytest.raises(WebhookRejected, match="too far"):
        verify_webhook(body, headers, new, now=time.time() + 400)


def signature(body: bytes = BODY, message: str = "msg_1", sent: object = NOW) -> str:
    signed = f"{message}.{sent}.".encode() + body
    digest = hmac.digest(b"k" * 24, signed, hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode()


SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()
GOOD = {
    "Webhook-Id": "msg_1",
    "WEBHOOK-TIMESTAMP": str(NOW),
    "webhook-signature": f"v1a,xx v1,wrong {signature()}",
    "content-type": "application/json",
}


def verified(headers: Mapping[str, str], body: bytes = BODY, now: float = NOW) -> WebhookEvent:
    return verify_webhook(body, headers, SECRET, now=now)


def test_headers_are_found_in_any_case() -> None:
    event = verified(GOOD, now=NOW + 299)
    assert (event.id, event.type, event.data["version"]) == ("msg_1", "task.succeeded", 7)
    assert str(event.data["x"]) == "1.50"
    assert event.timestamp.microsecond == 123456
    assert ID not in repr(event)
    with pytest.raises(UnexpectedAnswer, match="created_at"):  # no whole task
        _ = event.task


def other(**headers: str | None) -> dict[str, str]:
    """Change one of the three; None: leave it out."""
    kept = {name.lower(): value for name, value in GOOD.items()}
    changed = {f"webhook-{name}": value for name, value in headers.items()}
    return {name: value for name, value in (kept | changed).items() if value is not None}


NO_EVENT = b'{"type":"task.succeeded","timestamp":"yesterday","data":{}}'
HOSTILE: dict[str, tuple[Mapping[str, str], bytes, float]] = {
    "nothing": ({}, BODY, NOW),
    "no id": (other(id=None), BODY, NOW),
    "another id": (other(id="msg_2"), BODY, NOW),
    "an empty id": (other(id=""), BODY, NOW),
    "an id of many bytes": (other(id="x" * 5000), BODY, NOW),
    "no timestamp": (other(timestamp=None), BODY, NOW),
    "a timestamp that is none": (other(timestamp="nan"), BODY, NOW),
    "a negative one": (other(timestamp=f"-{NOW}"), BODY, NOW),
    "one of other digits": (other(timestamp="١٧٩٥٣٠٥٦٠٠"), BODY, NOW),
    "one of a million digits": (other(timestamp="1" * 1_000_000), BODY, NOW),
    "one of thirteen digits": (other(timestamp="1" * 13), BODY, NOW),
    "one that was not signed": (other(timestamp=str(NOW + 1)), BODY, NOW),
    "an old one": (GOOD, BODY, NOW + 301),
    "one of tomorrow": (GOOD, BODY, NOW - 301),
    "no signature": (other(signature=None), BODY, NOW),
    "an empty one": (other(signature="v1,"), BODY, NOW),
    "a kind that is not known": (other(signature="v2," + signature()[3:]), BODY, NOW),
    "half of one": (other(signature=signature()[:-10]), BODY, NOW),
    "one that is no text": (other(signature="v1,\udcff\u00e4"), BODY, NOW),
    "thousands of them": (other(signature="v1,x " * 900 + signature()), BODY, NOW),
    "the right one after twenty": (other(signature="v1,x " * 20 + signature()), BODY, NOW),
    "another body": (GOOD, BODY + b"\n", NOW),
    "no body": (GOOD, b"", NOW),
    "an id twice": ({**GOOD, "webhook-id": "msg_1"}, BODY, NOW),
    "no JSON": (other(signature=signature(b"<")), b"<", NOW),
    "no object": (other(signature=signature(b"[]")), b"[]", NOW),
    "no event": (other(signature=signature(NO_EVENT)), NO_EVENT, NOW),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_anything_else_is_rejected(kind: str) -> None:
    headers, body, now = HOSTILE[kind]
    with pytest.raises(WebhookRejected) as rejected:
        verified(headers, body, now)
    assert isinstance(rejected.value, ValueError)
    assert SECRET not in str(rejected.value)
    assert len(str(rejected.value)) < 200


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!", "whsec_ä", "whsec_abc"])
def test_a_secret_that_is_none_is_refused(secret: str) -> None:
    """And not as if the webhook were wrong: an empty key would make any forgery right."""
    with pytest.raises(ValueError, match="signing secret") as refused:
        verify_webhook(BODY, GOOD, [SECRET, secret], now=NOW)
    assert not isinstance(refused.value, WebhookRejected)
    with pytest.raises(WebhookRejected):
        verify_webhook(BODY, GOOD, [], now=NOW)


def test_an_event_of_a_newer_gateway_is_accepted() -> None:
    body = json.dumps({"type": "task.dreamt", "timestamp": "2026-11-22T00:00:00Z", "data": {}})
    headers = other(signature=signature(body.encode()))
    event = verified(headers, body.encode())
    assert (event.type, event.type.is_known) == ("task.dreamt", False)
