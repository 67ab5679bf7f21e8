"""`kie-gateway listen`: a small receiver of webhooks, to develop a real one against."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.exits import WRONG_USE, give_up, reason
from app.cli.options import HIGHEST_PORT

if TYPE_CHECKING:
    from standardwebhooks import Webhook

SECRET = "KIE_GATEWAY_SIGNING_SECRET"  # noqa: S105  # a name, no secret


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

    For developers of a receiver: use the same library in yours
    (docs/receiving.md). Answers --status to what verifies, and 401 to what
    does not. Any path will do. Deliveries to this machine need a gateway with
    GATEWAY_DELIVERY_ALLOW_LOOPBACK; `dev` has it.

    \b
    kie-gateway listen --secret whsec_…
    kie-gateway listen --status 500               to see it come again
    kie-gateway listen --count 1 --json | jq .body.data.state

    KIE_GATEWAY_SIGNING_SECRET can be set instead of --secret. Exits 1 where a
    signature was wrong or the port cannot be used, 2 where there is no
    secret.
    """
    from app.cli.processes.receiver import Heard, Listener, receive
    from app.cli.processes.server import listening
    from app.config.values import Address

    say: Callable[[Heard], str] = Heard.as_json if as_json else Heard.as_line
    heard = Listener(_webhook(secret, secret_file), status, lambda one: typer.echo(say(one)), count)
    with listening(Address(host, port)) as opened:
        receive(heard, opened, lambda url: typer.echo(f"listening at {url}", err=True))
    if heard.wrong:
        give_up(f"{heard.wrong} did not verify: is it this client's secret?")


def _webhook(secret: str | None, file: Path | None) -> "Webhook":
    if file is not None:
        try:
            secret = file.read_text().strip()
        except OSError as error:
            give_up(f"--secret-file: {reason(error)}", WRONG_USE)
    if not secret:
        give_up(f"the signing secret is missing: --secret, --secret-file or {SECRET}", WRONG_USE)
    from standardwebhooks import Webhook

    try:
        return Webhook(secret)
    except Exception:  # noqa: BLE001  # whatever the library has against it
        give_up("--secret: should be whsec_ and base64, as `keys create` prints it", WRONG_USE)
