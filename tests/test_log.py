"""The log: one JSON object per line from every library, and no secret in any of them."""

import io
import json
import logging
import re
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
import structlog
from typing_extensions import override

from app.log import configure, redacted

LEAKS = {
    "callback": (
        "POST https://g.example/callbacks/kie/0190-ab/tok3n.tok_3n HTTP/1.1",
        "POST https://g.example/callbacks/kie/0190-ab/[redacted] HTTP/1.1",
    ),
    "callback in JSON": (
        r'{"callBackUrl":"https:\/\/g.example\/callbacks\/kie\/0190\/tok3n"}',
        r'{"callBackUrl":"https:\/\/g.example\/callbacks\/kie\/0190\/[redacted]"}',
    ),
    "callback in another URL": (
        "?u=https%3A%2F%2Fg.example%2Fcallbacks%2fkie%2F0190%2Ftok3n&x=1",
        "?u=https%3A%2F%2Fg.example%2Fcallbacks%2fkie%2F0190%2F[redacted]&x=1",
    ),
    "bearer": ("Authorization: bearer tok3n.a/b+c==,", "Authorization: bearer [redacted],"),
    "bearer with our key": ("Bearer kgw_tok3n", "Bearer [redacted]"),
    "our key": ("key kgw_tok3n-_x.", "key kgw_[redacted]."),
    "signing secret": ("'whsec_tok3n+/='", "'whsec_[redacted]'"),
    "database": (
        "postgresql+asyncpg://me:tok3n@x@h:5432/db?a=b",
        "postgresql+asyncpg://me:[redacted]@h:5432/db?a=b",
    ),
    "proxy without user": ("http://:tok3n@proxy:3128", "http://:[redacted]@proxy:3128"),
}
HARMLESS = [
    "http://localhost:8000/v1/tasks and someone@example.com",
    "postgresql://me@h:5432/db",
    "POST /callbacks/kie is for kie.ai",
]


class Terminal(io.StringIO):
    @override
    def isatty(self) -> bool:
        return True


class Connection:
    @override
    def __repr__(self) -> str:
        return "<Connection to postgres://me:tok3n@h>"


def fail(text: str) -> NoReturn:
    raise ValueError(text)


@pytest.fixture(autouse=True)
def untouched_logging() -> Iterator[None]:
    root = logging.getLogger()
    loggers = [root, *(logging.getLogger(name) for name in ("uvicorn", "httpx", "sqlalchemy"))]
    before = [(logger, logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, handlers, level, propagate in before:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


@pytest.fixture
def stream() -> io.StringIO:
    written = io.StringIO()
    configure("info", "auto", written)
    return written


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize("name", LEAKS)
def test_secrets_are_redacted_and_only_they(name: str) -> None:
    leaky, clean = LEAKS[name]
    assert redacted(leaky) == clean
    assert redacted(clean) == clean


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_alike_stays(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize("fmt", ["json", "console"])
def test_no_secret_is_logged_wherever_it_stands(fmt: str) -> None:
    stream = io.StringIO()
    configure("debug", fmt, stream)
    log = structlog.stdlib.get_logger("app.test")
    for leaky, _ in LEAKS.values():
        log.info(leaky, text=leaky, deep={leaky: [(leaky, leaky.encode())]})
        log.info("%s", leaky, thing=Connection())
        logging.getLogger("sqlalchemy").warning("failed: %s", leaky)
        try:
            fail(leaky)
        except ValueError:
            log.exception("failed", stack_info=True)
            logging.getLogger("uvicorn.error").exception("failed")
    assert stream.getvalue().count("ValueError: ") == 2 * len(LEAKS)
    assert "tok3n" not in stream.getvalue()


def test_a_line_is_a_json_object_with_the_usual_names(stream: io.StringIO) -> None:
    structlog.stdlib.get_logger("app.test").warning("told", count=3, ratio=float("nan"))
    (line,) = lines(stream)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line.pop("timestamp"))
    assert line == {
        "level": "warning",
        "event": "told",
        "logger": "app.test",
        "count": 3,
        "ratio": "nan",
    }


def test_the_context_stands_on_every_library_s_lines(stream: io.StringIO) -> None:
    structlog.contextvars.bind_contextvars(request_id="r-1")
    structlog.stdlib.get_logger("app.test").info("ours")
    logging.getLogger("uvicorn.error").info("theirs, %d of %d", 1, 2)
    assert [(line["event"], line["request_id"]) for line in lines(stream)] == [
        ("ours", "r-1"),
        ("theirs, 1 of 2", "r-1"),
    ]


def test_an_exception_stays_on_its_line(stream: io.StringIO) -> None:
    try:
        fail("first\nsecond")
    except ValueError:
        logging.getLogger("alembic").exception("failed")
    (line,) = lines(stream)
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: first\nsecond")


def test_warnings_are_lines_too(stream: io.StringIO) -> None:
    warnings.showwarning("beware", UserWarning, "file.py", 1)
    (line,) = lines(stream)
    assert (line["level"], line["logger"]) == ("warning", "py.warnings")
    assert "beware" in line["event"]


def test_access_logs_and_libraries_that_log_urls_are_quiet() -> None:
    stream = io.StringIO()
    configure("debug", "json", stream)
    for name in ("httpx", "httpcore.connection", "aiohttp.client", "sqlalchemy.engine"):
        logging.getLogger(name).info("GET https://example.com/secret-path")
    logging.getLogger("uvicorn.access").error("GET /secret-path")
    assert not stream.getvalue()
    logging.getLogger("aiohttp.client").warning("still heard")
    assert [line["event"] for line in lines(stream)] == ["still heard"]


def test_the_level_counts_for_all(stream: io.StringIO) -> None:
    configure("error", "json", stream)
    structlog.stdlib.get_logger("app.test").warning("unheard")
    logging.getLogger("httpx").warning("unheard")
    logging.getLogger("uvicorn.error").error("heard")
    assert [line["event"] for line in lines(stream)] == ["heard"]


def test_configured_again_the_last_stream_gets_each_line_once(stream: io.StringIO) -> None:
    log = structlog.stdlib.get_logger("app.test")
    log.info("before")
    again = io.StringIO()
    configure("info", "json", again)
    configure("info", "json", again)
    log.info("after")
    logging.getLogger("uvicorn").info("after")
    assert [line["event"] for line in lines(stream)] == ["before"]
    assert [line["event"] for line in lines(again)] == ["after", "after"]


def test_uvicorns_own_handlers_are_taken_over(stream: io.StringIO) -> None:
    own = io.StringIO()
    logging.getLogger("uvicorn").handlers = [logging.StreamHandler(own)]
    logging.getLogger("uvicorn").propagate = False
    configure("info", "json", stream)
    logging.getLogger("uvicorn.error").info("started")
    assert [line["event"] for line in lines(stream)] == ["started"]
    assert not own.getvalue()


@pytest.mark.parametrize(
    ("fmt", "stream", "is_json"),
    [
        ("auto", io.StringIO(), True),
        ("auto", Terminal(), False),
        ("json", Terminal(), True),
        ("console", io.StringIO(), False),
    ],
)
def test_the_format_follows_the_terminal(fmt: str, stream: io.StringIO, *, is_json: bool) -> None:
    configure("info", fmt, stream)
    structlog.stdlib.get_logger("app.test").info("told", size=2)
    assert stream.getvalue().startswith("{") is is_json
    assert ("\x1b[" in stream.getvalue()) is (isinstance(stream, Terminal) and not is_json)
