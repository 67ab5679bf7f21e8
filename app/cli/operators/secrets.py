"""`kie-gateway secrets`."""

import secrets

import typer

from app.cli.identity import operator
from app.cli.options import AsJson
from app.cli.output import show_json

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Make secrets for the settings, and retire them.

    \b
    kie-gateway secrets generate
    kie-gateway secrets reseal
    """


@app.command()
def generate() -> None:
    """Print a new secret of 256 random bits.

    For GATEWAY_SECRET_KEYS, GATEWAY_CALLBACK_KEYS, or GATEWAY_ADMIN_KEY.

    \b
    export GATEWAY_SECRET_KEYS="[\\"$(kie-gateway secrets generate)\\"]"
    GATEWAY_SECRET_KEYS='["NEW", "OLD"]'  the first signs, all verify
    """
    typer.echo(secrets.token_urlsafe(32))


@app.command()
def reseal(as_json: AsJson = False) -> None:
    """Seal clients' signing secrets with the first of GATEWAY_SECRET_KEYS.

    The step after a new first entry, and before an old one goes: what an old
    entry still seals could not be opened without it. All processes have to
    have the new entry by then. It may be ended and run again, beside running
    processes, and is kept in the audit. Exits 1 where a secret could not be
    opened: put its entry back, or kie-gateway keys rotate-secret.

    \b
    kie-gateway secrets reseal
    kie-gateway secrets reseal --json | jq .resealed
    kie-gateway doctor                 says how many are left

    Needs GATEWAY_SECRET_KEYS and GATEWAY_DATABASE_URL.
    """
    from app.cli.context import to_stderr, with_operations

    found = with_operations(
        lambda services: services.resealing.reseal(
            operator=operator(), progress=lambda done: to_stderr(f"{done} secrets looked at")
        ),
        signs=True,
    )
    if as_json:
        show_json({"secrets": found.total, "resealed": found.old, "unopened": found.unopened})
    else:
        typer.echo(
            f"{found.total} secrets: {found.old} resealed, {found.unopened} cannot be opened"
        )
    if found.unopened:
        raise typer.Exit(1)
