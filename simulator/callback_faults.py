"""The callbacks that are sent for one task: one as a rule, others by callback faults."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum, auto
from typing import Any

from simulator import envelopes, json_codec, record_faults
from simulator.account import State, Task
from simulator.choices import Chosen
from simulator.faults import Kind

ELSEWHERE = "https://forged.example"
GARBAGE = b'{"code":200,"data":{"taskId":\xff<html>'


class Signing(Enum):
    """How a callback is signed, if there is a key."""

    USUAL = auto()
    MISSING = auto()
    FORGED = auto()
    """With a wrong key; without a key as well."""
    STALE = auto()
    REPLAYED = auto()
    """By the signature of the callback before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """One callback, retried until it is acknowledged."""

    due: float
    """Unix seconds."""
    write: Callable[[], bytes]
    """Writes the body when it is due: it holds the balance of that moment."""
    signing: Signing = Signing.USUAL
    lost_answers: int = 0
    """How many acknowledgements are lost on their way back."""
    wait_for_another: float = 0.0
    """Seconds at most to wait until another task's callback has been acknowledged."""
    then: "Callback | None" = None
    """Sent after this one is acknowledged, or given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """One end of a task, and the usual callback about it."""

    task: Task
    at: float
    """The instant of that end."""
    balance: Callable[[], Decimal]
    delay: float

    def callback(self) -> Callback:
        return Callback(due=self.at + self.delay, write=self.written())

    def written(
        self, change: Callable[[Task, Any], Any] = lambda _, body: body
    ) -> Callable[[], bytes]:
        """Write the usual body, changed."""
        return lambda: json_codec.encode(change(self.task, self._body()))

    def _body(self) -> dict[str, Any]:
        body = envelopes.callback(self.task, self.balance(), self.at)
        return body | {"data": record_faults.told_later(self.task, body["data"])}

    def forged(self, *, due: float, signing: Signing) -> Callback:
        """Write what somebody could who has seen a callback: a success with his own result."""
        task = replace(self.task, failure=None, base_url=ELSEWHERE, faults={})
        return Callback(due=due, write=replace(self, task=task).written(), signing=signing)


def _changed(change: Callable[[Task, dict[str, Any]], object]) -> "CallbackFault":
    """Send the usual callback with another body."""
    return lambda ending, _: (replace(ending.callback(), write=ending.written(change)),)


def _signed(signing: Signing) -> "CallbackFault":
    return lambda ending, _: (replace(ending.callback(), signing=signing),)


def _late(ending: Ending, chosen: Chosen) -> tuple[Callback, ...]:
    callback = ending.callback()
    return (replace(callback, due=callback.due + (chosen.seconds or 0.0)),)


def _early(ending: Ending, _: Chosen) -> tuple[Callback, ...]:
    return (replace(ending.callback(), due=ending.at),)


def _forged_before(signing: Signing) -> "CallbackFault":
    """Send a forged one half a duration before the true one."""

    def made(ending: Ending, _: Chosen) -> tuple[Callback, ...]:
        halfway = ending.at - ending.task.duration / 2
        return (ending.forged(due=halfway, signing=signing), ending.callback())

    return made


def _forged_after(ending: Ending, _: Chosen) -> tuple[Callback, ...]:
    callback = ending.callback()
    return (replace(callback, then=ending.forged(due=callback.due, signing=Signing.REPLAYED)),)


def _forged_instead(ending: Ending, _: Chosen) -> tuple[Callback, ...]:
    return (ending.forged(due=ending.callback().due, signing=Signing.USUAL),)


def _with_progress(ending: Ending, _: Chosen) -> tuple[Callback, ...]:
    callback = ending.callback()
    return (replace(callback, then=replace(callback, write=ending.written(_progress))),)


def _progress(_: Task, body: dict[str, Any]) -> object:
    ended = ("resultJson", "failCode", "failMsg", "completeTime", "costTime")
    data = {name: value for name, value in body["data"].items() if name not in ended}
    return envelopes.envelope(envelopes.OK, "success", data | {"state": State.GENERATING})


def _disagreeing(task: Task, body: dict[str, Any]) -> object:
    return body | {"taskId": task.id[::-1] + "0"}


def _misdirected(task: Task, body: dict[str, Any]) -> object:
    param = envelopes.param(task, callBackUrl=f"{ELSEWHERE}/callback")
    return body | {"data": body["data"] | {"param": param}}


def _lacking(*names: str) -> "CallbackFault":
    """Send the usual callback without some members of `data`."""

    def lacking(_: Task, body: dict[str, Any]) -> object:
        kept = {name: value for name, value in body["data"].items() if name not in names}
        return body | {"data": kept}

    return _changed(lacking)


def _with_empty_result(_: Task, body: dict[str, Any]) -> object:
    return body | {"data": body["data"] | {"resultJson": ""}}


def _by_code_alone(task: Task, body: dict[str, Any]) -> object:
    return body | {"data": {"taskId": task.id}}


def _dropped(_: Ending, __: Chosen) -> tuple[Callback, ...]:
    return ()


def _duplicated(ending: Ending, chosen: Chosen) -> tuple[Callback, ...]:
    return (ending.callback(),) * chosen.times


def _overtaken(ending: Ending, chosen: Chosen) -> tuple[Callback, ...]:
    return (replace(ending.callback(), wait_for_another=chosen.seconds or 0.0),)


def _retried(ending: Ending, chosen: Chosen) -> tuple[Callback, ...]:
    return (replace(ending.callback(), lost_answers=chosen.times),)


def _unparsable(ending: Ending, _: Chosen) -> tuple[Callback, ...]:
    return (replace(ending.callback(), write=lambda: GARBAGE),)


CallbackFault = Callable[[Ending, Chosen], tuple[Callback, ...]]

CALLBACK_FAULTS: Mapping[str, CallbackFault] = {
    "callback-dropped": _dropped,
    "callback-duplicated": _duplicated,
    "callback-late": _late,
    "callback-early": _early,
    "callback-forged": _forged_before(Signing.FORGED),
    "callback-forged-signed": _forged_before(Signing.USUAL),
    "callback-forged-after": _forged_after,
    "callback-forged-instead": _forged_instead,
    "callback-stale": _signed(Signing.STALE),
    "callback-unsigned": _signed(Signing.MISSING),
    "callback-progress-after-end": _with_progress,
    "callback-overtaken": _overtaken,
    "callback-unparsable": _unparsable,
    "callback-ids-disagree": _changed(_disagreeing),
    "callback-foreign-url": _changed(_misdirected),
    "callback-without-result": _lacking("resultJson"),
    "callback-result-empty": _changed(_with_empty_result),
    "callback-without-credits": _lacking(*record_faults.CREDITS),
    "callback-code-only-success": _changed(_by_code_alone),
    "callback-general-reason": _lacking("failCode", "failMsg"),
    "callback-retried": _retried,
}


def callbacks(ending: Ending) -> tuple[Callback, ...]:
    """Return all callbacks about one end of a task, as its callback fault has them."""
    chosen = ending.task.faults.get(Kind.CALLBACK)
    return CALLBACK_FAULTS[chosen.name](ending, chosen) if chosen else (ending.callback(),)
