"""Logging: structlog and the standard library through one chain, redacted last, to one stream.

`configure()` once at process start; `structlog.stdlib.get_logger(__name__)` everywhere else. What
is bound with `structlog.contextvars` (a request's id) stands on every line, whoever wrote it.
"""

import logging
import math
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import TextIO

# structlog imports rich where it finds it, to draw tracebacks that this log writes as plain text.
# As where rich is missing it does without: 6 MB less in every process that serves.
_MEANWHILE = "rich" not in sys.modules
if _MEANWHILE:
    sys.modules["rich"] = None  # type: ignore[assignment]  # Python's way to have an import fail
import structlog  # noqa: E402
from structlog.typing import EventDict, Processor, WrappedLogger  # noqa: E402

if _MEANWHILE:
    del sys.modules["rich"]  # commands draw their tables with it

get_logger = structlog.get_logger
"""For modules that a process imports first: they import structlog by this one, without rich."""

_SEPARATOR = r"(?:\\*/|%(?:25)*2[fF])"
"""A slash in a path: plain, escaped as some JSON writers do, or percent-encoded in another URL."""

SECRETS = (
    # callback URLs: the token is all that kie.ai proves itself with
    (
        re.compile(
            rf"(callbacks{_SEPARATOR}kie{_SEPARATOR}[^\s\\/%\"']+{_SEPARATOR})[^\s\\/\"'?#&<>]+"
        ),
        r"\1[redacted]",
    ),
    (re.compile(r"\b(bearer\s+)[\w.~+/=-]+", re.IGNORECASE), r"\1[redacted]"),
    # whole keys; the first six characters behind the prefix are what lists and logs show
    (re.compile(r"(whsec_)[\w+/=-]+"), r"\1[redacted]"),
    (re.compile(r"(kg[aw]_)[\w+/=-]{7,}"), r"\1[redacted]"),
    # the password in any URL's user part, up to the last @ because some leave an @ unencoded
    (re.compile(r"(://[^\s:/?#@]*:)[^\s/]*@"), r"\1[redacted]@"),
)
"""What secrets look like in text, and what is written instead. Source: design, promise 8."""

MARKS = ("callbacks", "bearer", "whsec_", "kga_", "kgw_", "://")
"""In lower case: where none of these is, none of `SECRETS` matches."""

QUIET = {
    "aiohttp": logging.WARNING,
    "alembic": logging.WARNING,
    "httpcore": logging.WARNING,
    "httpx": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "urllib3": logging.WARNING,
}
"""Libraries that would log URLs, values of statements, or mere noise at the levels below."""


MAX_KEYS = 1000
"""Keys that a `Sampled` remembers: they may come from strangers."""


EVERY = 10.0
"""Seconds between two lines about one thing that others can cause at will."""


class Sampled:
    """Keeps what strangers can cause at will from filling the log: a line per key and `every` s."""

    def __init__(self, every: float = EVERY, clock: Callable[[], float] = time.monotonic) -> None:
        self._every = every
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}

    def admit(self, key: str) -> int | None:
        """Return how many were suppressed since the last line; None: write none."""
        now = self._clock()
        since, suppressed = self._seen.get(key, (-math.inf, 0))
        if now - since < self._every:
            self._seen[key] = (since, suppressed + 1)
            return None
        self._seen.pop(key, None)  # the newest comes last
        self._seen[key] = (now, 0)
        if len(self._seen) > MAX_KEYS:
            del self._seen[next(iter(self._seen))]
        return suppressed


def redacted(value: object) -> object:
    """Copy the value as plain JSON types, anything else as its text, with every secret replaced."""
    match value:
        case None | bool() | int():
            return value
        case float() if math.isfinite(value):
            return value
        case Mapping():
            return {str(redacted(str(key))): redacted(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [redacted(item) for item in value]
        case bytes() | BaseException():
            text = repr(value)
        case _:
            text = str(value)
    if _may_hold_a_secret(text):
        for pattern, replacement in SECRETS:
            text = pattern.sub(replacement, text)
    return text


def _may_hold_a_secret(text: str) -> bool:
    """Tell whether the patterns are worth their time: on most texts it was a third of a line's."""
    lowered = text.lower()
    for mark in MARKS:  # noqa: SIM110  # `any` costs as much again
        if mark in lowered:
            return True
    return False


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Redact a whole event, the text of its exception included: the last step before rendering."""
    return {key: redacted(value) for key, value in event.items()}


_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
    structlog.processors.format_exc_info,
]
_STRUCTLOG: list[Processor] = [
    structlog.stdlib.filter_by_level,
    structlog.stdlib.PositionalArgumentsFormatter(),
    *_SHARED,
    structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
]


def configure(level: str, fmt: str, stream: TextIO) -> None:
    """Send every log line of the process to `stream`; may be called again, the last call counts.

    `level` is a name such as `info`; `fmt` is console, json, or auto: console on a terminal.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                redact,
                _renderer(fmt, terminal=stream.isatty()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name, least in QUIET.items():
        logging.getLogger(name).setLevel(max(root.level, least))
    _take_over_uvicorn()
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=_STRUCTLOG,
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _renderer(fmt: str, *, terminal: bool) -> Processor:
    if fmt == "console" or (fmt == "auto" and terminal):
        # Exceptions are text by now, redacted; a prettier formatter would print them again.
        plain = structlog.dev.plain_traceback
        return structlog.dev.ConsoleRenderer(colors=terminal, exception_formatter=plain)
    return structlog.processors.JSONRenderer()


def _take_over_uvicorn() -> None:
    """Let uvicorn's log flow to the root, and drop its access log, which prints whole paths."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.setLevel(logging.NOTSET)
        logger.propagate = name != "uvicorn.access"
    logging.getLogger("uvicorn.access").disabled = True
