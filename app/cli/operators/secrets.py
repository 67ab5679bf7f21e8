"""`kie-gateway secrets`."""

import secrets

import typer

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Make secrets for the settings.

    \b
    kie-gateway secrets generate
    """


@app.command()
def generate() -> None:
    """Print a new secret of 256 random bits.

    For GATEWAY_SECRET_KEYS, or GATEWAY_ADMIN_KEY.

    \b
    export GATEWAY_SECRET_KEYS="[\\"$(kie-gateway secrets generate)\\"]"
    GATEWAY_SECRET_KEYS='["NEW", "OLD"]'  the first signs, all verify
    """
    typer.echo(secrets.token_urlsafe(32))
