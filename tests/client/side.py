"""Both clients by one interface, so that one test speaks for both."""

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from kie_gateway_client import AsyncGateway, Gateway

PATIENCE = 60.0
"""Seconds after which a call counts as one that hangs."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two clients: `call` for what returns, `all` for what hands out many."""

    name: str
    gateway: Any

    async def call(self, method: str, *given: Any, **options: Any) -> Any:
        found = getattr(self.gateway, method)
        if isinstance(self.gateway, AsyncGateway):
            async with asyncio.timeout(PATIENCE):
                return await found(*given, **options)
        return await in_thread(lambda: found(*given, **options))

    async def all(self, method: str, *given: Any, first: int = 10_000, **options: Any) -> list[Any]:
        """Return what is handed out, and leave after the first so many."""
        found = getattr(self.gateway, method)(*given, **options)
        if not isinstance(self.gateway, AsyncGateway):
            return list(await in_thread(lambda: _taken(found, first)))
        taken: list[Any] = []
        async with asyncio.timeout(PATIENCE), contextlib.aclosing(found):
            async for one in found:
                taken.append(one)
                if len(taken) == first:
                    break
        return taken

    def patient(self, seconds: float) -> "Side":
        return Side(self.name, self.gateway.patient(seconds))


async def in_thread(work: Callable[[], Any]) -> Any:
    """Run it in a thread that nobody waits for at the end: a call that hangs fails its test."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Callable[[], Any]] = loop.create_future()

    def settle(outcome: Callable[[], Any]) -> None:
        if not done.done():
            done.set_result(outcome)

    def run() -> None:
        try:
            found = work()
        except Exception as error:  # noqa: BLE001  # it is raised where it is waited for
            outcome = functools.partial(_raised, error)
        else:
            outcome = functools.partial(_same, found)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=run, daemon=True).start()
    async with asyncio.timeout(PATIENCE):
        outcome = await done
    return outcome()


def _raised(error: Exception) -> Any:
    raise error


def _same(found: Any) -> Any:
    return found


def _taken(found: Any, first: int) -> list[Any]:
    taken = list(islice(found, first))
    found.close()
    return taken


SIDES: dict[str, Callable[..., Any]] = {"sync": Gateway, "async": AsyncGateway}


async def closing(gateway: Any) -> None:
    if isinstance(gateway, AsyncGateway):
        await gateway.close()
    else:
        gateway.close()
