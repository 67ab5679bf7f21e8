"""Telling the customer: one signed POST when a task is finished, and again until it is taken."""

import asyncio
import base64
import hashlib
import hmac
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

import httpx

TIMEOUT = 15.0
"""Seconds that the receiver has to answer, all in all."""
RETRY_STEPS = (1, 2, 4)
"""What is waited before each retry, in units of the retry delay."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One POST that was made; `at` is unix seconds, `attempt` counts from 1."""

    task_id: str
    url: str
    attempt: int
    status: int | None
    """None: there was no answer."""
    at: float


class Callbacks:
    """Sends callbacks in the background and remembers each attempt. Close it when done."""

    def __init__(self, *, hmac_key: str | None, retry_delay: float) -> None:
        self._hmac_key = hmac_key
        self._retry_delay = retry_delay
        self._client = httpx.AsyncClient(
            timeout=TIMEOUT,
            limits=httpx.Limits(),  # as many connections as there are tasks
            trust_env=False,  # a proxy could not reach a receiver on this machine
            headers={"User-Agent": "kie-simulator", "Content-Type": "application/json"},
        )
        self._pending: set[asyncio.Task[None]] = set()
        self.attempts: list[Attempt] = []

    def schedule(self, due: float, task_id: str, url: str, write: Callable[[], bytes]) -> None:
        """Send at `due` (unix seconds) what `write` says then, which holds the day's balance."""
        sending = asyncio.create_task(self._deliver(due, task_id, url, write))
        self._pending.add(sending)
        sending.add_done_callback(self._pending.discard)

    async def forget(self) -> None:
        """Drop what is still to be sent, and the record of what was."""
        pending = list(self._pending)
        for sending in pending:
            sending.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        self.attempts.clear()

    async def aclose(self) -> None:
        await self.forget()
        await self._client.aclose()

    async def _deliver(
        self, due: float, task_id: str, url: str, write: Callable[[], bytes]
    ) -> None:
        await _until(due)
        body = write()
        for attempt, step in enumerate((0, *RETRY_STEPS), start=1):
            await asyncio.sleep(step * self._retry_delay)
            at = time.time()
            status = await self._post(url, body, self._signature(task_id, int(at)))
            self.attempts.append(
                Attempt(task_id=task_id, url=url, attempt=attempt, status=status, at=at)
            )
            if status == HTTPStatus.OK:
                return

    async def _post(self, url: str, body: bytes, headers: dict[str, str]) -> int | None:
        """POST once. A customer's URL can be wrong in more ways than httpx has exceptions for."""
        try:
            async with asyncio.timeout(TIMEOUT):
                response = await self._client.post(url, content=body, headers=headers)
        except Exception as error:  # noqa: BLE001  # a port of 99999 is an ExceptionGroup
            log.warning("no answer from %r: %r", url, error)
            return None
        return response.status_code

    def _signature(self, task_id: str, timestamp: int) -> dict[str, str]:
        """Sign id and time; like the vendor's, it does not cover the body."""
        if self._hmac_key is None:
            return {}
        signed = f"{task_id}.{timestamp}".encode()
        digest = hmac.new(self._hmac_key.encode(), signed, hashlib.sha256).digest()
        return {
            "X-Webhook-Timestamp": str(timestamp),
            "X-Webhook-Signature": base64.b64encode(digest).decode(),
        }


async def _until(instant: float) -> None:
    """Wait by the clock that states are told by: timers may fire a little early."""
    while (left := instant - time.time()) > 0:  # noqa: ASYNC110  # an instant, not an event
        await asyncio.sleep(left)
