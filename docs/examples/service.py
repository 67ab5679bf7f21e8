"""A shop that has pictures made by kie.ai, through kie-gateway.

    pip install fastapi uvicorn httpx asyncpg standardwebhooks
    uvicorn service:app --port 9000

DATABASE_URL                  the shop's own PostgreSQL
KIE_GATEWAY_URL               the gateway, such as http://gateway.internal:8000
KIE_GATEWAY_API_KEY           kgw_…, as `kie-gateway keys create shop` prints it
KIE_GATEWAY_SIGNING_SECRET    whsec_…, printed with it
WEBHOOK_URL                   where the gateway reaches this service: http://shop.internal:9000/kie
"""

import asyncio
import json
import os
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import httpx
from asyncpg.pool import PoolConnectionProxy
from fastapi import FastAPI, HTTPException, Request, Response
from pydantic import BaseModel
from standardwebhooks import Webhook, WebhookVerificationError

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    id               text PRIMARY KEY,
    prompt           text NOT NULL,
    idempotency_key  text NOT NULL,          -- made before the first attempt, kept for all others
    task_id          text,                   -- null: the gateway has not answered yet
    state            text NOT NULL DEFAULT 'new',
    version          bigint NOT NULL DEFAULT 0,
    pictures         jsonb NOT NULL DEFAULT '[]'
);
CREATE TABLE IF NOT EXISTS kie_events (      -- one row for each event that was handled
    webhook_id   text PRIMARY KEY,
    received_at  timestamptz NOT NULL DEFAULT now()   -- older than four days: may be deleted
);
CREATE TABLE IF NOT EXISTS emails (          -- what must not happen twice: sent by another process
    id        bigserial PRIMARY KEY,
    order_id  text NOT NULL REFERENCES orders,
    message   text NOT NULL
);
"""

AGAIN = {408, 429, 500, 502, 503, 504}
"""Answers after which a create is repeated, with the same key. Others are about the request."""

WAITS = (0.2, 0.5, 1, 2, 4)
"""Seconds between the attempts of one call; `Retry-After` counts more."""

LOOK_EVERY = 10
"""Seconds after which orders without a task are tried again."""


class GatewayAwayError(Exception):
    """The gateway does not answer; what was asked may still have happened."""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["DATABASE_URL"]) as pool, new_client() as gateway:
        await pool.execute(SCHEMA)
        app.state.pool, app.state.gateway = pool, gateway
        app.state.webhook = Webhook(os.environ["KIE_GATEWAY_SIGNING_SECRET"])
        catching_up = asyncio.create_task(catch_up(pool, gateway))
        yield
        catching_up.cancel()


def new_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=os.environ["KIE_GATEWAY_URL"],
        headers={"Authorization": f"Bearer {os.environ['KIE_GATEWAY_API_KEY']}"},
        timeout=15,  # a create answers within 3 s: what kie.ai takes longer for comes by webhook
    )


app = FastAPI(lifespan=lifespan)


class Order(BaseModel):
    prompt: str


# -- out: create a task


@app.put("/orders/{order_id}", status_code=202)
async def place(order_id: str, order: Order, request: Request) -> dict[str, Any]:
    """Keep the order with its key first, then create the task: a crash in between loses nothing."""
    pool: asyncpg.Pool = request.app.state.pool
    (row,) = await pool.fetch(
        "INSERT INTO orders (id, prompt, idempotency_key) VALUES ($1, $2, $3) "
        "ON CONFLICT (id) DO UPDATE SET id = excluded.id RETURNING *",
        order_id,
        order.prompt,
        str(uuid.uuid4()),
    )
    with suppress(GatewayAwayError):  # `catch_up` goes on with it
        if row["task_id"] is None:
            await submit(pool, request.app.state.gateway, row)
    return await show(order_id, request)


async def catch_up(pool: asyncpg.Pool, gateway: httpx.AsyncClient) -> None:
    """Submit what was kept and not submitted: the gateway was away, or this process ended."""
    while True:
        with suppress(GatewayAwayError, HTTPException):
            for order in await pool.fetch("SELECT * FROM orders WHERE task_id IS NULL"):
                await submit(pool, gateway, order)
        await asyncio.sleep(LOOK_EVERY)


async def submit(pool: asyncpg.Pool, gateway: httpx.AsyncClient, order: asyncpg.Record) -> None:
    body = {
        "model": "google/nano-banana",
        "input": {"prompt": order["prompt"]},
        "metadata": {"order": order["id"]},  # comes back in every event
        "webhook_url": os.environ["WEBHOOK_URL"],
    }
    task = await create_task(gateway, body, order["idempotency_key"])
    await pool.execute("UPDATE orders SET task_id = $2 WHERE id = $1", order["id"], task["id"])


async def create_task(gateway: httpx.AsyncClient, body: dict[str, Any], key: str) -> dict[str, Any]:
    """Create a task once, however often the answer gets lost: each attempt has the same key."""
    for wait in (*WAITS, None):
        retry_after = None
        with suppress(httpx.TransportError):  # no answer: the task may be there all the same
            answer = await gateway.post("/v1/tasks", json=body, headers={"Idempotency-Key": key})
            if answer.status_code not in AGAIN:
                return task_of(answer)
            retry_after = answer.headers.get("Retry-After")
        if wait is not None:
            await asyncio.sleep(float(retry_after or wait * random.uniform(0.5, 1)))
    raise GatewayAwayError


def task_of(answer: httpx.Response) -> dict[str, Any]:
    content: dict[str, Any] = answer.json()
    if answer.is_error:  # application/problem+json: decide by `code`, show `detail` to people
        raise HTTPException(502, f"{content['code']}: {content['detail']}")
    return content


# -- in: hear of its end


@app.post("/kie")
async def receive(request: Request) -> Response:
    body = await request.body()
    try:
        event = request.app.state.webhook.verify(body, dict(request.headers))
    except (WebhookVerificationError, ValueError):  # ValueError: malformed headers or body
        return Response(status_code=401)
    pool: asyncpg.Pool = request.app.state.pool
    async with pool.acquire() as connection, connection.transaction():
        if await is_new(connection, request.headers["webhook-id"]):
            await handle(connection, event["type"], event["data"])
    return Response(status_code=204)


async def is_new(connection: PoolConnectionProxy, webhook_id: str) -> bool:
    """Remember the event; false: it was handled before, and its answer got lost."""
    done = await connection.execute(
        "INSERT INTO kie_events (webhook_id) VALUES ($1) ON CONFLICT DO NOTHING", webhook_id
    )
    return done == "INSERT 0 1"


async def handle(connection: PoolConnectionProxy, kind: str, task: dict[str, Any]) -> None:
    """Do what the event is for, in the transaction that remembers it: both, or neither."""
    order_id = await connection.fetchval(
        "UPDATE orders SET state = $2, version = $3, pictures = $4 "
        "WHERE id = $1 AND version < $3 RETURNING id",  # events may overtake each other
        task["metadata"].get("order"),
        task["state"],
        task["version"],
        json.dumps(task["result_urls"]),
    )
    if order_id is not None:
        message = f"{kind}: {task['fail_message'] or ', '.join(task['result_urls'])}"
        await connection.execute(
            "INSERT INTO emails (order_id, message) VALUES ($1, $2)", order_id, message
        )


@app.get("/orders/{order_id}")
async def show(order_id: str, request: Request) -> dict[str, Any]:
    row = await request.app.state.pool.fetchrow(
        "SELECT id, task_id, state, pictures FROM orders WHERE id = $1", order_id
    )
    if row is None:
        raise HTTPException(404, "no such order")
    return {**row, "pictures": json.loads(row["pictures"])}
