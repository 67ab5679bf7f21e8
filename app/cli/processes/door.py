"""Closing a listener so that nobody who came before is turned away.

The kernel completes a connection before we accept it. `close()` resets what is completed and not
accepted, and its caller, who may have sent a request by then, cannot know whether it was read: a
proxy must not repeat a POST. So first no new connection is begun, then those that were are served.
"""

import contextlib
import ctypes
import socket
import struct

_SO_ATTACH_FILTER = 26
"""Linux: asm-generic/socket.h; the module socket does not name it."""

_DROP_NEW = (
    (0x30, 0, 0, 13),  # ldb [13]: the flags of the TCP header
    (0x54, 0, 0, 0x12),  # and #SYN|ACK
    (0x15, 0, 1, 0x02),  # jeq #SYN, next, over it
    (0x06, 0, 0, 0),  # ret #0: dropped
    (0x06, 0, 0, 0xFFFFFFFF),  # ret #-1: passed whole
)
"""A classic BPF program (code, jump if true, jump if false, constant) over a listener's packets."""


def begin_no_more(listener: socket.socket) -> None:
    """Have the kernel drop the first packet of new connections; those under way are completed.

    Who is dropped sends it again after a second and is refused then, as the listener is closed: for
    a proxy that proves that nothing was sent. Where the kernel cannot do it, nothing changes.
    """
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in _DROP_NEW)
    kept = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("HP", len(_DROP_NEW), ctypes.addressof(kept))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
