"""`kie-gateway keys`: API keys of the services that call the gateway."""

import json
from datetime import datetime, timedelta
from typing import Annotated

import typer

from app.cli.exits import give_up
from app.cli.identity import operator
from app.cli.options import AsJson
from app.cli.output import cell, show, show_json
from app.domain.access import Scope

app = typer.Typer(
    help="""API keys of the services that call the gateway.

    \b
    kie-gateway keys create shop          the key of a service called shop
    kie-gateway keys list                 who has which, never the keys themselves
    kie-gateway keys revoke kgw_3tGq1b    the one that begins so, at once
    kie-gateway keys rotate-secret shop   what its webhooks are signed with
    """,
    no_args_is_help=True,
)

TIMES = ("created_at", "expires_at", "last_used_at", "revoked_at")

DAY = 24 * 3600.0
"""The usual grace; the same as the API's, as a test says."""


@app.command()
def create(
    name: Annotated[
        str,
        typer.Argument(
            help="The calling service, 1 to 64 letters, digits, dots, underscores or hyphens; "
            "it is created if it is new."
        ),
    ],
    weight: Annotated[
        int | None,
        typer.Option(
            help="The client's share of what the account may create, 1 to 100; a new client has 1."
        ),
    ] = None,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="What the key may be used for, repeatable; without it: everything."),
    ] = None,
    expires_in: Annotated[
        float | None,
        typer.Option(
            metavar="DAYS", min=0.0, max=36_500, help="When the key ends; without it: never."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Issue a key. It is shown this once; only its hash is kept.

    A client may have several keys: issue the new one, move over, revoke the
    old one. The signing secret is the client's and stays the same.

    \b
    kie-gateway keys create shop
    kie-gateway keys create shop --weight 3
    kie-gateway keys create shop --scope tasks:read --scope usage
    kie-gateway keys create shop --expires-in 90
    KEY=$(kie-gateway keys create shop --json | jq -r .api_key)

    Needs GATEWAY_SECRET_KEYS and GATEWAY_DATABASE_URL as `serve` has them.
    """
    from app.cli.context import with_keys

    issued = with_keys(
        lambda keys: keys.create(
            name,
            weight=weight,
            scopes=scope,
            expires_at=_in_days(expires_in),
            operator=operator(),
        )
    )
    names = ("client", "api_key", "signing_secret", "scopes", "expires_at")
    shown = {name: getattr(issued, name) for name in names}
    if as_json:
        show_json(shown)
        return
    for field in names[:3]:
        typer.echo(f"{field:<15} {shown[field]}")
    typer.echo(f"{'scopes':<15} {' '.join(issued.scopes or ('all',))}")
    typer.echo(f"{'expires_at':<15} {cell(issued.expires_at) or 'never'}")
    typer.echo("Keep the key now: it is not shown again.", err=True)


@app.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List all keys by their beginning, revoked ones too.

    \b
    kie-gateway keys list
    kie-gateway keys list --json | jq -r '.[].client' | sort -u

    Needs only GATEWAY_DATABASE_URL.
    """
    from app.cli.context import with_operations

    rows = with_operations(lambda services: services.keys.list())
    if as_json:
        show_json(rows)
        return
    show(
        ("client", "id", "key", "scopes", *(name.removesuffix("_at") for name in TIMES)),
        [
            (
                *(row["client"], row["id"], f"{row['hint']}…", " ".join(row["scopes"] or ["all"])),
                *(row[name] for name in TIMES),
            )
            for row in rows
        ],
    )


@app.command()
def revoke(
    which: Annotated[str, typer.Argument(help="The key's id, or its beginning, as `list` shows.")],
) -> None:
    """Revoke a key at once and for good.

    \b
    kie-gateway keys revoke kgw_3tGq1b
    kie-gateway keys revoke 0193a1f2-5b7c-7d1e-9c3a-2f4b6d8e0a1c

    Needs only GATEWAY_DATABASE_URL.
    """
    from app.cli.context import with_operations

    count = with_operations(
        lambda services: services.keys.revoke(which.rstrip("…"), operator=operator())
    )
    if count == 0:
        give_up("No active key has this id or beginning; see `kie-gateway keys list`.")
    typer.echo(f"revoked {count}")


@app.command("rotate-secret")
def rotate_secret(
    name: Annotated[str, typer.Argument(help="The client, by its name.")],
    grace: Annotated[
        float, typer.Option(help="Seconds for which the previous secret signs too; 0: none.")
    ] = DAY,
    as_json: AsJson = False,
) -> None:
    """Give a client a new signing secret, shown this once.

    Until the grace is over each delivery carries a signature by each of the
    two, and a receiver that knows one of them accepts it: it can move over
    without a gap. Rotating again within the grace ends the oldest at once.

    \b
    kie-gateway keys rotate-secret shop
    kie-gateway keys rotate-secret shop --grace 0          it has leaked
    kie-gateway keys rotate-secret shop --json | jq -r .signing_secret

    Needs GATEWAY_SECRET_KEYS and GATEWAY_DATABASE_URL as `serve` has them.
    """
    from app.cli.context import with_keys

    rotated = with_keys(lambda keys: keys.rotate_secret(name, grace=grace, operator=operator()))
    until = rotated.previous_secret_until
    shown = {
        "client": rotated.client,
        "signing_secret": rotated.signing_secret,
        "previous_secret_until": f"{until:%Y-%m-%dT%H:%M:%SZ}" if until else None,
    }
    if as_json:
        typer.echo(json.dumps(shown))
        return
    for field, value in shown.items():
        typer.echo(f"{field:<21} {value or 'now'}")
    typer.echo("Keep the secret now: it is not shown again.", err=True)


def _in_days(days: float | None) -> datetime | None:
    from app.wiring import utc_now

    return None if days is None else utc_now() + timedelta(days=days)
