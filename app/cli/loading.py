"""Commands that are imported when they run: a table says where each is, and what it does."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup
from typing_extensions import override


@dataclass(frozen=True, slots=True)
class At:
    """Where a command is, as `module:name`, and the first sentence of its help."""

    place: str
    said: str

    def load(self, name: str) -> Any:  # noqa: ANN401  # a command of typer's, or a group of them
        """Import it, and make of it what typer runs."""
        module, _, attribute = self.place.partition(":")
        found = getattr(import_module(module), attribute)
        around = typer.Typer(add_completion=False, rich_markup_mode=None)
        if isinstance(found, typer.Typer):
            around.add_typer(found, name=name)
        else:
            around.command(name)(found)
        made: Any = typer.main.get_command(around)
        return made.commands[name] if isinstance(made, TyperGroup) else made


class _Commands(Mapping[str, Any]):
    """Commands by name, those of the table loaded when they are looked up."""

    def __init__(self, here: Mapping[str, Any], table: Mapping[str, At]) -> None:
        self._table = table
        self._loaded = {**here}
        self._names = (*here, *table)

    @override
    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = self._table[name].load(name)
        return self._loaded[name]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    @override
    def __len__(self) -> int:
        return len(self._names)


class LoadingGroup(TyperGroup):
    """A group with such commands: to list or to complete their names loads none."""

    table: ClassVar[Mapping[str, At]] = {}

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  # typer's own
        super().__init__(**options)
        self._here = {**self.commands}
        self.commands: Any = _Commands(self._here, self.table)

    @override
    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    @override
    def format_commands(self, ctx: Any, formatter: Any) -> None:
        self.listing().format_commands(ctx, formatter)

    @override
    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        listing = self.listing()
        return listing.shell_complete(typer.Context(listing), incomplete)

    def listing(self) -> TyperGroup:
        """Return a group of the same names, where commands of the table have but their help."""
        named = {name: TyperCommand(name, help=at.said) for name, at in self.table.items()}
        return TyperGroup(commands={**self._here, **named})
