"""`kie-gateway secrets`."""

import secrets

import typer

app = typer.Typer(help="Make secrets for the settings.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `generate` a word of its own, whatever stands beside it."""


@app.command()
def generate() -> None:
    """Print a new secret, for GATEWAY_SECRET_KEYS or GATEWAY_ADMIN_KEY.

    \b
    GATEWAY_SECRET_KEYS='["NEW", "OLD"]'   the first signs and seals, all verify and open
    """
    typer.echo(secrets.token_urlsafe(32))
