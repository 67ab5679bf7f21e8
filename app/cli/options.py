"""Options that several commands have."""

from typing import Annotated

import typer

HIGHEST_PORT = 65535
HERE = "http://127.0.0.1:8000"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Url = Annotated[
    str, typer.Option("--url", envvar="KIE_GATEWAY_URL", help="Where the gateway listens.")
]
_KEY = typer.Option(
    "--key",
    envvar="KIE_GATEWAY_API_KEY",
    help="An API key, as `kie-gateway keys create` prints it.",
    show_default=False,
)
Key = Annotated[str, _KEY]
OptionalKey = Annotated[str | None, _KEY]
Host = Annotated[str | None, typer.Option(help="Address; default: the setting's.")]
Port = Annotated[
    int | None,
    typer.Option(min=0, max=HIGHEST_PORT, help="Port, 0 for any free one; default: the setting's."),
]
