"""`kie-gateway audit`: what operators did, and how long that is kept."""

import sys
from typing import Annotated

import typer

from app.cli.identity import operator
from app.cli.options import AsJson
from app.cli.output import show, show_json

app = typer.Typer(
    help="""What operators did, and what needs one: entries are only ever added.

    \b
    kie-gateway audit list
    kie-gateway audit prune --older-than 400
    """,
    no_args_is_help=True,
)


@app.command("list")
def list_entries(as_json: AsJson = False) -> None:
    """List the newest entries: who did what, to which client or task.

    \b
    kie-gateway audit list
    kie-gateway audit list --json | jq -r '.[] | [.at, .who, .action] | @tsv'

    Needs only GATEWAY_DATABASE_URL.
    """
    from app.cli.context import with_clients

    found = with_clients(lambda clients: clients.audit())
    if as_json:
        show_json(found)
        return
    columns = ("at", "who", "action", "client", "task_id", "detail")
    show(columns, [[str(row[name] or "") for name in columns] for row in found])


@app.command()
def prune(
    older_than: Annotated[int, typer.Option(min=30, max=36500, help="Days.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, on a terminal.")] = False,
) -> None:
    """Delete old entries of the audit: nothing else ever does.

    Only the role that owns the tables may: the one that runs
    `kie-gateway migrate`, not the one that `serve` and `worker` have. That
    it was done is an entry itself.

    \b
    GATEWAY_DATABASE_URL=$OWNER_URL kie-gateway audit prune --older-than 400

    Needs only GATEWAY_DATABASE_URL. Exits 1 where the role may not.
    """
    from app.cli.context import with_clients

    if not yes and sys.stdin.isatty():
        typer.confirm(f"Delete the audit of more than {older_than} days ago?", abort=True)
    pruned = with_clients(lambda clients: clients.prune_audit(operator(), days=older_than))
    typer.echo(f"deleted {pruned} entries")
