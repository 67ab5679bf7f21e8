"""Plays scenarios on one side, kie.ai's or the gateway's, and keeps what was answered and told."""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.dropin.compare import Names
from tests.dropin.scenarios import CALLER, RESULT, TASK, Ask, Key, Scenario
from tests.simulator.stage import Receiver
from tests.stage import eventually

INCIDENTAL = {
    *("date", "server", "content-length", "connection"),
    *("host", "accept", "accept-encoding"),
}
"""Headers of the transport, which say nothing about the API."""
TIMESTAMP, SIGNATURE = "x-webhook-timestamp", "x-webhook-signature"

FIRST_URL = re.compile(r'resultUrls\W+(https?://[^"\\]+)')

Document = dict[str, Any]


@dataclass
class Side:
    """Who is asked, with what key, and where its callbacks come."""

    name: str
    http: httpx.AsyncClient
    api_key: str
    other_api_key: str
    """Of another service."""
    callback_key: str
    """Signs the callbacks that this side sends."""
    simulator: httpx.AsyncClient
    receiver: Receiver
    hasten: Callable[[Scenario], Awaitable[object]] | None = None
    """Has what this side would ask kie.ai later asked now."""
    _texts: dict[str, str] = field(default_factory=dict)
    """What stands for the places in paths and bodies."""

    async def play(self, scenario: Scenario) -> Document:
        """Return all that was answered and told, by label, with names for what is made up.

        The simulator begins anew before that.
        """
        (await self.simulator.delete("/simulator/ledger")).raise_for_status()
        self.receiver.clear()
        self._texts = {CALLER: self.receiver.url}
        names = Names(known={self.receiver.url: "<the caller's URL>"})
        seen: Document = {}
        for ask in scenario.asks:
            if ask.next:
                (await self.simulator.post("/simulator/next", json=ask.next)).raise_for_status()
            seen[ask.label] = named(names, await self._answer(ask, scenario))
            if self.name in ask.told_by:
                heard = await self.receiver.received()
                told = [named(names, self._callback(*each)) for each in heard]
                seen["callbacks"] = told
        return seen

    async def _answer(self, ask: Ask, scenario: Scenario) -> Document:
        async def look() -> Document | None:
            if self.hasten is not None:
                await self.hasten(scenario)
            answer = await self._ask(ask)
            ended = not ask.until or answer["body"]["data"]["state"] in ask.until
            return answer if ended else None

        return await eventually(look)

    async def _ask(self, ask: Ask) -> Document:
        response = await self.http.request(
            ask.method,
            self._filled(ask.path),
            content=self._filled_bytes(ask.body),
            headers=authorization(ask.key, self.api_key, self.other_api_key),
        )
        body = _read(response)
        self._remember(body)
        return {
            "status": response.status_code,
            "headers": _telling(response.headers),
            "body": body,
        }

    def _remember(self, body: Any) -> None:
        """Keep the id and the result's URL for the requests to come."""
        data = body.get("data") if isinstance(body, dict) else None
        if isinstance(data, dict) and data.get("taskId"):
            self._texts[TASK] = data["taskId"]
        if isinstance(body, dict) and (url := FIRST_URL.search(json.dumps(body))):
            self._texts[RESULT] = url[1]

    def _filled(self, text: str) -> str:
        for place, instead in self._texts.items():
            text = text.replace(place, instead)
        return text

    def _filled_bytes(self, body: bytes) -> bytes:
        for place, instead in self._texts.items():
            body = body.replace(place.encode(), instead.encode())
        return body

    def _callback(self, headers: httpx.Headers, body: Any) -> Document:
        """Keep a callback, its signature replaced by what it is worth."""
        kept = _telling(headers)
        if TIMESTAMP in kept:
            right = signature(self.callback_key, body["data"]["taskId"], kept[TIMESTAMP])
            kept[SIGNATURE] = "right" if hmac.compare_digest(kept[SIGNATURE], right) else "wrong"
            kept[TIMESTAMP] = "unix seconds" if kept[TIMESTAMP].isdecimal() else kept[TIMESTAMP]
        return {"headers": kept, "body": body}


def signature(key: str, task_id: str, timestamp: str) -> str:
    """Sign as kie.ai does: the body is not covered."""
    digest = hmac.digest(key.encode(), f"{task_id}.{timestamp}".encode(), hashlib.sha256)
    return base64.b64encode(digest).decode()


def authorization(key: Key, api_key: str, other_api_key: str) -> dict[str, str]:
    """Give the headers that bring such a key."""
    texts: Mapping[Key, str] = {
        Key.RIGHT: f"Bearer {api_key}",
        Key.OTHERS: f"Bearer {other_api_key}",
        Key.WRONG: "Bearer not-the-key",
        Key.EMPTY: "Bearer",
        Key.OTHER_SCHEME: f"Basic {api_key}",
    }
    return {"Authorization": texts[key]} if key in texts else {}


def _telling(headers: httpx.Headers) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in INCIDENTAL}


def _read(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return response.text


def named(names: Names, document: Document) -> Document:
    """Put names into a body; headers are short, and stay as they are."""
    return {**document, "body": names.name(document["body"])}
