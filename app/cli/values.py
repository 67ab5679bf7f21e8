"""Values of arguments and options, taken without pydantic where they are plain.

typer has pydantic convert every value, text to text too, and importing pydantic took about a third
of the time of a command that calls a gateway. What is plainly right is taken here; the rest is left
to typer, which says what is wrong with it.
"""

from collections.abc import Callable
from typing import Any

from typer.core import TyperArgument, TyperOption

LEFT = object()
"""What is left to typer."""
MAX_DIGITS = 9


def take_plain_values() -> None:
    """Let typer convert only what is not plain, from now on and in all of its commands."""
    for kind in (TyperArgument, TyperOption):
        kind.get_runtime_param = _plain_first(kind.get_runtime_param)  # type: ignore[method-assign]


def _plain_first(typers: Callable[[Any], Any]) -> Any:  # noqa: ANN401  # a method of typer's
    return lambda parameter: _Values(lambda: typers(parameter))


class _Values:
    """Converts the values of one parameter; typer's own conversion is made when needed."""

    def __init__(self, typers: Callable[[], Any]) -> None:
        self._typers = typers

    def coerce(self, value: object, param: Any, ctx: Any) -> object:  # noqa: ANN401  # typer's own
        found = taken(param, value)
        return self._typers().coerce(value, param=param, ctx=ctx) if found is LEFT else found


def taken(param: Any, value: object) -> object:  # noqa: ANN401  # typer's own
    """Return what typer makes of the value where it is plain, else `LEFT`."""
    wanted, about = param.type_descriptor.annotation, param.type_descriptor.parameter_info
    if value is None:
        return () if param.multiple or param.nargs == -1 else None
    if about.parser is not None or about.clamp:
        return LEFT
    if wanted is str and _is_text(value):
        return value
    if wanted is int:
        return _whole(value, about)
    if wanted == list[str] and isinstance(value, list | tuple) and all(map(_is_text, value)):
        return list(value)
    return LEFT


def _is_text(value: object) -> bool:
    """Whether it is text, all of it: bytes of a terminal that are no UTF-8 are surrogates in it."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _whole(value: object, bounds: Any) -> object:  # noqa: ANN401  # typer's own
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS:
        value = int(value)
    if type(value) is not int:
        return LEFT
    is_low = bounds.min is not None and value < bounds.min
    is_high = bounds.max is not None and value > bounds.max
    return LEFT if is_low or is_high else value
