"""Whatever strangers send: twice as much takes about twice as long, and never four times.

A run of 20,000 backslashes in an input once stopped the process for 12 seconds.
"""

import gc
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

import pytest

from app import log
from app.domain import exact_json
from app.domain.balance import without_balance
from app.domain.callback_url import CallbackUrls
from app.domain.redact import redacted_body, redacted_words, without_tokens
from app.kie import refusals, values
from app.kie.signature import verify
from app.kie.wire import read_callback, read_create, read_credit, read_download, read_query

TOKEN = "6YufA4NH15rep1MT3_-5Kw"  # nobody's
BY_NUMBER = "".join(f"\\u00{ord(char):02x}" for char in TOKEN[:-1])
URLS = CallbackUrls([b"k" * 32], "https://gateway.test")

HOSTILE: Mapping[str, str] = {
    "backslashes": "\\",
    "quotes": '"',
    "escaped quotes": '\\"',
    "lists": "[",
    "objects": '{"a":',
    "braces": "{",
    "schemes": "://:",
    "users": "://a:",
    "percent": "%25",
    "slashes in percents": "callbacks%2525",
    "callback paths": "callbacks/kie/",
    "digits": "7",
    "digits and dots": "1.",
    "exponents": "1e",
    "letters": "e",
    "commas": "1,",
    "nul": "\0",
    "nul by number": "\\u0000",
    "by number": "\\u0036",
    "spaces": " ",
    "line ends": "\n",
    "names": '"remainedCredits":"',
    "names in texts that do not end": '"remainedCredits":\\"',
    "names before backslashes": '"remainedCredits\\\\\\',
    "names and spaces": '"remainedCredits" \\n',
    "balances": "current balance ",
    "credits": "1 credits ",
    "owners": "account_",
    "half a token": TOKEN[:-1],
    "half a token by number": BY_NUMBER,
    "bearers": "bearer ",
    "key prefixes": "kgw_",
    "urls": "http://a ",
    "words of refusals": "your account credits ",
}

READERS: Mapping[str, Callable[[str], object]] = {
    "redacted_body": lambda text: redacted_body(text.encode(), [TOKEN]),
    "redacted_words": lambda text: redacted_words(text, [TOKEN]),
    "without_tokens": lambda text: without_tokens(text.encode(), [TOKEN]),
    "without_balance": without_balance,
    "exact_json.read": lambda text: _quiet(exact_json.read, text),
    "exact_json.parse": lambda text: _quiet(exact_json.parse, text.encode()),
    "exact_json.read in a text": lambda text: _quiet(exact_json.read, f'{{"a":"{text}"}}'),
    "read_callback": lambda text: read_callback(text.encode()),
    "read_callback, a result": lambda text: read_callback(_within(text)),
    "read_query": lambda text: read_query(200, _within(text)),
    "read_create": lambda text: read_create(200, _within(text)),
    "read_credit": lambda text: read_credit(200, text.encode()),
    "read_download": lambda text: read_download(200, text.encode()),
    "values.document": values.document,
    "values.urls": lambda text: list(values.urls([text, {text: text, "url": text}])),
    "values.without_private": lambda text: values.without_private({text: [text]}),
    "values.decimal": values.decimal,
    "values.instant": values.instant,
    "refusals.fault_of": lambda text: refusals.fault_of(500, text),
    "refusals.task_id_in": refusals.task_id_in,
    "log.redacted": log.redacted,
    "echo": lambda text: URLS.echo(UUID(int=1), text),
    "verifies": lambda text: URLS.verifies(UUID(int=1), text),
    "signature": lambda text: verify([b"k"], [text], text, text, datetime(2026, 1, 1, tzinfo=UTC)),
}

QUICK = ("backslashes", "escaped quotes", "names", "balances", "half a token by number")
"""Alphabets on which the functions in question were square once, or might be."""

SIZE = 50_000
UNMEASURABLE = 0.002
"""Seconds: a square of `SIZE` steps would take far longer."""


def _quiet(read: Callable[..., object], text: object) -> None:
    with suppress(exact_json.UnreadableDocumentError):
        read(text)


def _within(text: str) -> bytes:
    """Put it into the places of an envelope that are read, as the text that it is."""
    quoted = exact_json.render(text)
    inner = exact_json.render(exact_json.render({"resultUrls": [text], "a": text}))
    return (
        f'{{"code":501,"msg":{quoted},"data":{{"taskId":"t","state":"fail","failMsg":{quoted},'
        f'"failCode":{quoted},"param":{quoted},"resultJson":{inner}}}}}'
    ).encode()


def seconds_of(read: Callable[[str], object], text: str) -> float:
    """Return the least of three, without the collector's walks over what other tests left."""

    def once() -> float:
        gc.collect(0)
        gc.disable()
        began = time.process_time()
        read(text)
        taken = time.process_time() - began
        gc.enable()
        return taken

    return min(once() for _ in range(3))


def squares(read: Callable[[str], object], alphabets: Iterable[str]) -> list[str]:
    """Name the alphabets of which twice as much takes more than 2.5 times as long."""
    return [name for name in alphabets if not _is_linear(read, HOSTILE[name])]


def _is_linear(read: Callable[[str], object], unit: str) -> bool:
    short, long = (unit * (size // len(unit)) for size in (SIZE, 2 * SIZE))
    # A square is four times as slow each time; a machine that others use, now and then.
    for _ in range(5):
        if (twice := seconds_of(read, long)) < UNMEASURABLE:
            return True
        if twice < 2.5 * seconds_of(read, short):
            return True
    return False


@pytest.mark.long
@pytest.mark.parametrize("name", READERS)
def test_hostile_text_takes_linear_time(name: str) -> None:
    assert squares(READERS[name], HOSTILE) == []


@pytest.mark.parametrize("name", ["redacted_body", "without_tokens", "log.redacted"])
def test_the_worst_of_it_takes_linear_time(name: str) -> None:
    assert squares(READERS[name], QUICK) == []


def test_quotes_of_ever_more_levels_take_linear_time() -> None:
    def levels(size: str) -> object:
        steps = range(int((2 * len(size)) ** 0.5))
        body = b"".join(b'"remainedCredits":' + b"\\" * level + b'"' for level in steps)
        return redacted_body(body, [TOKEN])

    assert _is_linear(levels, " ")


@pytest.mark.long
def test_a_square_is_noticed() -> None:
    def square(text: str) -> object:
        return [text[:place].count("x") for place in range(0, len(text), 50)]

    assert not _is_linear(square, "y")
