"""Sends callbacks: signed POSTs, each one again until it is acknowledged."""

import asyncio
import base64
import hashlib
import hmac
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import httpx

from simulator.callback_faults import Callback, Signing

TIMEOUT = 15.0
"""Seconds that the receiver has to answer, all in all."""
RETRY_STEPS = (1, 2, 4)
"""What is waited before each retry, in units of the retry delay."""
STALE_AGE = 600
"""Seconds: twice what kie.ai recommends that receivers allow."""
NOTHING: Mapping[str, str] = {}
WRONG_KEY = "whoever wrote this does not have the key"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackAttempt:
    """One POST that was made; `at` is unix seconds, `attempt` counts from 1."""

    task_id: str
    url: str
    attempt: int
    status: int | None
    """None: there was no answer."""
    at: float


class CallbackSender:
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
        self._waiting: list[tuple[str, asyncio.Event]] = []
        self.attempts: list[CallbackAttempt] = []

    def send(self, task_id: str, url: str, callbacks: Iterable[Callback]) -> list[asyncio.Event]:
        """Send callbacks when they are due; each event is set when a first attempt is over."""
        return [self._schedule(task_id, url, callback) for callback in callbacks]

    def _schedule(self, task_id: str, url: str, callback: Callback) -> asyncio.Event:
        tried = asyncio.Event()
        sending = asyncio.create_task(self._deliver(task_id, url, callback, tried))
        self._pending.add(sending)
        sending.add_done_callback(self._pending.discard)
        sending.add_done_callback(lambda _: tried.set())  # also when it is dropped before
        return tried

    async def clear(self) -> None:
        """Drop what is still to be sent, and the record of what was."""
        pending = list(self._pending)
        for sending in pending:
            sending.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        self.attempts.clear()

    async def aclose(self) -> None:
        await self.clear()
        await self._client.aclose()

    async def _deliver(
        self,
        task_id: str,
        url: str,
        callback: Callback,
        tried: asyncio.Event,
        seen: Mapping[str, str] = NOTHING,
    ) -> None:
        """`seen` is the signature of the callback before it."""
        await _until(callback.due)
        if callback.wait_for_another:
            await self._wait_for_another(task_id, callback.wait_for_another)
        body, headers = callback.write(), seen
        for attempt, step in enumerate((0, *RETRY_STEPS), start=1):
            await asyncio.sleep(step * self._retry_delay)
            at = time.time()
            if callback.signing is not Signing.REPLAYED:
                headers = self._signature(task_id, int(at), callback.signing)
            status = await self._post(url, body, headers)
            heard = status if attempt > callback.lost_answers else None
            self.attempts.append(
                CallbackAttempt(task_id=task_id, url=url, attempt=attempt, status=heard, at=at)
            )
            tried.set()
            if heard == HTTPStatus.OK:
                self._release(task_id)
                break
        if callback.then:
            await self._deliver(task_id, url, callback.then, tried, headers)

    async def _wait_for_another(self, task_id: str, seconds: float) -> None:
        """Wait until another task's callback has been acknowledged, or for so long."""
        overtaken = asyncio.Event()
        self._waiting.append((task_id, overtaken))
        try:
            async with asyncio.timeout(seconds):
                await overtaken.wait()
        except TimeoutError:
            log.debug("nothing overtook the callback of %r", task_id)
        finally:
            self._waiting.remove((task_id, overtaken))

    def _release(self, task_id: str) -> None:
        for waiting_id, overtaken in self._waiting:
            if waiting_id != task_id:
                overtaken.set()

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int | None:
        """POST once. A caller's URL can be wrong in more ways than httpx has exceptions for."""
        try:
            async with asyncio.timeout(TIMEOUT):
                response = await self._client.post(url, content=body, headers=headers)
        except Exception as error:  # noqa: BLE001  # a port of 99999 is an ExceptionGroup
            log.warning("no answer from %r: %r", url, error)
            return None
        return response.status_code

    def _signature(self, task_id: str, now: int, signing: Signing) -> dict[str, str]:
        """Sign id and time; like the vendor's, it does not cover the body."""
        key = WRONG_KEY if signing is Signing.FORGED else self._hmac_key
        if key is None or signing is Signing.MISSING:
            return {}
        timestamp = now - STALE_AGE if signing is Signing.STALE else now
        digest = hmac.digest(key.encode(), f"{task_id}.{timestamp}".encode(), hashlib.sha256)
        return {
            "X-Webhook-Timestamp": str(timestamp),
            "X-Webhook-Signature": base64.b64encode(digest).decode(),
        }


async def _until(instant: float) -> None:
    """Wait by the clock that decides a task's state: timers may fire a little early."""
    while (left := instant - time.time()) > 0:  # noqa: ASYNC110  # an instant, not an event
        await asyncio.sleep(left)
