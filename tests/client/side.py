"""Both clients by one interface, so that one test speaks for both."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from kie_gateway_client import AsyncGateway, Gateway


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two clients: `call` for what returns, `all` for what hands out many."""

    name: str
    gateway: Any

    async def call(self, method: str, *given: Any, **options: Any) -> Any:
        found = getattr(self.gateway, method)
        if isinstance(self.gateway, AsyncGateway):
            return await found(*given, **options)
        return await asyncio.to_thread(found, *given, **options)

    async def all(self, method: str, *given: Any, first: int = 10_000, **options: Any) -> list[Any]:
        """Return what is handed out, and leave after the first so many."""
        found = getattr(self.gateway, method)(*given, **options)
        if not isinstance(self.gateway, AsyncGateway):
            return await asyncio.to_thread(_taken, found, first)
        taken: list[Any] = []
        try:
            async for one in found:
                taken.append(one)
                if len(taken) == first:
                    break
        finally:
            await found.aclose()
        return taken

    def patient(self, seconds: float) -> "Side":
        return Side(self.name, self.gateway.patient(seconds))


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
