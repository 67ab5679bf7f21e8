"""`kie-gateway admin-keys`: keys of those who operate the gateway."""

import json
from typing import Annotated

import typer

from app.cli.identity import operator
from app.cli.options import AsJson
from app.cli.output import show, show_json
from app.domain.access import Role

app = typer.Typer(
    help="""Keys of the people and programs that use the admin API.

    \b
    kie-gateway admin-keys create ann --role operate
    kie-gateway admin-keys list
    kie-gateway admin-keys revoke ann

    GATEWAY_ADMIN_KEY is the first one, has every role, and is no part of the
    list. Without that setting there is no admin API.
    """,
    no_args_is_help=True,
)

TIMES = ("created_at", "last_used_at", "revoked_at")


@app.command()
def create(
    name: Annotated[
        str,
        typer.Argument(
            help="The person or program, 1 to 64 letters, digits, dots, underscores or hyphens. "
            "The audit names it, so a name is never used again."
        ),
    ],
    role: Annotated[
        Role,
        typer.Option(
            help="`read` looks; `operate` also pauses and acts on tasks; `keys` also manages "
            "clients and keys."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Issue an admin key. It is shown this once; only its hash is kept.

    \b
    kie-gateway admin-keys create ann --role operate
    kie-gateway admin-keys create dashboard --role read --json | jq -r .admin_key

    Needs only GATEWAY_DATABASE_URL. Exits 2 where the name is taken.
    """
    from app.cli.context import with_operations

    issued = with_operations(lambda services: services.admin_keys.create(operator(), name, role))
    shown = {field: str(getattr(issued, field)) for field in ("name", "role", "admin_key")}
    if as_json:
        typer.echo(json.dumps(shown))
        return
    for field, value in shown.items():
        typer.echo(f"{field:<10} {value}")
    typer.echo("Keep the key now: it is not shown again.", err=True)


@app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List all admin keys but GATEWAY_ADMIN_KEY, revoked ones too.

    \b
    kie-gateway admin-keys list
    kie-gateway admin-keys list --json | jq -r '.[] | [.name, .role] | @tsv'

    Needs only GATEWAY_DATABASE_URL.
    """
    from app.cli.context import with_operations

    rows = with_operations(lambda services: services.admin_keys.list())
    if as_json:
        show_json(rows)
        return
    columns = ("name", "role", "hint", *TIMES)
    show(
        tuple(name.removesuffix("_at") for name in columns),
        [[row[name] for name in columns] for row in rows],
    )


@app.command()
def revoke(name: Annotated[str, typer.Argument(help="The admin key, by its name.")]) -> None:
    """Revoke an admin key at once and for good; its name stays taken.

    \b
    kie-gateway admin-keys revoke ann

    Needs only GATEWAY_DATABASE_URL. Exits 1 where no such key lives.
    """
    from app.cli.context import with_operations

    with_operations(lambda services: services.admin_keys.revoke(operator(), name))
    typer.echo(f"revoked {name}")
