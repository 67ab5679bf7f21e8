"""A caller's webhook endpoint that answers as a test says and remembers what it heard."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.stage import eventually, serving


@dataclass(frozen=True, slots=True)
class Told:
    """One request as it came."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    def verifies(self, secret: str) -> bool:
        try:
            Webhook(secret).verify(self.body, dict(self.headers))
        except WebhookVerificationError:
            return False
        return True


@dataclass
class Hook:
    """Where it is, what it heard, and what it answers."""

    url: str = ""
    told: list[Told] = field(default_factory=list)
    status: int = 200
    answer: bytes = b"thank you"

    async def hear(self, request: Request) -> Response:
        self.told.append(Told(dict(request.headers), await request.body()))
        return Response(self.answer, self.status)

    async def hears(self, count: int) -> list[Told]:
        """Wait until it has heard so many; returns them all."""

        async def look() -> list[Told] | None:
            return self.told if len(self.told) >= count else None

        return await eventually(look)


@asynccontextmanager
async def listening() -> AsyncIterator[Hook]:
    hook = Hook()
    app = Starlette(routes=[Route("/hook", hook.hear, methods=["POST"])])
    async with serving(app) as url:
        hook.url = f"{url}/hook"
        yield hook
