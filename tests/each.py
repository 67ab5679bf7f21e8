"""One test over the rows of a table.

`pytest.mark.parametrize` makes a test of each row, and pytest spends milliseconds on each test.
`each` tries all rows in one test and names those that fail: for rows that leave nothing behind, and
are many.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

Test = TypeVar("Test", bound=Callable[..., Any])


def each(names: str | Sequence[str], rows: Iterable[Any]) -> Callable[[Test], Any]:
    """Call a test with each row: a value where `names` is one name, else as many as names."""
    given = [_named(names, row) for row in rows]
    assert given, "a table without rows"

    def decorate(test: Test) -> Any:
        signature = inspect.signature(test)
        others = [one for one in signature.parameters.values() if one.name not in given[0]]
        tried = _awaited(test, given) if inspect.iscoroutinefunction(test) else _called(test, given)
        # What pytest looks for fixtures by.
        tried.__signature__ = signature.replace(parameters=others)
        return tried

    return decorate


def _named(names: str | Sequence[str], row: Any) -> dict[str, Any]:
    return {names: row} if isinstance(names, str) else dict(zip(names, row, strict=True))


def _called(test: Callable[..., Any], rows: Sequence[Mapping[str, Any]]) -> Any:
    @functools.wraps(test)
    def tried(**fixtures: Any) -> None:
        failures: list[Exception] = []
        for row in rows:
            with _kept(failures, row):
                test(**fixtures, **row)
        _judge(failures, len(rows))

    return tried


def _awaited(test: Callable[..., Any], rows: Sequence[Mapping[str, Any]]) -> Any:
    @functools.wraps(test)
    async def tried(**fixtures: Any) -> None:
        failures: list[Exception] = []
        for row in rows:
            with _kept(failures, row):
                await test(**fixtures, **row)
        _judge(failures, len(rows))

    return tried


@contextmanager
def _kept(failures: list[Exception], row: Mapping[str, Any]) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001  # raised once all rows were tried
        error.add_note(f"with {row}")
        failures.append(error)


def _judge(failures: list[Exception], count: int) -> None:
    if failures:
        message = f"{len(failures)} of {count} rows fail"
        raise ExceptionGroup(message, failures)
