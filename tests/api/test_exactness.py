"""What a caller sends reaches kie.ai and comes back as it was: every digit, in order."""

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.gateway import Gateway
from tests.upstream import BALANCE, Upstream, succeeded

INPUT = (
    '{"z":1,"seed":123456789012345678901234567890,"minus":-9007199254740993,'
    '"a":9007199254740993.0,"price":1.10,"vast":1E+400,"tiny":-1E-400,'
    '"pi":3.14159265358979323846264338327950288419716939937510,"zero":0.00,'
    '"":null,"é":"naïve 東京 🐱 👩‍👩‍👧 \u202e","quoted":"\\"\\\\\\n\\t\\u001f","nested":'
    '{"b":[true,false,[],{}],"a":[{"y":0.1,"x":0.10}],"B":""}}'
)
"""Spelled as we spell: compact, exponents like 1E+400, nothing escaped that need not be."""


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """One for all of these tests: they leave nothing in it but rows."""
    return shared_gateway


def spelled(response_body: bytes, name: str) -> str:
    """Cut the text of one member out of an object; `raw_decode` finds its end."""
    text = response_body.decode()
    start = text.index(f'"{name}":') + len(name) + 3
    _, end = json.JSONDecoder().raw_decode(text, start)
    return text[start:end]


async def test_an_input_is_kept_digit_for_digit(gateway: Gateway, upstream: Upstream) -> None:
    created = await gateway.post(b'{"model":"m","input":' + INPUT.encode() + b"}")
    assert created.status_code == 201
    read = await gateway.http.get(created.headers["location"])
    for where in (upstream.bodies[0], created.content, read.content):
        assert spelled(where, "input") == INPUT


SPELLINGS = {
    "1e5": "1E+5",
    "1E5": "1E+5",
    "1e+05": "1E+5",
    "0.0000001": "1E-7",
    "-0.0": "-0.0",
    "1.0e0": "1.0",
    "100000000000000000000000.5": "100000000000000000000000.5",
    "1e999999999999": "1E+999999999999",
}
"""The same number may come out in another spelling, never as another number."""


@pytest.mark.parametrize("sent", SPELLINGS)
async def test_a_number_stays_itself(gateway: Gateway, upstream: Upstream, sent: str) -> None:
    created = await gateway.post(f'{{"model":"m","input":{{"n":{sent}}}}}'.encode())
    read = await gateway.http.get(created.headers["location"])
    kept = SPELLINGS[sent]
    assert Decimal(kept) == Decimal(sent)
    for where in (upstream.bodies[0], created.content, read.content):
        assert spelled(where, "n") == kept


TEXTS = {
    "escaped letters": (r"\u006d\u00e9", "mé"),
    "a pair of surrogates": (r"\ud83d\udc31", "🐱"),
    "an escaped slash": (r"a\/b", "a/b"),
    "a noncharacter": ("\uffff\ufdd0", "\uffff\ufdd0"),
    "not normalized": ("e\u0301", "e\u0301"),
    "line separators": ("\u2028\u2029\x85", "\u2028\u2029\x85"),
}


@pytest.mark.parametrize("name", TEXTS)
async def test_a_text_stays_itself(gateway: Gateway, upstream: Upstream, name: str) -> None:
    written, meant = TEXTS[name]
    body = '{"model":"?","input":{"?":"?"},"metadata":{"k":"?"}}'.replace("?", written)
    created = await gateway.post(body.encode())
    task = await gateway.task(created.json()["id"])
    assert (task["model"], task["input"], task["metadata"]) == (meant, {meant: meant}, {"k": meant})
    assert (upstream.creates[0]["model"], upstream.creates[0]["input"]) == (meant, {meant: meant})


async def test_only_what_the_caller_said_is_sent_with_a_callback_url(
    gateway: Gateway, upstream: Upstream
) -> None:
    await gateway.create(
        metadata={"order": "A-1017"}, priority=9, webhook_url="https://h.test/", submit_within=60
    )
    assert set(upstream.creates[0]) == {"model", "input", "callBackUrl"}


RESULT = '{"resultUrls":["https://h.test/1.png"],"seed":123456789012345678901234567890,"b":1.10,"a":1E+400}'


async def test_a_result_is_kept_digit_for_digit(gateway: Gateway, upstream: Upstream) -> None:
    task = await gateway.create()
    told: dict[str, Any] = succeeded(
        task["kie_task_id"], resultJson=RESULT, consumeCredits="CREDITS"
    )
    body = json.dumps(told).replace('"CREDITS"', "12.50").encode()
    await gateway.call_back(upstream.callback_path, body)
    read = await gateway.http.get(f"/v1/tasks/{task['id']}")
    assert spelled(read.content, "result") == RESULT
    assert spelled(read.content, "credits_consumed") == "12.50"


async def test_what_kie_said_is_shown_as_it_came(gateway: Gateway, upstream: Upstream) -> None:
    task = await gateway.create()
    body = json.dumps(succeeded(task["kie_task_id"], note="1.10 🐱"), ensure_ascii=False, indent=2)
    await gateway.call_back(upstream.callback_path, body.encode())
    (callback,) = await gateway.callbacks(task["id"])
    assert callback["raw"] == body.replace(str(BALANCE), "null")
