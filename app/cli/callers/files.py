"""`kie-gateway files`: a caller's input files, from a terminal."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.callers.client import calling
from app.cli.exits import WRONG_USE, give_up
from app.cli.options import HERE, Key, Url
from app.cli.output import pretty

app = typer.Typer(
    help="""Upload input files to kie.ai through a running gateway.

    With the URL of a running gateway and an API key. An input names a file
    by its `reference`.

    \b
    export KIE_GATEWAY_URL=https://gateway.internal
    export KIE_GATEWAY_API_KEY=kgw_…
    kie-gateway files upload portrait.png
    """,
    no_args_is_help=True,
)


@app.command()
def upload(
    source: Annotated[str, typer.Argument(help="A file of this machine, or a public URL.")],
    key: Key,
    name: Annotated[str | None, typer.Option(help="What to call it.")] = None,
    url: Url = HERE,
) -> None:
    """Upload a file and print what kie.ai has.

    KIE_GATEWAY_URL and KIE_GATEWAY_API_KEY can be set instead of --url, --key.

    \b
    kie-gateway files upload portrait.png
    kie-gateway files upload https://cdn.example/portrait.png
    """
    with calling(url, key) as gateway:
        if source.startswith(("http://", "https://")):
            file = gateway.upload_url(source, name=name)
        else:
            path = Path(source)
            if not path.is_file():
                give_up(f"{source} is no file of this machine, and no URL", WRONG_USE)
            file = gateway.upload(path, name=name)
    typer.echo(pretty(file))


@app.command()
def get(
    file_id: Annotated[str, typer.Argument(help="The file's id, as `upload` prints it.")],
    key: Key,
    url: Url = HERE,
) -> None:
    """Print a file: its URL at kie.ai, and until when it is there.

    KIE_GATEWAY_URL and KIE_GATEWAY_API_KEY can be set instead of --url, --key.

    \b
    kie-gateway files get 0193a1f2-5b7c-7d1e-9c3a-2f4b6d8e0a1c
    """
    with calling(url, key) as gateway:
        typer.echo(pretty(gateway.file(file_id)))


@app.command("list")
def list_files(
    key: Key,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at most.")] = 20,
    url: Url = HERE,
) -> None:
    """List your files, newest first, as JSON.

    KIE_GATEWAY_URL and KIE_GATEWAY_API_KEY can be set instead of --url, --key.

    \b
    kie-gateway files list --limit 5
    """
    with calling(url, key) as gateway:
        found = list(gateway.files(most=limit))
    if not found:
        typer.echo("you have no files", err=True)
    for file in found:
        typer.echo(pretty(file))
