"""`kie-gateway listen`: a small receiver of webhooks, for whoever writes a real one."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from app.cli.context import HIGHEST_PORT, WRONG_USE, give_up, reason
from app.cli.server import Server, listening
from app.config import Address
from app.domain.exact_json import parse, render

SECRET = "KIE_GATEWAY_SIGNING_SECRET"  # noqa: S105  # a name, no secret
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
        """Write it for people; what others wrote can move no cursor."""
        document = self._document()
        body = document if isinstance(document, dict) else {}
        data = body.get("data") if isinstance(body.get("data"), dict) else {}
        words = (
            "verified" if self.trouble is None else f"WRONG SIGNATURE ({self.trouble})",
            body.get("type") or (data or {}).get("state"),  # the latter as kie.ai tells it
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
    """Verifies what comes, answers it, and tells of it."""

    def __init__(
        self, webhook: Webhook, status: int, tell: Callable[[Heard], None], most: int | None
    ) -> None:
        self._webhook = webhook
        self._status = status
        self._tell = tell
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
            return Response(status_code=503)  # it comes again, to whoever listens next
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
        self._tell(heard)
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


def listen(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=HIGHEST_PORT, help="Port; 0 takes a free one and prints it.")
    ] = 8200,
    secret: Annotated[
        str | None,
        typer.Option(
            envvar=SECRET,
            help="The client's signing secret, whsec_…, as `keys create` prints it.",
            show_default=False,
        ),
    ] = None,
    secret_file: Annotated[
        Path | None,
        typer.Option(help="A file with the secret in it.", show_default=False),
    ] = None,
    status: Annotated[
        int, typer.Option(min=200, max=599, help="What to answer what verifies: 500, 410, …")
    ] = 200,
    count: Annotated[
        int | None, typer.Option(min=1, help="End after so many; none: at Ctrl-C.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each as a line of JSON, with its body.")
    ] = False,
) -> None:
    """Receive webhooks, verify each by its signature, and print it.

    For whoever writes a receiver: the same library is meant for yours
    (docs/receiving.md). Answers --status to what verifies, and 401 to what
    does not. Any path will do. Deliveries to this machine need a gateway with
    GATEWAY_DELIVERY_ALLOW_LOOPBACK; `dev` has it.

    \b
    kie-gateway listen --secret whsec_…
    kie-gateway listen --status 500               to see it come again
    kie-gateway listen --count 1 --json | jq .body.data.state

    KIE_GATEWAY_SIGNING_SECRET may stand for --secret. Exits 1 where a
    signature was wrong or the port cannot be used, 2 where there is no
    secret.
    """
    webhook = _webhook(secret, secret_file)
    say: Callable[[Heard], str] = Heard.as_json if as_json else Heard.as_line
    with listening(Address(host, port)) as listener:
        heard = Listener(webhook, status, lambda one: typer.echo(say(one)), count)
        server = Server(
            uvicorn.Config(
                heard.app(), log_config=None, access_log=False, timeout_graceful_shutdown=3
            ),
            announce=lambda url: typer.echo(f"listening at {url}", err=True),
        )
        asyncio.run(_until_done(server, listener, heard.done))
    if heard.wrong:
        give_up(f"{heard.wrong} did not verify: is it this client's secret?")


async def _until_done(server: Server, listener: socket.socket, done: asyncio.Event) -> None:
    """Serve until told to stop, or until enough has come."""

    async def stop() -> None:
        await done.wait()
        server.should_exit = True

    stopping = asyncio.create_task(stop())
    await server.serve(sockets=[listener])
    stopping.cancel()


def _webhook(secret: str | None, file: Path | None) -> Webhook:
    if file is not None:
        try:
            secret = file.read_text().strip()
        except OSError as error:
            give_up(f"--secret-file: {reason(error)}", WRONG_USE)
    if not secret:
        give_up(f"the signing secret is missing: --secret, --secret-file or {SECRET}", WRONG_USE)
    try:
        return Webhook(secret)
    except Exception:  # noqa: BLE001  # whatever the library has against it
        give_up("--secret: should be whsec_ and base64, as `keys create` prints it", WRONG_USE)


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)
