"""SIGTERM under load: nothing more is sent, what is under way is recorded, one bound holds."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator

import pytest

from tests.processes.conftest import At, Connection, Start
from tests.stage import eventually
from tests.upstream import Upstream

WITHIN, LINGER = 12.0, 2.0
"""Seconds of the whole shutdown, and of listening on."""

WINDOW = 1.0
"""Seconds after which a slot is free again: without the signal there would be 20 creates more."""

STATES = "SELECT state, count(*)::int FROM tasks GROUP BY state"


@pytest.mark.long
async def test_nothing_is_sent_after_sigterm_and_one_deadline_holds_for_all(
    start: Start, at: At, upstream: Upstream, sql: Connection
) -> None:
    serving = await start(
        "serve",
        GATEWAY_SHUTDOWN_TIMEOUT=str(WITHIN),
        GATEWAY_SHUTDOWN_LINGER=str(LINGER),
        GATEWAY_KIE_TIMEOUT="6",
        GATEWAY_KIE_CREATE_WINDOW=str(WINDOW),
        GATEWAY_SUBMIT_WAIT="0",
    )
    gateway = await at(await serving.ready())
    done, go = asyncio.Event(), upstream.holds()
    await asyncio.gather(*(gateway.post() for _ in range(60)))
    uploading = asyncio.create_task(gateway.http.post("/v1/tasks", content=_slow(done)))

    async def all_slots_are_taken() -> bool | None:
        return len(upstream.creates) >= 20 or None

    await eventually(all_slots_are_taken)
    signaled = time.monotonic()
    serving.send(signal.SIGTERM)
    await serving.says("shutdown.begun")
    created = await gateway.post()
    ready = await gateway.http.get("/readyz")
    go.set()  # the answers come in the shutdown, and free the slots for the next 20
    status = await serving.ended()
    took = time.monotonic() - signaled
    done.set()
    await asyncio.gather(uploading, return_exceptions=True)

    assert (created.status_code, created.json()["state"]) == (201, "queued")
    assert ready.status_code == 503
    assert len(upstream.creates) == 20
    assert {row["state"]: row["count"] for row in await sql.fetch(STATES)} == {
        "running": 20,
        "queued": 41,
    }
    assert (status, took < WITHIN) == (0, True), took
    assert took > LINGER


async def _slow(done: asyncio.Event) -> AsyncIterator[bytes]:
    """Send the beginning of a body, and then nothing."""
    yield b'{"model": '
    await done.wait()
