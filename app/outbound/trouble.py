"""What went wrong with an attempt, in words that name its cause and never its URL."""

import os
import socket
import ssl
from collections.abc import Iterator

import aiohttp

from app.domain.delivery import Obstacle
from app.outbound.guard import BlockedAddressError, Call, Guard

TROUBLE = (TimeoutError, aiohttp.ClientError, OSError, ValueError, RuntimeError)
"""What aiohttp raises for what networks and receivers do; its parser's own errors too."""

MAX_SAID = 200

NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
"""The resolver's definite answers; that it has none just now is another."""


def said(trouble: BaseException, call: Call, timeout: float, connect: float | None) -> str:
    """Name the error with the system's words; never a URL, which may hold a caller's secret.

    `timeout` of the whole attempt, `connect` of one connection, both in seconds.
    """
    known = (_known(cause, call, timeout, connect) for cause in _causes(trouble))
    return next((words for words in known if words), None) or _named(trouble)


def _known(cause: BaseException, call: Call, timeout: float, connect: float | None) -> str | None:
    match cause:
        case BlockedAddressError():
            return f"blocked: {cause}"
        case aiohttp.ConnectionTimeoutError():
            return f"could not connect within {connect or timeout:g} s"
        case TimeoutError(errno=None):
            return f"{'no answer' if call.peer else 'could not connect'} within {timeout:g} s"
        case ssl.SSLError() if not isinstance(cause, aiohttp.ClientError):
            return _tls(cause)[:MAX_SAID]  # aiohttp's own lack OpenSSL's words: their cause's
        case _:
            return None


def obstacle_of(trouble: BaseException, call: Call, guard: Guard) -> Obstacle | None:
    """Say what lies in the URL; a failure to connect, or to resolve just now, does not."""
    objections = [guard.objection_to_address(one, listed=call.listed) for one in call.dialed]
    if objections and all(objections):
        return Obstacle.ADDRESS
    if isinstance(trouble, aiohttp.ClientConnectorDNSError):
        return Obstacle.NAME if trouble.os_error.errno in NO_SUCH_NAME else None
    return None


def _causes(trouble: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = trouble
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _tls(error: ssl.SSLError) -> str:
    """Return OpenSSL's words: `certificate has expired`, `wrong version number`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    return f"TLS failed: {(error.reason or type(error).__name__).replace('_', ' ').lower()}"


def _named(trouble: BaseException) -> str:
    words = None
    if isinstance(trouble, OSError):
        number = trouble.errno or 0
        words = os.strerror(number) if number > 0 else trouble.strerror  # resolvers' are negative
    name = type(trouble).__name__
    return f"{name}: {words}"[:MAX_SAID] if words else name
