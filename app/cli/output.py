"""Tables for people, and the same as JSON: how every listing command prints."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import typer

WIDE = 200
"""Columns of a table in a pipe: each id stays whole, on one line."""


def show(columns: Sequence[str], rows: Sequence[Sequence[object]], *, err: bool = False) -> None:
    """Print a table, to stderr if `err`; what others wrote is never taken for markup.

    Without rows it says so on stderr, so that a pipe gets nothing.
    """
    if not rows:
        typer.echo("nothing to list", err=True)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))
    console = Console(stderr=err)
    if not console.is_terminal:
        console.width = WIDE
    console.print(table)


def cell(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def show_json(value: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
    """Print JSON with times as the API writes them."""
    from app.domain.exact_json import render

    typer.echo(render(value))


def pretty(value: object) -> str:
    """Write JSON for reading, every digit kept."""
    import simplejson

    return simplejson.dumps(value, use_decimal=True, ensure_ascii=False, indent=2)
