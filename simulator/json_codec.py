"""JSON as the simulator reads and writes it: numbers keep their digits, nothing hostile escapes."""

from decimal import Decimal

import simplejson


class UnreadableError(ValueError):
    """The text is not JSON, or more deeply nested or longer in one number than can be read."""


def read(body: bytes) -> object:
    """Read JSON text, numbers as `int` or `Decimal`; raises `UnreadableError`."""
    try:
        return simplejson.loads(body.decode(), parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise UnreadableError(str(error)) from error


def text(value: object) -> str:
    """Write compact JSON; raises `UnreadableError` for what `read` only just managed to read."""
    try:
        return simplejson.dumps(value, use_decimal=True, ensure_ascii=False, separators=(",", ":"))
    except RecursionError as error:
        raise UnreadableError(str(error)) from error


def encode(value: object) -> bytes:
    """Write the bytes of an answer; a lone surrogate becomes `?`, as the vendor's Java does it."""
    return text(value).encode(errors="replace")
