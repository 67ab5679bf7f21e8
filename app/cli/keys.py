"""`kie-gateway keys`: API keys of the services that call the gateway."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from app.cli.setup import dsn, give_up, require_secret, settings, with_database
from app.config import Settings
from app.domain.errors import GatewayError
from app.services.keys import Issued, Keys
from app.wiring import wired

app = typer.Typer(help="API keys of the services that call the gateway.", no_args_is_help=True)

Result = TypeVar("Result")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="The client; it is created if it is new.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Issue a key. It is shown this once; only its hash is kept."""
    issued = _with_keys(lambda keys: keys.create(name))
    if as_json:
        typer.echo(json.dumps(asdict(issued)))
        return
    for field, value in asdict(issued).items():
        typer.echo(f"{field:<15} {value}")
    typer.echo("Keep the key now: it is not shown again.", err=True)


@app.command("list")
def list_keys(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List all keys, revoked ones too."""
    rows = [
        {name: None if value is None else str(value) for name, value in row.items()}
        for row in _with_keys(lambda keys: keys.list())
    ]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table("client", "id", "key", "created", "revoked")
    for row in rows:
        table.add_row(
            row["client"], row["id"], f"{row['hint']}…", row["created_at"], row["revoked_at"] or ""
        )
    Console().print(table)


@app.command()
def revoke(
    which: Annotated[str, typer.Argument(help="The key's id, or its beginning, as `list` shows.")],
) -> None:
    """Revoke a key at once and for good."""
    count = _with_keys(lambda keys: keys.revoke(which.rstrip("…")))
    if count == 0:
        give_up("No living key has this id or beginning; see `kie-gateway keys list`.")
    typer.echo(f"revoked {count}")


async def issue(found: Settings, name: str) -> Issued:
    """Issue a key with settings that name a database."""
    async with wired(found, dsn(found)) as services:
        return await services.keys.create(name)


def _with_keys(use: Callable[[Keys], Awaitable[Result]]) -> Result:
    found = settings()
    require_secret(found)

    async def used(ready: Settings) -> Result:
        async with wired(ready, dsn(ready)) as services:
            return await use(services.keys)

    with with_database(found) as ready:
        try:
            return asyncio.run(used(ready))
        except GatewayError as error:
            give_up(error.detail)
