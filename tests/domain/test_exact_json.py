"""JSON documents: exact where they are kept, refused with a pointer where they cannot be."""

import contextlib
import gc
import json
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.exact_json import (
    MAX_CONTAINERS,
    MAX_DEPTH,
    TooManyValuesError,
    UnreadableDocumentError,
    Verbatim,
    canonical,
    has_more_values,
    parse,
    pointer,
    read,
    render,
)
from tests.each import each

UNSTORABLE = "a NUL or a lone surrogate, which no database keeps"
TOO_DEEP = "nested deeper than 100 levels"
READERS = pytest.mark.parametrize("reader", [parse, read])


def nested(levels: int, core: str = "") -> bytes:
    return f"{'[' * levels}{core}{']' * levels}".encode()


def nested_objects(levels: int, core: str = "{}") -> bytes:
    return f'{{"a":{"".join(["{", chr(34), "a", chr(34), ":"]) * (levels - 2)}{core}'.encode() + (
        b"}" * (levels - 1)
    )


def same(one: object, other: object) -> bool:
    """Equal with equal types at every place, numbers digit for digit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Decimal) and isinstance(other, Decimal):
        return one.as_tuple() == other.as_tuple()
    return one == other


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
integers = st.integers() | st.integers(-(10**4000), 10**4000)
decimals = st.decimals(allow_nan=False, allow_infinity=False).map(
    # a number without point and exponent is an integer to JSON
    lambda number: number if set(str(number)) & set(".E") else Decimal(f"{number}.0")
)
documents = st.recursive(
    st.none() | st.booleans() | integers | decimals | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
)


@READERS
@given(document=documents)
def test_every_document_comes_out_as_it_went_in(
    reader: Callable[[bytes], Any], document: object
) -> None:
    assert same(reader(render(document).encode()), document)


@READERS
@each(
    "text",
    [
        "0.1",
        "1.10",
        "-0.0",
        "9007199254740993",
        "123456789012345678901234567890.123456789012345678901234567890",
        "1E+400",
        "1E-400",
        '{"b":1,"a":[true,false,null,"\u00e9\u4e2d\U0001f600"],"":{}}',
        '"\\"\\\\/\\b\\f\\n\\r\\t"',
    ],
)
def test_the_text_itself_survives(reader: Callable[[bytes], Any], text: str) -> None:
    assert render(reader(text.encode())) == text


@READERS
@each(
    ("text", "value"),
    [
        (b"\xef\xbb\xbf{}", {}),  # RFC 8259 section 8.1 lets a parser ignore the mark
        (b' \t\r\n{"a" : 1} ', {"a": 1}),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'"\\\\u0000 \\\\ud800"', "\\u0000 \\ud800"),
        (b'"\x7f"', "\x7f"),
        (b"1e5", Decimal("1E+5")),
    ],
)
def test_odd_but_readable(reader: Callable[[bytes], Any], text: bytes, value: object) -> None:
    assert same(reader(text), value)


@READERS
@each(
    "text",
    [
        nested(MAX_DEPTH),
        nested(MAX_DEPTH, "1"),
        nested(MAX_DEPTH, '"\\u00e9"'),
        nested_objects(MAX_DEPTH),
        b"[" + b"[]," * 1000 + b"[]]",
        b'"' + b"[" * 1000 + b'"',
    ],
)
def test_a_hundred_levels_are_read(reader: Callable[[bytes], Any], text: bytes) -> None:
    assert same(reader(text), json.loads(text))


@READERS
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(b"", "Expecting value (line 1, column 1)", id="empty"),
        pytest.param(b" ", "Expecting value (line 1, column 2)", id="blank"),
        pytest.param(b"{", None, id="cut"),
        pytest.param(b'{"a":1}x', "Extra data (line 1, column 8)", id="more behind"),
        pytest.param(b"[1,]", None, id="trailing comma"),
        pytest.param(b"{'a':1}", None, id="single quotes"),
        pytest.param(b'["a\x01"]', None, id="control character"),
        pytest.param(b"01", None, id="leading zero"),
        pytest.param(b"1.", None, id="no digits behind the point"),
        pytest.param(b"+1", None, id="plus"),
        pytest.param(b'{"a":NaN}', "NaN is not JSON", id="NaN"),
        pytest.param(b"[Infinity]", "Infinity is not JSON", id="Infinity"),
        pytest.param(b"[-Infinity]", "-Infinity is not JSON", id="-Infinity"),
        pytest.param(b"9" * 5_000, None, id="5,000 digits"),
        pytest.param(
            b"1e9999999999999999999",
            "number out of range: 1e9999999999999999999",
            id="huge exponent",
        ),
        pytest.param(b"-1E-9999999999999999999", None, id="huge negative exponent"),
        pytest.param(nested(1_000), TOO_DEEP, id="1,000 levels"),
        pytest.param(nested(100_000), TOO_DEEP, id="100,000 levels"),
        pytest.param(b"[" * 100_000, TOO_DEEP, id="100,000 levels, never closed"),
        pytest.param(b'{"a":' * 100_000, TOO_DEEP, id="100,000 objects, never closed"),
        pytest.param("{}".encode("utf-16"), None, id="UTF-16"),
    ],
)
def test_what_is_not_json_is_refused(
    reader: Callable[[bytes], Any], text: bytes, reason: str | None
) -> None:
    with pytest.raises(UnreadableDocumentError) as caught:
        reader(text)
    assert caught.value.pointer == ""
    assert reason in {None, caught.value.reason}
    assert str(caught.value) == caught.value.reason != ""
    assert caught.value.__cause__ is None


@READERS
@pytest.mark.parametrize(
    "text",
    [
        nested(MAX_DEPTH + 1),
        nested(MAX_DEPTH + 1, "1"),
        nested(MAX_DEPTH + 1, '""'),
        nested_objects(MAX_DEPTH + 1),
    ],
    ids=["empty list", "number", "text", "empty object"],
)
def test_the_hundred_and_first_level_is_refused(
    reader: Callable[[bytes], Any], text: bytes
) -> None:
    with pytest.raises(UnreadableDocumentError, match=f"^{TOO_DEEP}$"):
        reader(text)


def test_the_refused_depth_says_where_it_begins() -> None:
    with pytest.raises(UnreadableDocumentError) as caught:
        parse(b'{"a":[0,' + nested(100, "1") + b"]}")
    assert caught.value.pointer == "/a/1/0"


def test_no_reason_speaks_of_how_python_is_set_up() -> None:
    with pytest.raises(UnreadableDocumentError) as caught:
        parse(b"9" * 5_000)
    assert "sys." not in caught.value.reason


@pytest.mark.parametrize(
    ("text", "where", "forgiven"),
    [
        (rb'"\u0000"', "", "\ufffd"),
        (rb'{"a":["x","\ud800"]}', "/a/1", {"a": ["x", "\ufffd"]}),
        (rb'{"a":{"b~/c":"x\uDFFFy"}}', "/a/b~0~1c", {"a": {"b~/c": "x\ufffdy"}}),
        (rb'{"a\u0000":1}', "/a\0", {"a\ufffd": 1}),
        (rb'["\ude00\ud83d"]', "/0", ["\ufffd\ufffd"]),
        (rb'{"a":[{"ok":"\ud83d\ude00"},{"bad":"\ud83d"}]}', "/a/1/bad", None),
    ],
)
def test_what_no_database_keeps_is_refused_from_callers_and_forgiven_kie(
    text: bytes, where: str, forgiven: object
) -> None:
    with pytest.raises(UnreadableDocumentError) as caught:
        parse(text)
    assert (caught.value.reason, caught.value.pointer) == (UNSTORABLE, where)
    kept = read(text)
    assert forgiven is None or kept == forgiven
    assert "\ud83d" not in render(kept)


@pytest.mark.parametrize("name", [rb"\ud800", rb"x\udfff"])
def test_the_pointer_to_a_refused_name_can_itself_be_written(name: bytes) -> None:
    with pytest.raises(UnreadableDocumentError) as caught:
        parse(b'{"a":{"%s":1}}' % name)
    assert caught.value.reason == UNSTORABLE
    assert caught.value.pointer.startswith("/a/")
    assert render({"pointer": caught.value.pointer}).encode()


@pytest.mark.parametrize(
    ("text", "reason", "forgiven"),
    [
        (b'{"a":1,"a":2}', "the member 'a' stands twice in one object", {"a": 2}),
        (b'[{"b":{"c":1,"d":2,"c":1}}]', "the member 'c' stands twice in one object", None),
        (b'{"\xff":1}', "not UTF-8 at byte 2", {"\ufffd": 1}),
        (b'"\xc0\x80"', "not UTF-8 at byte 1", "\ufffd\ufffd"),
        (b'"\xed\xa0\x80"', "not UTF-8 at byte 1", "\ufffd" * 3),
    ],
)
def test_what_callers_are_refused_and_kie_is_forgiven(
    text: bytes, reason: str, forgiven: object
) -> None:
    with pytest.raises(UnreadableDocumentError) as caught:
        parse(text)
    assert (caught.value.reason, caught.value.pointer) == (reason, "")
    kept = read(text)
    assert forgiven is None or kept == forgiven


def test_a_name_that_stands_twice_is_told_in_short() -> None:
    name = "n" * 10_000
    with pytest.raises(UnreadableDocumentError) as caught:
        parse(f'{{"{name}":1,"{name}":2}}'.encode())
    assert len(caught.value.reason) < 200


def test_the_same_name_in_different_objects_is_no_duplicate() -> None:
    assert parse(b'[{"a":{"a":1}},{"a":2}]') == [{"a": {"a": 1}}, {"a": 2}]


def test_text_is_read_as_bytes_are() -> None:
    assert read(r'{"a":1.0,"b":"\ud800"}') == read(rb'{"a":1.0,"b":"\ud800"}')


@READERS
@given(body=st.binary() | st.text().map(lambda text: json.dumps(text).encode()))
def test_any_bytes_are_read_or_refused(reader: Callable[[bytes], Any], body: bytes) -> None:
    try:
        value = reader(body)
    except UnreadableDocumentError:
        return
    assert "\0" not in render(value)
    assert same(parse(render(value).encode()), value)


def shuffled(value: object, seed: int) -> object:
    if isinstance(value, dict):
        members = [(name, shuffled(member, seed)) for name, member in value.items()]
        random.Random(seed).shuffle(members)  # noqa: S311  # an order, not a secret
        return dict(members)
    if isinstance(value, list):
        return [shuffled(item, seed) for item in value]
    return value


@given(documents, st.integers())
def test_the_canonical_spelling_does_not_depend_on_the_order_of_names(
    document: object, seed: int
) -> None:
    assert canonical(document) == canonical(shuffled(document, seed))
    assert same(shuffled(parse(canonical(document)), 0), shuffled_sorted(document))


def shuffled_sorted(document: object) -> object:
    """The document as its canonical spelling orders it, then shuffled alike."""

    def ordered(value: object) -> object:
        if isinstance(value, dict):
            return {name: ordered(value[name]) for name in sorted(value)}
        if isinstance(value, list):
            return [ordered(item) for item in value]
        return value

    return shuffled(ordered(document), 0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, {"a": "1"}),
        ({"a": None}, {}),
        ({"a": True}, {"a": 1}),
        ([1, 2], [2, 1]),
        (2**53, 2**53 + 1),
        ([[]], []),
    ],
)
def test_different_documents_have_different_spellings(one: object, other: object) -> None:
    assert canonical(one) != canonical(other)


def test_the_canonical_spelling_itself() -> None:
    document = {"b": [1, Decimal("1.50")], "a": {"\u00e9": None}}
    assert canonical(document) == '{"a":{"\u00e9":null},"b":[1,1.50]}'.encode()


INSTANT = datetime(2026, 11, 22, 19, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (INSTANT, '"2026-11-22T19:00:05Z"'),
        (INSTANT.replace(microsecond=120), '"2026-11-22T19:00:05.000120Z"'),
        (INSTANT.astimezone(timezone(timedelta(hours=5, minutes=30))), '"2026-11-22T19:00:05Z"'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        ({"at": [INSTANT]}, '{"at":["2026-11-22T19:00:05Z"]}'),
        (Decimal("12.50"), "12.50"),
        ("\u00e9\u2028", '"\u00e9\u2028"'),
    ],
)
def test_how_values_are_written(value: object, text: str) -> None:
    assert render(value) == text


@pytest.mark.parametrize("value", [object(), {1, 2}, {"at": timedelta(1)}])
def test_what_has_no_json_form_is_not_written(value: object) -> None:
    with pytest.raises(TypeError):
        render(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Decimal("NaN"), Decimal("Infinity")])
def test_what_is_not_a_number_is_not_written(value: object) -> None:
    with pytest.raises(ValueError, match=r".*"):
        render(value)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ((), ""),
        (("a", 0, "b"), "/a/0/b"),
        (("",), "/"),
        (("a/b", "m~n", "~1"), "/a~1b/m~0n/~01"),
    ],
)
def test_pointers(parts: tuple[str | int, ...], text: str) -> None:
    assert pointer(*parts) == text


def test_a_text_that_opens_too_much_is_refused_unparsed() -> None:
    assert len(read(b"[" + b"[]," * (MAX_CONTAINERS - 2) + b"[]]")) == MAX_CONTAINERS - 1
    for body in (b"[" + b"[]," * MAX_CONTAINERS + b"[]]", b'["' + b"{" * MAX_CONTAINERS + b'"]'):
        with pytest.raises(UnreadableDocumentError, match="more than 500,000 objects and lists"):
            read(body)


HOSTILE = {
    "quotes": (b'["', rb"\"", b'"]'),
    "surrogates": (b'["', rb"\ud800", b'"]'),
    "backslashes": (b'["', rb"\\", b'"]'),
    "lists": (b"[", b"[],", b"[]]"),
    "objects": (b"[", b'{"a":{"b":1}},', b"[]]"),
    "an end that is missing": (b'["', b"[", b""),
}


@pytest.mark.long
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_takes_linear_time(name: str) -> None:
    start, unit, end = HOSTILE[name]

    def seconds(times: int) -> float:
        body = start + unit * times + end
        # The collector walks all that the tests before left: not a cost of this text.
        gc.collect()
        gc.disable()
        began = time.process_time()
        with contextlib.suppress(UnreadableDocumentError):
            read(body)
        taken = time.process_time() - began
        gc.enable()
        return taken

    once, twice = (min(seconds(times) for _ in range(3)) for times in (25_000, 50_000))
    assert twice < 4 * once + 0.05


# -- how many values

VALUES: dict[str, tuple[object, int]] = {
    "a text": ("," * 1000 + "[{", 0),
    "quotes in a text": ('",[' * 1000, 0),
    "backslashes in a text": (["\\" * 7 + '",' * 50, "\\", '\\"', 'a\\"[,'], 4),
    "a list": ([1, 2.5, "x", None], 4),
    "an object": ({"a": 1, "b": [2, 3], "c": {"d": "e"}}, 6),
    "names with commas": ({"a,b": 1, "c[": 2}, 2),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_are_counted_outside_of_texts(name: str) -> None:
    value, count = VALUES[name]
    text = json.dumps(value)
    assert has_more_values(text, count)
    assert not has_more_values(text, count + 1)
    assert parse(text.encode(), most=count + 1) == parse(text.encode())
    with pytest.raises(TooManyValuesError):
        parse(text.encode(), most=count)


@given(documents)
def test_counting_never_misses_one(value: object) -> None:
    def counted(found: Any) -> int:
        if not isinstance(found, (dict, list)):
            return 1
        return 1 + sum(map(counted, found.values() if isinstance(found, dict) else found))

    assert has_more_values(render(value), counted(value) - 1)


# -- what is passed on unread


def test_what_is_verbatim_is_written_as_it_is() -> None:
    text = '{ "n" : 1.50, "a":1E-400}'
    assert render({"input": Verbatim(text), "list": [Verbatim("[]")]}) == (
        f'{{"input":{text},"list":[[]]}}'
    )
    assert [bool(Verbatim(empty)) for empty in ("{}", "[]", '""', "null", text)] == [False] * 4 + [
        True
    ]
