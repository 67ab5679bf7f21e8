"""Gateways that many tests of a module call: starting one is half of what a short test takes.

For tests that leave nothing in a gateway but rows. It learns nothing of a test that another may
see: limits and keys go by clients, which are new in each test. They end with the module, since they
are among the processes that the database knows of.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from app.config import Settings
from app.main import create_app
from app.services.services import Services
from tests.stage import serving

Served = tuple[str, Settings, Services]
"""The URL of a gateway, its settings, and the services behind its routes."""

KEPT = 4
"""Gateways between two tests: each has connections, and a server admits few."""


@dataclass(slots=True)
class _Gateway:
    overrides: Mapping[str, Any]
    served: Served
    closing: AsyncExitStack
    lent: bool = field(default=True)


class Shelf:
    """Serves gateways without loops; who was used last is kept the longest."""

    def __init__(self, make_settings: Callable[..., Settings]) -> None:
        self._make_settings = make_settings
        self._kept: list[_Gateway] = []

    @asynccontextmanager
    async def lent(self, overrides: Mapping[str, Any]) -> AsyncIterator[Served]:
        """Lend a gateway of these settings that nobody has."""
        found = next((one for one in self._kept if self._fits(one, overrides)), None)
        if found is None:
            found = await self._new(overrides)
        else:
            self._kept.remove(found)
        self._kept.append(found)
        found.lent = True
        try:
            yield found.served
        finally:
            found.lent = False

    async def keep(self, most: int) -> None:
        """Stop all but the last used, while nobody has one."""
        while len(self._kept) > most:
            await self._kept.pop(0).closing.aclose()

    @staticmethod
    def _fits(one: _Gateway, overrides: Mapping[str, Any]) -> bool:
        return not one.lent and one.overrides == overrides

    async def _new(self, overrides: Mapping[str, Any]) -> _Gateway:
        settings = self._make_settings(**overrides)
        app = create_app(settings, worker=False)
        async with AsyncExitStack() as stack:
            url = await stack.enter_async_context(serving(app))
            served = url, settings, app.state.services
            return _Gateway(overrides, served, stack.pop_all())
