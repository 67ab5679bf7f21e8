"""What is asked of kie.ai and of the gateway alike; written from what is known of kie.ai's API."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum, auto
from typing import Any

from simulator.faults import CREATE_REFUSALS, END_WORDS, FAULTS, Kind
from tests.faults.test_named_faults import FOR_GOOD, FOR_NOW, parameters

ENDS = (*END_WORDS, *(word for words in END_WORDS.values() for word in words))
UNKNOWN = "0123456789abcdef" * 2
CALLER, TASK, RESULT = "{caller}", "{task}", "{result}"
"""Stand in paths and bodies for the caller's URL, the newest task's id, and its result's URL."""
CREATE_PATH = "/api/v1/jobs/createTask"
RECORD_PATH = "/api/v1/jobs/recordInfo"
CREDIT_PATH = "/api/v1/chat/credit"
DOWNLOAD_PATH = "/api/v1/common/download-url"


DIRECT, THROUGH = BOTH = ("direct", "through")
"""The sides: kie.ai itself, and the gateway."""


class Key(StrEnum):
    """What a request brings as its key."""

    RIGHT = auto()
    OTHERS = auto()
    """As right, but another service's: of the same account at kie.ai, another client's here."""
    WRONG = auto()
    EMPTY = auto()
    NONE = auto()
    OTHER_SCHEME = auto()


WRONG_KEYS = (Key.WRONG, Key.EMPTY, Key.NONE, Key.OTHER_SCHEME)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request."""

    label: str
    path: str
    method: str = "GET"
    body: bytes = b""
    key: Key = Key.RIGHT
    next: Mapping[str, object] = field(default_factory=dict)
    """What becomes of the create, as `POST /simulator/next` has it."""
    until: Sequence[str] = ()
    """Asked again until `data.state` is one of these; empty: asked once."""
    told_by: Collection[str] = ()
    """The sides of which a callback is to come before anything else is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Requests in their order, each with a label of its own; kie.ai begins anew before them."""

    name: str
    asks: Sequence[Ask]
    patient: bool = False
    """The gateway takes all its time before it believes an end; else that is skipped."""


MODEL = "google/nano-banana"
INPUT = {"prompt": "a cat", "ratio": 1.50}


def creating(label: str = "create", body: object = None, **options: Any) -> Ask:
    """Create a task: a usual one, or with a body as it is; `options` are those of `Ask`."""
    usual = {"model": MODEL, "input": INPUT}
    sent = _bytes(usual if body is None else body)
    return Ask(label=label, path=CREATE_PATH, method="POST", body=sent, **options)


def asking(label: str = "record", query: str = f"?taskId={TASK}", **options: Any) -> Ask:
    return Ask(label=label, path=RECORD_PATH + query, **options)


def crediting(label: str = "credit", **options: Any) -> Ask:
    return Ask(label=label, path=CREDIT_PATH, **options)


def downloading(label: str, body: object, **options: Any) -> Ask:
    return Ask(label=label, path=DOWNLOAD_PATH, method="POST", body=_bytes(body), **options)


def _bytes(body: object) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def told(name: str, become: Mapping[str, object]) -> Scenario:
    """Create with a callback URL, ask until the end, and hear of it."""
    body = {"model": MODEL, "callBackUrl": CALLER, "input": INPUT}
    return Scenario(
        name=name, asks=(creating(body=body, next=become), asking(until=ENDS, told_by=BOTH))
    )


RUNNING = {"duration": 600}
FAILING = {"outcome": "fail", "failCode": "422", "failMsg": "Invalid prompt"}

USUAL = (
    Scenario(name="waiting", asks=(creating(next=RUNNING), asking())),
    Scenario(name="success", asks=(creating(), asking(until=ENDS))),
    Scenario(name="failure", asks=(creating(next=FAILING), asking(until=ENDS))),
    told("success, told", {}),
    told("failure, told", FAILING),
    told("failure without a message, told", {"outcome": "fail", "failMsg": None}),
)

TURNING = "result-timeout-then-success"
RESULTS = tuple(
    replace(
        told(fault.name, {"fault": {fault.name: parameters(fault.name)}}),
        patient=fault.name == TURNING,
    )
    for fault in FAULTS.values()
    if fault.kind is Kind.RESULT
)

UNCLEAR = tuple(name for name in CREATE_REFUSALS if name not in (*FOR_GOOD, *FOR_NOW))
"""Answers that do not tell whether there is a task."""


def _refusals() -> Iterator[Scenario]:
    """Have a create refused in every way: together, but for those that make the gateway wait."""
    asks = tuple(creating(name, next={"fault": name}) for name in FOR_GOOD)
    yield Scenario(name="refused", asks=asks)
    body = {"model": MODEL, "callBackUrl": CALLER, "input": INPUT}
    ask = creating(body=body, next={"fault": FOR_GOOD[0]}, told_by=(THROUGH,))
    yield Scenario(name="refused, told", asks=(ask,))
    for kind, names in (("held", FOR_NOW), ("unclear", UNCLEAR)):
        for name in names:
            asks = (creating(name, next={"fault": name}),)
            yield Scenario(name=f"{kind}, {name}", asks=asks)


def _with(**members: object) -> Mapping[str, object]:
    return {"model": MODEL, "input": INPUT, **members}


BODIES: Mapping[str, object] = {
    "broken JSON": b'{"model": "google/nano-banana", "input":',
    "no body": b"",
    "a body that is no object": [],
    "a body that is no UTF-8": b'{"model": "\xff"}',
    "no model": {"input": INPUT},
    "empty model": _with(model=""),
    "null model": _with(model=None),
    "model of the wrong type": _with(model=7),
    "model with a space": _with(model="no such model"),
    "unknown model": _with(model="no-such-model"),
    "no input": {"model": MODEL},
    "null input": _with(input=None),
    "empty input": _with(input={}),
    "input of the wrong type": _with(input="a cat"),
    "input that is a list": _with(input=["a cat"]),
    "callBackUrl of the wrong type": _with(callBackUrl=7),
    "null callBackUrl": _with(callBackUrl=None),
    "empty callBackUrl": _with(callBackUrl=""),
    "members nobody knows": _with(progressCallBackUrl="https://example.com/p", seed=7),
}

ADDRESSES: Mapping[str, object] = {
    "no URL": _with(callBackUrl="not a URL"),
    "another scheme": _with(callBackUrl="ftp://example.com/hook"),
}

IDS: Mapping[str, str] = {
    "unknown id": f"?taskId={UNKNOWN}",
    "id that is none of ours": "?taskId=task_12345678",
    "id with white space": "?taskId=%20",
    "empty id": "?taskId=",
    "no id": "",
}

DOWNLOADS: Mapping[str, object] = {
    "own result": {"url": RESULT},
    "somebody else's URL": {"url": "https://example.com/a.png"},
    "what is no URL": {"url": "a.png"},
    "URL of the wrong type": {"url": 7},
    "no URL": {},
    "broken JSON": b'{"url":',
    "a body that is no object": [],
}

DETOURS: Mapping[str, tuple[str, str]] = {
    "unknown path": ("GET", "/api/v1/jobs/nothing"),
    "create by GET": ("GET", CREATE_PATH),
    "record by POST": ("POST", RECORD_PATH),
    "create with a slash": ("POST", f"{CREATE_PATH}/"),
}


def _keyed(key: Key) -> tuple[Ask, ...]:
    """Ask everything with this key."""
    return (
        creating(f"{key} create", key=key),
        asking(f"{key} record", f"?taskId={UNKNOWN}", key=key),
        crediting(f"{key} credit", key=key),
        downloading(f"{key} download", {"url": "https://example.com/a.png"}, key=key),
    )


SCENARIOS: Sequence[Scenario] = (
    *USUAL,
    *RESULTS,
    *_refusals(),
    Scenario(name="bodies", asks=tuple(creating(*each) for each in BODIES.items())),
    Scenario(name="callBackUrl", asks=tuple(creating(*each) for each in ADDRESSES.items())),
    Scenario(name="keys", asks=tuple(ask for key in WRONG_KEYS for ask in _keyed(key))),
    Scenario(name="ids", asks=tuple(asking(*each) for each in IDS.items())),
    Scenario(
        name="credit",
        asks=(creating(), asking(until=ENDS), crediting()),
    ),
    Scenario(
        name="download",
        asks=(
            *(creating(), asking(until=ENDS)),
            *(downloading(*each) for each in DOWNLOADS.items()),
        ),
    ),
    Scenario(
        name="another service",
        asks=(
            *(creating(), asking(until=ENDS)),
            asking("other record", key=Key.OTHERS),
            crediting("other credit", key=Key.OTHERS),
            downloading("other download", {"url": RESULT}, key=Key.OTHERS),
        ),
    ),
    Scenario(
        name="detours",
        asks=tuple(
            Ask(label=label, path=path, method=method) for label, (method, path) in DETOURS.items()
        ),
    ),
)
"""By unique names."""
