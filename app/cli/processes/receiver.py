"""A small receiver of webhooks: it verifies each, answers it, and shows what came."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from app.cli.processes.server import Server
from app.domain.exact_json import parse, render

MAX_BODY = 64 * 1024 * 1024
UNAUTHORIZED = 401


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One delivery as it came."""

    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    trouble: str | None
    """Why it does not verify; None: it does."""
    repeated: bool
    """Its `webhook-id` came before."""
    status: int
    """What it was answered."""

    def as_json(self) -> str:
        names = ("webhook-id", "webhook-timestamp")
        shown = {
            "verified": self.trouble is None,
            "trouble": self.trouble,
            "repeated": self.repeated,
            **{name.replace("-", "_"): self.headers.get(name) for name in names},
            "status": self.status,
            "body": self._document(),
        }
        return render(shown)

    def as_line(self) -> str:
        """Write it for people; what others wrote cannot move the cursor."""
        document = self._document()
        body = document if isinstance(document, dict) else {}
        data = body.get("data") if isinstance(body.get("data"), dict) else {}
        words = (
            "verified" if self.trouble is None else f"WRONG SIGNATURE ({self.trouble})",
            body.get("type") or (data or {}).get("state"),  # the latter in kie.ai's own body
            (data or {}).get("id") or (data or {}).get("taskId"),
            self.headers.get("webhook-id"),
            "(came before)" if self.repeated else None,
            f"answered {self.status}",
        )
        return "  ".join(_printable(str(word)) for word in words if word is not None)

    def _document(self) -> Any:  # noqa: ANN401  # JSON is any of six types
        try:
            return parse(self.body)
        except ValueError:
            return self.body.decode("utf-8", "replace")


class Listener:
    """Verifies what comes, answers it, and shows it."""

    def __init__(
        self, webhook: Webhook, status: int, show: Callable[[Heard], None], most: int | None
    ) -> None:
        self._webhook = webhook
        self._status = status
        self._show = show
        self._most = most
        self._seen: set[str] = set()
        self._heard = 0
        self.wrong = 0
        """How many did not verify."""
        self.done = asyncio.Event()

    def app(self) -> Starlette:
        route = Route("/{path:path}", self._hear, methods=["POST"])
        return Starlette(routes=[route], max_body_size=MAX_BODY)

    async def _hear(self, request: Request) -> Response:
        try:
            body = await request.body()
        except ClientDisconnect:
            return Response(status_code=400)
        if self._most is not None and self._heard >= self._most:
            return Response(status_code=503)  # it comes again, to the next listener
        headers = dict(request.headers)
        trouble = self._trouble(body, headers)
        message = headers.get("webhook-id", "")
        heard = Heard(
            headers=headers,
            body=body,
            trouble=trouble,
            repeated=message in self._seen,
            status=self._status if trouble is None else UNAUTHORIZED,
        )
        self._note(message, heard)
        return Response(status_code=heard.status)

    def _note(self, message: str, heard: Heard) -> None:
        self._heard += 1
        if heard.trouble is None:
            self._seen.add(message)
        else:
            self.wrong += 1
        self._show(heard)
        if self._heard == self._most:
            self.done.set()

    def _trouble(self, body: bytes, headers: dict[str, str]) -> str | None:
        try:
            self._webhook.verify(body, headers, json_parse=False)
        except WebhookVerificationError as error:
            return str(error).lower()
        except UnicodeDecodeError:
            return "the body is not utf-8"
        except ValueError:  # the library's own reading of headers that are none
            return "unreadable signature headers"
        return None


def receive(listener: Listener, opened: socket.socket, announce: Callable[[str], None]) -> None:
    """Serve until a signal, or until enough has come."""
    config = uvicorn.Config(
        listener.app(), log_config=None, access_log=False, timeout_graceful_shutdown=3
    )
    asyncio.run(_until_done(Server(config, announce=announce), opened, listener.done))


async def _until_done(server: Server, listener: socket.socket, done: asyncio.Event) -> None:
    async def stop() -> None:
        await done.wait()
        server.end()

    stopping = asyncio.create_task(stop())
    await server.serve(sockets=[listener])
    stopping.cancel()


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)
