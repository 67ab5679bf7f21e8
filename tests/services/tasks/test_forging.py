"""Forged callbacks: what is sent under a right URL, or a wrong one, by somebody who is not kie.ai.

Each is posted to the receiver over HTTP at a task that runs, with HMAC keys and without. None of
them may settle, bind or move it; all but those with a wrong URL are answered 200 and kept.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from app.wiring import new_id
from tests.fixtures.gateway import StartGateway
from tests.gateway import Gateway
from tests.upstream import Upstream, succeeded

KEY = "webhook-hmac-key-not-to-be-shown"
SIGNED = {"kie_webhook_hmac_keys": (SecretStr(KEY),), "kie_confirm": "after"}
UNSIGNED = {"kie_confirm": "before"}

Headers = dict[str, str]


def signed(kie_task_id: str, *, key: str = KEY, at: int = 0, instant: str | None = None) -> Headers:
    """Sign for an id at an instant, `at` seconds from now."""
    instant = str(int(time.time()) + at) if instant is None else instant
    digest = hmac.digest(key.encode(), f"{kie_task_id}.{instant}".encode(), hashlib.sha256)
    return {
        "X-Webhook-Timestamp": instant,
        "X-Webhook-Signature": base64.b64encode(digest).decode(),
    }


Forge = Callable[[str], tuple[Any, Headers]]
"""From the task's own id at kie.ai: a body, and the headers with it; beside it, the verdicts."""


def other(*_: object) -> str:
    return "f" * 32


FORGED_WITH_KEYS: Mapping[str, tuple[Forge, str]] = {
    "unsigned": (lambda own: (succeeded(own), {}), "unverified"),
    "a wrong key's": (lambda own: (succeeded(own), signed(own, key="guessed")), "unverified"),
    "an empty signature": (
        lambda own: (succeeded(own), signed(own) | {"X-Webhook-Signature": ""}),
        "unverified",
    ),
    "an empty instant": (
        lambda own: (succeeded(own), signed(own) | {"X-Webhook-Timestamp": ""}),
        "unverified",
    ),
    "stale": (lambda own: (succeeded(own), signed(own, at=-301)), "stale"),
    "from the future": (lambda own: (succeeded(own), signed(own, at=310)), "stale"),
    "signed for another id": (lambda own: (succeeded(own), signed(other())), "unverified"),
    "two ids, one signed": (
        lambda own: (succeeded(other(), task_id=own), signed(own)),
        "unverified",
    ),
    "another id, wholly signed": (lambda _: (succeeded(other()), signed(other())), "disagreed"),
    "a plus in the instant": (
        lambda own: (succeeded(own), signed(own, instant=f"+{int(time.time())}")),
        "unverified",
    ),
    "spaces in the instant": (
        lambda own: (succeeded(own), signed(own, instant=f"{int(time.time())}.0")),
        "unverified",
    ),
    "digits of another script": (
        lambda own: (succeeded(own), signed(own) | {"X-Webhook-Timestamp": "1e9"}),
        "unverified",
    ),
    "hex instead of base64": (
        lambda own: (
            succeeded(own),
            (found := signed(own))
            | {"X-Webhook-Signature": base64.b64decode(found["X-Webhook-Signature"]).hex()},
        ),
        "unverified",
    ),
    "no id": (lambda own: ({"code": 200, "data": {"state": "success"}}, signed(own)), "unreadable"),
}

FORGED_WITHOUT_KEYS: Mapping[str, tuple[Forge, str]] = {
    "another id": (lambda _: (succeeded(other()), {}), "disagreed"),
    "two ids": (lambda own: (succeeded(own, task_id=other()), {}), "disagreed"),
    "the own id": (lambda own: (succeeded(own), {}), "unverified"),
    "a failure": (
        lambda own: ({"code": 501, "data": {"taskId": own, "state": "fail"}}, {}),
        "unverified",
    ),
    "a notice": (lambda own: ({"code": 200, "data": {"taskId": own}}, {}), "unverified"),
    "another's URL in it": (
        lambda own: (
            succeeded(
                own,
                param=json.dumps(
                    {"callBackUrl": f"https://g.test/callbacks/kie/{new_id()}/{other()}"}
                ),
            ),
            {},
        ),
        "disagreed",
    ),
}

HOSTILE: Mapping[str, bytes] = {
    "nothing": b"",
    "white space": b" \r\n",
    "no JSON": b"state=success&taskId=1",
    "a NUL": b'{"code":200,"data":{"taskId":"\x00"}}',
    "UTF-16": '{"code":200}'.encode("utf-16"),
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "deep": b"[" * 100_000,
    "doubled members": b'{"code":501,"code":200,"data":{"taskId":"a","taskId":"b"}}',
    "a hostile exponent": b'{"code":1e999999999,"data":{"taskId":"a","state":"success"}}',
    "many digits": b'{"code":' + b"9" * 5000 + b"}",
    "a lone surrogate": b'{"code":200,"data":{"taskId":"\\ud800","state":"success"}}',
    "a list": b"[]",
    "a text": b'"success"',
}


async def settles_nothing(
    gateway: Gateway, upstream: Upstream, forged: Mapping[str, tuple[Forge, str]]
) -> None:
    task = await gateway.create()
    own, path = task["kie_task_id"], upstream.callback_path
    for name, (forge, verdict) in forged.items():
        body, headers = forge(own)
        answer = await gateway.call_back(path, body, headers)
        assert answer.status_code == 200, name
        found = await gateway.callbacks(task["id"])
        newest = max(found, key=lambda one: one["last_seen_at"] or one["received_at"])
        assert newest["verdict"] in verdict.split(), name
        assert "x-webhook-signature" not in newest["headers"], name
        after = await gateway.task(task["id"])
        for member in ("state", "kie_task_id", "result", "result_urls", "fail_code", "settled_by"):
            assert after[member] == task[member], (name, member)


async def test_with_hmac_keys_nothing_forged_settles(
    start_gateway: StartGateway, upstream: Upstream, sql: Any
) -> None:
    await settles_nothing(await start_gateway(**SIGNED), upstream, FORGED_WITH_KEYS)
    kept = await sql.fetchval(
        "SELECT count(*) FROM callbacks WHERE headers ? 'x-webhook-signature'"
    )
    assert kept >= 5  # kept, so that it can be looked at, and shown to nobody


async def test_without_keys_nothing_forged_settles_before_kie_was_asked(
    start_gateway: StartGateway, upstream: Upstream
) -> None:
    await settles_nothing(await start_gateway(**UNSIGNED), upstream, FORGED_WITHOUT_KEYS)


async def test_what_is_no_statement_settles_nothing(
    start_gateway: StartGateway, upstream: Upstream
) -> None:
    def unread(body: bytes) -> Forge:
        return lambda own: (body, signed(own))

    forged = {name: (unread(body), "unreadable unverified") for name, body in HOSTILE.items()}
    await settles_nothing(await start_gateway(**SIGNED), upstream, forged)


async def test_a_genuine_one_settles(start_gateway: StartGateway, upstream: Upstream) -> None:
    """So that the others are refused for what is forged in them."""
    gateway = await start_gateway(**SIGNED)
    task = await gateway.create()
    own = task["kie_task_id"]
    await gateway.call_back(upstream.callback_path, succeeded(own), signed(own))
    assert (await gateway.task(task["id"]))["state"] == "succeeded"


@pytest.mark.parametrize("settings", [SIGNED, UNSIGNED], ids=["signed", "unsigned"])
async def test_no_other_spelling_of_a_url_leads_in(
    settings: dict[str, Any], start_gateway: StartGateway, upstream: Upstream, sql: Any
) -> None:
    """Of the id some do, as UUIDs have several: they name the same task, by the same token."""
    gateway = await start_gateway(**settings)
    task = await gateway.create()
    own = task["kie_task_id"]
    base, _, token = upstream.callback_path.rpartition("/")
    base = base.rpartition("/")[0]
    uuid = UUID(task["id"])
    wrong = {
        "a wrong token": f"{base}/{uuid}/{'A' * len(token)}",
        "another task's": f"{base}/{new_id()}/{token}",
        "cut short": f"{base}/{uuid}/{token[:-1]}",
        "padded": f"{base}/{uuid}/{token}==",
        "in another case": f"{base}/{uuid}/{token.swapcase()}",
        "in base64 proper": f"{base}/{uuid}/{token}%2B",
        "with a NUL": f"{base}/{uuid}/{token}%00",
        "with a space": f"{base}/{uuid}/%20{token}",
        "twice": f"{base}/{uuid}/{token}/{token}",
        "none": f"{base}/{uuid}/",
        "no id": f"{base}/{task['id'][:-1]}/{token}",
    }
    for name, path in wrong.items():
        answer = await gateway.call_back(path, succeeded(own), signed(own))
        assert answer.status_code in {404, 405}, name
    assert await sql.fetchval("SELECT count(*) FROM callbacks") == 0
    same = (str(uuid).upper(), uuid.hex, f"{{{uuid}}}", f"urn:uuid:{uuid}")
    for spelled in same:
        answer = await gateway.call_back(f"{base}/{spelled}/{token}", b"{}")
        assert answer.status_code in {200, 404}, spelled
    owners = await sql.fetch("SELECT DISTINCT task_id FROM callbacks")
    assert {row["task_id"] for row in owners} <= {uuid}
