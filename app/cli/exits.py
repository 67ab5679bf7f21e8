"""How a command ends when it cannot do its work: a line on stderr, and a status."""

from typing import NoReturn

import typer

FAILED = 1
WRONG_USE = 2
"""Settings or arguments that cannot be used; typer ends with the same."""


def give_up(message: str, status: int = FAILED) -> NoReturn:
    """Say why on stderr and end with `status`."""
    typer.echo(message, err=True)
    raise typer.Exit(status)


def reason(error: OSError) -> str:
    """Return only the system's words; asyncio and socket put the address behind them."""
    return (error.strerror or str(error)).partition(" (")[0]
