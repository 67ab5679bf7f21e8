"""How a command ends on a signal: unwound as by Ctrl-C, so that nothing is left."""

import signal
import sys
from collections.abc import Awaitable
from types import FrameType
from typing import NoReturn, TypeVar

ENDING = (signal.SIGTERM, signal.SIGHUP)

Result = TypeVar("Result")


def unwind_on_signals() -> None:
    """Unwind the command at the first signal that ends it; the second would cut that short."""
    for number in ENDING:
        signal.signal(number, _unwind)


def run(work: Awaitable[Result]) -> Result:
    """Run `work` on a loop of its own; a signal that ends the command cancels it.

    What a signal's handler raises can come up inside a finalizer or a callback from C, where Python
    prints it and goes on: the signal would be lost. The loop's handlers raise nothing.
    """
    import asyncio

    return asyncio.run(_cancelable(work))


async def _cancelable(work: Awaitable[Result]) -> Result:
    import asyncio

    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    received: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        if not received:
            received.append(number)
            task.cancel()

    before = {number: signal.getsignal(number) for number in ENDING}
    for number in ENDING:
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if received:
            sys.exit(128 + received[0])
        raise
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN if received else handler)


def _unwind(number: int, _: FrameType | None) -> NoReturn:
    for other in ENDING:
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)
