"""A cheap stand-in kie.ai, and a receiver of webhooks: a raw ASGI program that notes every id.

Each create is answered after `LATENCY` seconds. `/noted` shows and forgets what came.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

LATENCY = 0.05
"""Seconds between a create's arrival and its answer."""

_HEADERS = [(b"content-type", b"application/json")]
_numbers = itertools.count(1)
_created: dict[str, str] = {}
_hooks: list[tuple[float, bytes]] = []


def ended(kie_id: str) -> Mapping[str, Any]:
    """Return kie.ai's record of a task that succeeded."""
    now = int(1000 * time.time())
    return {
        "taskId": kie_id,
        "model": "m",
        "state": "success",
        "param": "{}",
        "resultJson": json.dumps({"resultUrls": [f"https://files.example/{kie_id}.png"]}),
        "failCode": None,
        "failMsg": None,
        "costTime": 10,
        "completeTime": now,
        "createTime": now,
        "creditsConsumed": 1,
    }


async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  # ASGI's own
    if scope["type"] != "http":
        return
    body = await _body(receive)
    answer = json.dumps(await _answer(scope, body)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": answer})


async def _body(receive: Any) -> bytes:  # noqa: ANN401
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def _answer(scope: Any, body: bytes) -> Mapping[str, Any]:  # noqa: ANN401
    path = scope["path"]
    if path == "/hook":
        _hooks.append((time.monotonic(), body))
        return {}
    if path == "/noted":
        return _noted()
    if path.endswith("/createTask"):
        return await _create(json.loads(body))
    if path.endswith("/recordInfo"):
        asked = parse_qs(scope["query_string"].decode())["taskId"][0]
        return {"code": 200, "msg": "success", "data": ended(asked)}
    return {"code": 200, "msg": "success", "data": 1_000_000}


async def _create(body: Mapping[str, Any]) -> Mapping[str, Any]:
    kie_id = f"{next(_numbers):032x}"
    _created[kie_id] = body.get("callBackUrl", "")
    await asyncio.sleep(LATENCY)
    return {"code": 200, "msg": "success", "data": {"taskId": kie_id, "recordId": kie_id}}


def _noted() -> Mapping[str, Any]:
    noted = {
        "created": dict(_created),
        "hooks": [[at, json.loads(body)["data"]["kie_task_id"]] for at, body in _hooks],
    }
    _created.clear()
    _hooks.clear()
    return noted
