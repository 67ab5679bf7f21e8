"""Values that are taken without typer: as typer takes them, and none that it refuses."""

from collections.abc import Callable
from typing import Annotated, Any

import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.core import TyperArgument, TyperOption

from app.cli.values import LEFT, take_plain_values, taken
from tests.each import each


def _command(
    text: str,
    texts: Annotated[list[str] | None, typer.Option()] = None,
    more: Annotated[list[str] | None, typer.Argument()] = None,
    whole: Annotated[int, typer.Option(min=0, max=200)] = 20,
    low: Annotated[int | None, typer.Option(max=5)] = None,
    clamped: Annotated[int, typer.Option(min=0, max=9, clamp=True)] = 1,
    parsed: Annotated[str, typer.Option(parser=str.upper)] = "a",
    real: Annotated[float | None, typer.Option(min=0.5)] = None,
) -> None:
    """Have a parameter of each kind."""


def _made() -> Any:
    app = typer.Typer(add_completion=False)
    app.command()(_command)
    return typer.main.get_command(app)


COMMAND = _made()
PARAMETERS = {one.name: one for one in COMMAND.params}
TYPERS = {name: one.get_runtime_param() for name, one in PARAMETERS.items()}
"""What typer converts the values of each with; made before anything is put before it."""

WORDS = st.text(st.characters(exclude_categories=())) | st.integers(-300, 10**12).map(str)
VALUES = st.none() | WORDS | st.lists(WORDS, max_size=3) | st.integers() | st.booleans()


def _typers(name: str, value: object) -> object:
    """Return what typer makes of a value, or `LEFT` where it refuses it."""
    context = typer.Context(COMMAND)
    try:
        return TYPERS[name].coerce(value, param=PARAMETERS[name], ctx=context)
    except typer.BadParameter:
        return LEFT


@given(st.sampled_from(sorted(PARAMETERS)), VALUES)
def test_what_is_taken_is_what_typer_makes_of_it(name: str, value: object) -> None:
    ours = taken(PARAMETERS[name], value)

    if ours is not LEFT:
        theirs = _typers(name, value)
        assert (type(ours), ours) == (type(theirs), theirs)


PLAIN: list[tuple[str, object, object]] = [
    ("text", "a banana, банан", "a banana, банан"),
    ("texts", ("a", "b"), ["a", "b"]),
    ("texts", None, ()),
    ("more", ["a"], ["a"]),
    ("whole", 20, 20),
    ("whole", "200", 200),
    ("low", "-1", LEFT),
    ("low", None, None),
    ("real", None, None),
]
LEFT_OVER = [
    *(("text", "\udcff"), ("texts", ["a", "\udcff"]), ("texts", "a"), ("text", 1)),
    *(("whole", "201"), ("whole", 201), ("whole", -1), ("whole", "٣"), ("whole", True)),
    *(("low", "6"), ("whole", "1_0"), ("clamped", "10"), ("clamped", "3"), ("parsed", "b")),
    *(("real", "3.5"), ("whole", "1" * 5000)),
]


@each(("name", "value", "found"), [*PLAIN, *((*row, LEFT) for row in LEFT_OVER)])
def test_only_what_is_plain_is_taken(name: str, value: object, found: object) -> None:
    assert taken(PARAMETERS[name], value) == found


def test_the_rest_is_typers(monkeypatch: Any) -> None:
    """typer's own words say what is wrong, and what it knows how to convert it converts."""
    for kind in (TyperArgument, TyperOption):
        monkeypatch.setattr(kind, "get_runtime_param", kind.get_runtime_param)
    received: list[tuple[object, ...]] = []
    app = typer.Typer(add_completion=False, rich_markup_mode=None)

    @app.command()
    def _run(
        whole: Annotated[int, typer.Option(min=0, max=200)] = 20,
        real: Annotated[float | None, typer.Option()] = None,
        clamped: Annotated[int, typer.Option(max=9, clamp=True)] = 1,
    ) -> None:
        received.append((whole, real, clamped))

    run: Callable[..., object] = lambda *given: app([*given], standalone_mode=False)  # noqa: E731
    before = _refusal(run, "--whole", "201")
    take_plain_values()
    run("--whole", "+7", "--real", "3.5", "--clamped", "12")

    assert received == [(7, 3.5, 9)]
    assert _refusal(run, "--whole", "201") == before
    assert "200" in before


def _refusal(run: Callable[..., object], *given: str) -> str:
    try:
        run(*given)
    except typer.BadParameter as refused:
        return refused.format_message()
    return ""
