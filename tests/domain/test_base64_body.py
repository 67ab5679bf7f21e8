"""Base64 in JSON, as it may come: in any pieces, in any order, and hostile."""

import base64
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.base64_body import Base64Body
from app.domain.errors import GatewayError
from tests.each import each

SHORT = ("uploadPath", "fileName")


def read(body: bytes, size: int) -> tuple[bytes, Base64Body]:
    reader = Base64Body("base64Data", SHORT)
    found = b"".join(reader.feed(body[at : at + size]) for at in range(0, len(body), size))
    reader.end()
    return found, reader


@given(
    data=st.binary(max_size=400),
    size=st.integers(1, 70),
    first=st.booleans(),
    prefixed=st.booleans(),
    slashed=st.booleans(),
)
def test_whatever_the_pieces_the_bytes_are_the_same(
    data: bytes, size: int, *, first: bool, prefixed: bool, slashed: bool
) -> None:
    text = base64.b64encode(data).decode().rstrip("=" if slashed else "")
    text = f"data:image/png;base64,{text}" if prefixed else text
    short = {"uploadPath": 'a "base64Data": "b', "fileName": "é.png"}
    long = {"base64Data": text}
    body = json.dumps({**long, **short} if first else {**short, **long})
    body = body.replace("/", "\\/") if slashed else body
    found, reader = read(body.encode(), size)
    assert found == data
    assert reader.members == short
    assert reader.content_type == ("image/png" if prefixed else None)


BROKEN = (
    b"",
    b"[]",
    b'"base64Data":"YQ=="',
    b'{"base64Data":"YQ=="',
    b'{"base64Data":"YQ',
    b'{"base64Data":"Y!=="}',
    b'{"base64Data":"YQ==YQ=="}',
    b'{"base64Data":1}',
    b'{"uploadPath":"x"}',
    b'{"base64Data":"YQ==","base64Data":"Yg=="}',
    b'{"a":{"base64Data":"YQ=="}}',
    b'{"base64Data":"YQ==","fileName":1}',
    b'{"base64Data":"YQ=="}x',
    b'{"fileName":"' + b"x" * 10_000 + b'","base64Data":"YQ=="}',
    b'{"base64Data":"YQ=="' + b" " * 10_000 + b"}",
    b"{" * 5000,
)


@each("body", BROKEN)
def test_what_is_no_such_object_is_refused(body: bytes) -> None:
    for size in (1, 64, len(body) or 1):
        with pytest.raises(GatewayError):
            read(body, size)


def test_it_takes_linear_time() -> None:
    def seconds(n: int) -> float:
        began = time.thread_time()
        read(b'{"base64Data":"' + b"\\/" * n + b"AA" * n + b'"}', 65_536)
        return time.thread_time() - began

    seconds(1000)
    assert seconds(1_000_000) < 1.5
