"""Keeps the event loop free while a large body is read."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

Read = TypeVar("Read")

AT_ONCE = 256 * 1024
"""Bytes that are read on the spot: a few milliseconds, which is what a thread costs at worst."""


async def apart(read: Callable[[bytes], Read], body: bytes) -> Read:
    """Return `read(body)`; a large body is read in a thread.

    The parser itself, written in C, keeps everything waiting all the same, some 20 ms for each
    MiB; all that is done with what it found does not.
    """
    return read(body) if len(body) <= AT_ONCE else await asyncio.to_thread(read, body)
