"""`kie-gateway clients`: the calling services and their shares of the account."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from app.cli.setup import with_operations
from app.cli.tables import show, show_json
from app.domain.audit import Actor

app = typer.Typer(
    help="""The calling services and their shares of what the account may create.

    \b
    kie-gateway clients list
    kie-gateway clients set shop --weight 3

    Works on the database itself, so it needs no running gateway and no key.
    A client is made by `kie-gateway keys create`.
    """,
    no_args_is_help=True,
)

COLUMNS: Mapping[str, str] = {
    "client": "client",
    "weight": "weight",
    "queued": "queued",
    "paused_at": "paused",
    "pause_note": "note",
}


@app.command("list")
def list_clients(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the clients: weight, tasks that wait, whether they are paused.

    \b
    kie-gateway clients list
    kie-gateway clients list --json | jq -r '.[] | select(.queued > 0).client'

    Needs GATEWAY_DATABASE_URL alone.
    """
    found = with_operations(lambda operations: operations.clients())
    show_json(found) if as_json else show_clients(found)


@app.command("set")
def set_client(
    name: Annotated[str, typer.Argument(help="The client, by its name.")],
    weight: Annotated[int, typer.Option(help="Its parts, 1 to 100; a new client has 1.")],
) -> None:
    """Change a client's share.

    While several clients wait, each is sent as many tasks as its weight says:
    one with weight 3 three for each one of a client with weight 1. Who waits
    alone has everything. Counts from the next task on.

    \b
    kie-gateway clients set shop --weight 3

    Needs GATEWAY_DATABASE_URL alone. Exits 1 where there is no such client,
    2 where the weight is none.
    """
    with_operations(lambda operations: operations.weigh(Actor.COMMAND_LINE, name, weight))
    typer.echo(f"{name} has weight {weight}")


def show_clients(rows: Sequence[Mapping[str, Any]]) -> None:
    show(tuple(COLUMNS.values()), [[row[name] for name in COLUMNS] for row in rows])
