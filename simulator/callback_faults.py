"""The callbacks that are sent for one task: one as a rule, others by callback faults."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum, auto
from typing import Any

from simulator import envelopes, json_codec
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
    """The end of a task, and its usual callback."""

    task: Task
    balance: Callable[[], Decimal]
    delay: float

    def callback(self) -> Callback:
        return Callback(due=self.task.finished_at + self.delay, write=self.written())

    def written(
        self, change: Callable[[Task, Any], Any] = lambda _, body: body
    ) -> Callable[[], bytes]:
        """Write the usual body, changed."""
        return lambda: json_codec.encode(
            change(self.task, envelopes.callback(self.task, self.balance()))
        )


def _changed(change: Callable[[Task, dict[str, Any]], object]) -> "CallbackFault":
    """Send the usual callback with another body."""
    return lambda ending, _: (replace(ending.callback(), write=ending.written(change)),)


def _signed(signing: Signing) -> "CallbackFault":
    return lambda ending, _: (replace(ending.callback(), signing=signing),)


def _late(ending: Ending, chosen: Chosen) -> tuple[Callback, ...]:
    callback = ending.callback()
    return (replace(callback, due=callback.due + (chosen.seconds or 0.0)),)


def _early(ending: Ending, _: Chosen) -> tuple[Callback, ...]:
    return (replace(ending.callback(), due=ending.task.created_at),)


def _forged(ending: Ending, _: Chosen) -> tuple[Callback, ...]:
    """Send what somebody could who has seen a callback: all but the signature looks right."""
    task = replace(ending.task, failure=None, base_url=ELSEWHERE)
    forged = Callback(
        due=task.created_at + task.duration / 2,
        write=replace(ending, task=task).written(),
        signing=Signing.FORGED,
    )
    return (forged, ending.callback())


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
    "callback-forged": _forged,
    "callback-stale": _signed(Signing.STALE),
    "callback-unsigned": _signed(Signing.MISSING),
    "callback-progress-after-end": _with_progress,
    "callback-overtaken": _overtaken,
    "callback-unparsable": _unparsable,
    "callback-ids-disagree": _changed(_disagreeing),
    "callback-foreign-url": _changed(_misdirected),
    "callback-retried": _retried,
}


def callbacks(ending: Ending) -> tuple[Callback, ...]:
    """Return all callbacks of a task, as its callback fault has them."""
    chosen = ending.task.faults.get(Kind.CALLBACK)
    return CALLBACK_FAULTS[chosen.name](ending, chosen) if chosen else (ending.callback(),)
