"""The floor: a raw ASGI program that does only the durable minimum of each operation.

Create: insert, POST, update. Callback: insert the raw bytes, update. Read: one row. No key is
checked, nothing is validated, limited, retried, signed or delivered. `uvicorn` serves it as it
serves the gateway.
"""

import json
import os
import uuid
from typing import Any

import aiohttp
import asyncpg
from typing_extensions import override

TABLES = """
CREATE TABLE floor_tasks (
    id uuid PRIMARY KEY, state text NOT NULL, kie_task_id text, input text NOT NULL, result text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE floor_callbacks (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, task_id uuid NOT NULL, body bytea NOT NULL
)
"""
INSERT = "INSERT INTO floor_tasks (id, state, input) VALUES ($1, 'queued', $2)"
SENT = "UPDATE floor_tasks SET state = 'running', kie_task_id = $2 WHERE id = $1"
CALLED = "INSERT INTO floor_callbacks (task_id, body) VALUES ($1, $2)"
SETTLED = "UPDATE floor_tasks SET state = 'succeeded', result = $2 WHERE id = $1"
READ = "SELECT id, state, kie_task_id, input, result, created_at FROM floor_tasks WHERE id = $1"

_HEADERS = [(b"content-type", b"application/json")]
_own: dict[str, Any] = {}


class Bare(asyncpg.Connection):
    """Goes back to the pool without a statement that resets it."""

    @override
    def get_reset_query(self) -> str:
        return ""


async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  # ASGI's own
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    status, body = await _answer(scope, await _body(receive))
    await send({"type": "http.response.start", "status": status, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": json.dumps(body, default=str).encode()})


async def _lifespan(receive: Any, send: Any) -> None:  # noqa: ANN401
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            _own["pool"] = await asyncpg.create_pool(
                os.environ["FLOOR_DSN"], max_size=10, connection_class=Bare
            )
            connector = aiohttp.TCPConnector(limit=0)
            _own["http"] = aiohttp.ClientSession(connector=connector)
            await send({"type": "lifespan.startup.complete"})
        else:
            await _own["http"].close()
            await _own["pool"].close()
            await send({"type": "lifespan.shutdown.complete"})
            return


async def _body(receive: Any) -> bytes:  # noqa: ANN401
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def _answer(scope: Any, body: bytes) -> tuple[int, dict[str, Any]]:  # noqa: ANN401
    path = scope["path"]
    if scope["method"] == "POST" and path == "/v1/tasks":
        return 201, await _create(body)
    if path.startswith("/callbacks/"):
        return 200, await _callback(uuid.UUID(path.rpartition("/")[2]), body)
    if path == "/livez":
        return 200, {"status": "ok"}
    found = await _own["pool"].fetchrow(READ, uuid.UUID(path.rpartition("/")[2]))
    return 200, dict(found)


async def _create(body: bytes) -> dict[str, Any]:
    task_id = uuid.uuid4()
    given = json.loads(body)
    await _own["pool"].execute(INSERT, task_id, json.dumps(given["input"]))
    asked = {
        "model": given["model"],
        "input": given["input"],
        "callBackUrl": f"{os.environ['FLOOR_URL']}/callbacks/{task_id}",
    }
    url = f"{os.environ['FLOOR_KIE']}/api/v1/jobs/createTask"
    async with _own["http"].post(url, json=asked) as answer:
        kie_id = (await answer.json())["data"]["taskId"]
    await _own["pool"].execute(SENT, task_id, kie_id)
    return {"id": str(task_id), "state": "running", "kie_task_id": kie_id}


async def _callback(task_id: uuid.UUID, body: bytes) -> dict[str, Any]:
    await _own["pool"].execute(CALLED, task_id, body)
    await _own["pool"].execute(SETTLED, task_id, json.loads(body)["data"]["resultJson"])
    return {"status": "ok"}
