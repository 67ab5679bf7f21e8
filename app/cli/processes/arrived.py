"""What came of a body and was not asked for yet."""

from typing import Self

LARGE = 16 * 1024
"""Bytes from which a piece is kept as it came."""


class Arrived:
    """Gathers a body as uvicorn's own `bytearray` does, but copies no large piece.

    A piece that came whole is handed out as it is. Small ones are copied into one: an object for
    each would take many times the bytes of a body in chunks of two.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes | bytearray] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iadd__(self, piece: bytes) -> Self:
        self._size += len(piece)
        last = self._pieces[-1] if self._pieces else None
        if len(piece) >= LARGE:
            self._pieces.append(piece)
        elif isinstance(last, bytearray):
            last += piece
        else:
            self._pieces.append(bytearray(piece))
        return self

    def __bytes__(self) -> bytes:
        return b"".join(self._pieces)
