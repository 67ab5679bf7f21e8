"""The page about the commands, made from their help texts."""

from collections.abc import Iterator

import typer
from typer.core import TyperCommand, TyperGroup

from app.cli import app

_PAGE = """\
# Commands

`kie-gateway COMMAND --help` shows the options of each, with examples. They exit with 0 when done, 1
when it could not be done, and 2 when arguments or settings cannot be used. What is printed for
programs goes to stdout, what is said to you to stderr; lists have `--json`.

**Completion** for bash, zsh and fish: `kie-gateway --install-completion` installs it for the shell
that it is called from, `--show-completion` prints it for you to put where you like.

| command | |
|---|---|
{table}
This page is made from the code: `make docs`.
"""


def commands_page() -> str:
    rows = (f"| `{name}` | {said} |\n" for name, said in _leaves(typer.main.get_command(app)))
    return _PAGE.format(table="".join(rows))


def _leaves(command: object, *path: str) -> Iterator[tuple[str, str]]:
    """Walk the commands that do something, with the first sentences of their help."""
    if isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            yield from _leaves(inner, *path, name)
    elif isinstance(command, TyperCommand):
        yield " ".join(path), _first_paragraph(command.help or "")


def _first_paragraph(said: str) -> str:
    return " ".join(said.strip().partition("\n\n")[0].split())
