"""A signal ends a command, wherever it arrives."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator

import pytest

from app.cli.interrupts import ENDING, run, unwind_on_signals


@pytest.fixture(autouse=True)
def unwinding() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in ENDING}
    unwind_on_signals()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Finalized:
    """Gets the signal in a finalizer, where what is raised is printed and forgotten."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


async def _in_the_open() -> None:
    signal.raise_signal(signal.SIGTERM)
    await asyncio.Event().wait()


async def _in_a_finalizer() -> None:
    Finalized()
    await asyncio.Event().wait()


async def _twice() -> None:
    try:
        await _in_the_open()
    finally:
        await asyncio.to_thread(signal.raise_signal, signal.SIGTERM)


@pytest.mark.parametrize("work", [_in_the_open, _in_a_finalizer, _twice])
def test_a_signal_ends_it_and_what_it_held_is_given_back(
    work: Callable[[], Awaitable[None]],
) -> None:
    unwound: list[str] = []

    async def holding() -> None:
        try:
            await work()
        finally:
            await asyncio.to_thread(unwound.append, "all")

    with pytest.raises(SystemExit) as ended:
        run(holding())
    assert ended.value.code == 128 + signal.SIGTERM
    assert unwound == ["all"]


def test_a_result_is_passed_on_and_signals_work_as_before() -> None:
    before = signal.getsignal(signal.SIGTERM)

    async def work() -> str:
        return await asyncio.to_thread(str, "done")

    assert run(work()) == "done"
    assert signal.getsignal(signal.SIGTERM) == before
    with pytest.raises(SystemExit):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
