"""One attack: who makes it, what it does, and the bounds that it must not break."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What an attacker knows; it crosses to its process as JSON."""

    url: str
    """The gateway's, every surface."""
    kie: str
    """The simulator's, for what only kie.ai knows: callback URLs."""
    admin_key: str
    api_key: str
    """The attacker's own, of a client `noisy`."""
    dsn: str = ""
    """The database, for what it would take too long to make by requests."""
    hook: str = ""
    """Where the well-behaved client is notified; `/after-N` there answers after N seconds."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the preparation found."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def client(self, **options: Any) -> httpx.AsyncClient:
        """Return a client with the attacker's key."""
        headers = {"Authorization": f"Bearer {self.api_key}"}
        limits = httpx.Limits(max_connections=None)
        return httpx.AsyncClient(
            base_url=self.url,
            headers=headers,
            timeout=60,
            limits=limits,
            trust_env=False,
            **options,
        )


Act = Callable[[Target], Coroutine[Any, Any, str]]
"""What an attacker does; returns what the gateway answered, in a few words."""
Prepare = Callable[[Target], Coroutine[Any, Any, Mapping[str, Any]]]
"""What has to be there first; returns the facts."""


async def pause(seconds: float) -> None:
    """Go on after so long: attacks, and looks at what they do, have a pace and a length."""
    await asyncio.sleep(seconds)


async def nothing(_: Target) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """An attack, and what must hold while it lasts."""

    name: str
    title: str
    act: Act
    prepare: Prepare = nothing
    settings: Mapping[str, str] = field(default_factory=dict)
    memory: float = 100.0
    """Megabytes by which the process may grow."""
    database: float = 20.0
    """Megabytes by which the database may grow."""
    queries: int | None = None
    """Queries to kie.ai that it may cause; None: that is not what it is about."""
    webhook: float | None = None
    """Seconds within which another client's tasks are done and reported; None: not judged."""
    slower: float | None = None
    """How many times its quiet p95 another client's reads may take; None: only `/livez` is judged,
    within a second, since strangers meet no limit per client."""
