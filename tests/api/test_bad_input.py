"""Bodies that cannot become a task: each is refused with a pointer, and nothing happens."""

import json

import pytest

from tests.api.stage import (
    Refusal,
    Sql,
    check_nothing_happened,
    check_refusal,
)
from tests.each import each
from tests.gateway import BODY, Gateway
from tests.upstream import Upstream


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """One for all of these tests: they leave nothing in it but rows."""
    return shared_gateway


def body(**members: str) -> bytes:
    """Write a create whose members are JSON text; the usual ones are valid unless given."""
    spelled = {"model": '"m"', "input": "{}", **members}
    return ("{" + ",".join(f'"{name}":{text}' for name, text in spelled.items()) + "}").encode()


def unusable(says: str, pointer: str = "") -> Refusal:
    return Refusal(status=400, code="malformed_body", pointer=pointer, says=says)


def invalid(pointer: str, says: str = "") -> Refusal:
    return Refusal(status=422, code="invalid_request", pointer=pointer, says=says)


def pairs(count: int) -> str:
    return json.dumps({f"name {number}": "" for number in range(count)})


UNSTORABLE = "a NUL or a lone surrogate"
TOO_DEEP = "nested deeper than 100 levels"


NOT_JSON = {
    "empty": (b"", unusable("line 1, column 1")),
    "blank": (b" \r\n", unusable("")),
    "no JSON": (b"model=m&input={}", unusable("line 1, column 1")),
    "cut short": (b'{"model":"m","input":{', unusable("line 1, column")),
    "two documents": (body() + body(), unusable("column")),
    "trailing comma": (b'{"model":"m","input":{},}', unusable("column")),
    "comment": (b'{"model":"m",/* */"input":{}}', unusable("column")),
    "single quotes": (b"{'model':'m','input':{}}", unusable("column")),
    "UTF-16": (body().decode().encode("utf-16"), unusable("not UTF-8 at byte 0")),
    "invalid UTF-8": (body(model='"\0"').replace(b"\0", b"\xff"), unusable("not UTF-8 at byte 10")),
    "surrogate in UTF-8": (
        body(model='"\0"').replace(b"\0", b"\xed\xa0\x80"),
        unusable("not UTF-8 at byte 10"),
    ),
    "raw NUL": (body(model='"\0"'), unusable("control character")),
    "raw newline in a text": (body(model='"\n"'), unusable("control character")),
    "NaN": (body(input='{"x":NaN}'), unusable("NaN is not JSON")),
    "Infinity": (body(input='{"x":-Infinity}'), unusable("-Infinity is not JSON")),
    "5,000 digits": (body(input='{"seed":' + "9" * 5_000 + "}"), unusable("digits")),
    "exponent beyond all": (body(input='{"x":1e9999999999999999999}'), unusable("out of range")),
    "1,000 levels": (body(input='{"x":' + "[" * 1_000 + "]" * 1_000 + "}"), unusable(TOO_DEEP)),
    "90,000 levels": (b"[" * 90_000, unusable(TOO_DEEP)),  # of more, the number is refused
    "200 levels": (
        body(input='{"x":' + "[" * 200 + "]" * 200 + "}"),
        unusable(TOO_DEEP, "/input/x/0"),
    ),
    "member twice": (body()[:-1] + b',"model":"n"}', unusable("'model' stands twice")),
    "member twice, deep": (body(input='{"x":[{"a":1,"a":1}]}'), unusable("'a' stands twice")),
    "NUL in model": (body(model=r'"\u0000"'), unusable(UNSTORABLE, "/model")),
    "NUL in input": (body(input=r'{"x":["ok","\u0000"]}'), unusable(UNSTORABLE, "/input/x/1")),
    "NUL in metadata": (body(metadata=r'{"a":"\u0000"}'), unusable(UNSTORABLE, "/metadata/a")),
    "NUL in a URL": (
        body(webhook_url=r'"https://h.test/\u0000"'),
        unusable(UNSTORABLE, "/webhook_url"),
    ),
    "NUL in a name": (body(input=r'{"\u0000":1}'), unusable(UNSTORABLE, "/input/\0")),
    "NUL in a name of metadata": (
        body(metadata=r'{"\u0000":"v"}'),
        unusable(UNSTORABLE, "/metadata/\0"),
    ),
    "surrogate in model": (body(model=r'"\ud800"'), unusable(UNSTORABLE, "/model")),
    "surrogate in input": (body(input=r'{"x":{"y":"\uDFFF"}}'), unusable(UNSTORABLE, "/input/x/y")),
    "surrogates in the wrong order": (
        body(input=r'{"x":"\ude00\ud83d"}'),
        unusable(UNSTORABLE, "/input/x"),
    ),
    "surrogate in metadata": (
        body(metadata=r'{"a":"\udbff"}'),
        unusable(UNSTORABLE, "/metadata/a"),
    ),
    "surrogate in a name": (body(input=r'{"\ud800":1}'), unusable(UNSTORABLE, "/input/\ufffd")),
    "surrogate in an unknown name": (
        body()[:-1] + rb',"\ud800":1}',
        unusable(UNSTORABLE, "/\ufffd"),
    ),
}

TEXT = "valid string"
NOT_TEXT = ("null", "true", "5", "1.5", "[]", "{}")
NOT_AN_OBJECT = ("null", "true", "5", '"{}"', "[]", "[{}]")
WRONG_TYPES = {
    "model": (NOT_TEXT, TEXT),
    "input": (NOT_AN_OBJECT, "valid dictionary"),
    "webhook_url": (("true", "5", "[]", "{}"), TEXT),
    "metadata": (NOT_AN_OBJECT, "valid dictionary"),
    "priority": (
        ("null", "true", "false", '"5"', "5.0", "5.5", "5e0", "[]", "{}"),
        "valid integer",
    ),
    "submit_within": (('"60"', "[]", "{}"), "valid number"),
}

INVALID = {
    f"{field} {text}": (body(**{field: text}), invalid(f"/{field}", says))
    for field, (texts, says) in WRONG_TYPES.items()
    for text in texts
} | {
    "an array": (b"[]", invalid("", "object")),
    "a text": (b'"model"', invalid("", "object")),
    "a number": (b"5", invalid("", "object")),
    "null": (b"null", invalid("", "object")),
    "no model": (b'{"input":{}}', invalid("/model", "required")),
    "no input": (b'{"model":"m"}', invalid("/input", "required")),
    "empty model": (body(model='""'), invalid("/model", "at least 1 character")),
    "long model": (body(model=f'"{"m" * 201}"'), invalid("/model", "at most 200 characters")),
    "kie.ai's name": (body(callBackUrl='"https://h.test"'), invalid("/callBackUrl", "webhook_url")),
    "nearly webhook_url": (
        body(callback_url='"https://h.test"'),
        invalid("/callback_url", "did you mean webhook_url?"),
    ),
    "nearly model": (body(modle='"m"'), invalid("/modle", "did you mean model?")),
    "another case": (body(Priority="1"), invalid("/Priority", "did you mean priority?")),
    "nothing like it": (body(zzz="1"), invalid("/zzz", "unknown field")),
    "a name to escape": (body(**{"a/b~c": "1"}), invalid("/a~1b~0c", "unknown field")),
    "priority -1": (body(priority="-1"), invalid("/priority", "greater than or equal to 0")),
    "priority 10": (body(priority="10"), invalid("/priority", "less than or equal to 9")),
    "priority of 30 digits": (body(priority="9" * 30), invalid("/priority", "less than")),
    "submit_within 0": (body(submit_within="0"), invalid("/submit_within", "greater than 0")),
    "submit_within -1": (body(submit_within="-1"), invalid("/submit_within", "greater than 0")),
    "submit_within over a week": (
        body(submit_within="604800.1"),
        invalid("/submit_within", "less than or equal to 604800"),
    ),
    "submit_within 1e400": (body(submit_within="1e400"), invalid("/submit_within")),
    "submit_within of 400 digits": (body(submit_within="9" * 400), invalid("/submit_within")),
    "submit_within true": (body(submit_within="true"), invalid("/submit_within")),
    "submit_within false": (body(submit_within="false"), invalid("/submit_within", "number")),
    "17 pairs": (body(metadata=pairs(17)), invalid("/metadata", "at most 16 items")),
    "empty name": (body(metadata='{"":"v"}'), invalid("/metadata/", "at least 1 character")),
    "long name": (
        body(metadata=json.dumps({"n" * 65: "v"})),
        invalid("/metadata/" + "n" * 65, "at most 64 characters"),
    ),
    "long value": (
        body(metadata=json.dumps({"a/b": "v" * 513})),
        invalid("/metadata/a~1b", "at most 512 characters"),
    ),
    "value of no text": (body(metadata='{"ok":"v","n":5}'), invalid("/metadata/n", TEXT)),
    "value null": (body(metadata='{"n":null}'), invalid("/metadata/n", TEXT)),
    "nested value": (body(metadata='{"n":{"m":"v"}}'), invalid("/metadata/n", TEXT)),
    "a name like pydantic's": (body(metadata='{"[key]":5}'), invalid("/metadata/[key]", TEXT)),
}

BAD_URLS = {
    "": "http or https",
    "h.test/hook": "http or https",
    "/hook": "http or https",
    "ftp://h.test/": "http or https",
    "javascript:alert(1)": "http or https",
    "https://": "a host",
    "https:///hook": "a host",
    "https://:443/hook": "a host",
    "https://[::1/hook": "",
    "https://h.test:99999/hook": "",
    "https://h.test:port/hook": "",
    "https://h.test/a b": "no spaces",
    "https://h.test/\r\nX: y": "no spaces or control characters",
    "https://h.test/" + "a" * 2048: "at most 2048 characters",
}
INVALID |= {
    f"webhook_url {url[:40]!r}": (
        body(webhook_url=json.dumps(url)),
        invalid("/webhook_url", says),
    )
    for url, says in BAD_URLS.items()
}


@each("name", NOT_JSON | INVALID)
async def test_a_bad_body_is_refused(
    gateway: Gateway, sql: Sql, upstream: Upstream, name: str
) -> None:
    sent, refusal = (NOT_JSON | INVALID)[name]
    check_refusal(await gateway.post(sent), refusal)
    await check_nothing_happened(sql, upstream)


async def test_every_flaw_is_named_at_once(gateway: Gateway) -> None:
    answer = await gateway.post(b'{"modle":"m","input":[],"priority":10,"metadata":{"n":5}}')
    content = check_refusal(answer, invalid("/modle", "did you mean model?"))
    named = {flaw["pointer"] for flaw in content["errors"]}
    assert named == {"/model", "/modle", "/input", "/priority", "/metadata/n"}


EDGES = {
    "model of 200": body(model=f'"{"m" * 200}"'),
    "null where it may be": body(webhook_url="null", submit_within="null"),
    "16 pairs": body(metadata=pairs(16)),
    "64 and 512 characters": body(metadata=json.dumps({"n" * 64: "é" * 512}, ensure_ascii=False)),
    "priority 0": body(priority="0"),
    "priority 9": body(priority="9"),
    "a week": body(submit_within="604800"),
    "a moment": body(submit_within="0.5"),
    "a pair of surrogates": body(input=r'{"x":"\ud83d\ude00"}'),
    "a backslash before u0000": body(input=r'{"x":"\\u0000"}'),
    "90 levels": body(input='{"x":' + "[" * 90 + "]" * 90 + "}"),
    "4,000 digits": body(input='{"seed":' + "9" * 4_000 + "}"),
    "a byte order mark": b"\xef\xbb\xbf" + body(),
    "spaces around": b" \r\n\t" + body() + b"\n",
    "2,048 characters of URL": body(webhook_url=json.dumps("https://h.test/".ljust(2048, "a"))),
}


@pytest.mark.parametrize("name", EDGES)
async def test_what_is_just_allowed_is_taken(gateway: Gateway, name: str) -> None:
    answer = await gateway.post(EDGES[name])
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", None])
async def test_the_content_type_does_not_matter(gateway: Gateway, media_type: str | None) -> None:
    headers = {} if media_type is None else {"Content-Type": media_type}
    answer = await gateway.http.post("/v1/tasks", content=body(), headers=headers)
    assert answer.status_code == 201, answer.text


async def test_what_is_refused_costs_its_key_nothing(gateway: Gateway) -> None:
    check_refusal(await gateway.post(b"{", key="order-1"), unusable("column"))
    answer = await gateway.post(BODY, key="order-1")
    assert answer.status_code == 201
