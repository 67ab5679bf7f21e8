"""What is sent to a customer about one task: one letter as a rule, others by callback faults."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum, auto
from typing import Any

from simulator import documents, shapes
from simulator.account import State, Task
from simulator.choices import Chosen
from simulator.faults import Kind

ELSEWHERE = "https://forged.example"
GARBAGE = b'{"code":200,"data":{"taskId":\xff<html>'


class Signing(Enum):
    """How a letter is signed, if there is a key."""

    USUAL = auto()
    MISSING = auto()
    FORGED = auto()
    """With a wrong key; without a key as well."""
    STALE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One callback, retried until it is taken."""

    due: float
    """Unix seconds."""
    write: Callable[[], bytes]
    """Written when it is due: it tells the balance of that moment."""
    signing: Signing = Signing.USUAL
    unheard: int = 0
    """So many answers are lost on their way back."""
    hold: float = 0.0
    """Seconds at most that another task's letter is waited for."""
    then: "Letter | None" = None
    """Sent after this one is through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """The end of a task, and how it is told as a rule."""

    task: Task
    balance: Callable[[], Decimal]
    delay: float

    def letter(self) -> Letter:
        return Letter(due=self.task.finished_at + self.delay, write=self.written())

    def written(
        self, change: Callable[[Task, Any], Any] = lambda _, body: body
    ) -> Callable[[], bytes]:
        """Write the usual body, changed."""
        return lambda: documents.encode(
            change(self.task, shapes.callback(self.task, self.balance()))
        )


def _changed(change: Callable[[Task, dict[str, Any]], object]) -> "Mailing":
    """Send the usual letter with another body."""
    return lambda news, _: (replace(news.letter(), write=news.written(change)),)


def _signed(signing: Signing) -> "Mailing":
    return lambda news, _: (replace(news.letter(), signing=signing),)


def _late(news: News, chosen: Chosen) -> tuple[Letter, ...]:
    letter = news.letter()
    return (replace(letter, due=letter.due + (chosen.seconds or 0.0)),)


def _early(news: News, _: Chosen) -> tuple[Letter, ...]:
    return (replace(news.letter(), due=news.task.created_at),)


def _forged(news: News, _: Chosen) -> tuple[Letter, ...]:
    """Send what somebody could who has seen a callback: all but the signature looks right."""
    task = replace(news.task, failure=None, base_url=ELSEWHERE)
    forged = Letter(
        due=task.created_at + task.duration / 2,
        write=replace(news, task=task).written(),
        signing=Signing.FORGED,
    )
    return (forged, news.letter())


def _with_progress(news: News, _: Chosen) -> tuple[Letter, ...]:
    letter = news.letter()
    return (replace(letter, then=replace(letter, write=news.written(_progress))),)


def _progress(_: Task, body: dict[str, Any]) -> object:
    ended = ("resultJson", "failCode", "failMsg", "completeTime", "costTime")
    data = {name: value for name, value in body["data"].items() if name not in ended}
    return shapes.envelope(shapes.OK, "success", data | {"state": State.GENERATING})


def _disagreeing(task: Task, body: dict[str, Any]) -> object:
    return body | {"taskId": task.id[::-1] + "0"}


def _misdirected(task: Task, body: dict[str, Any]) -> object:
    param = shapes.param(task, callBackUrl=f"{ELSEWHERE}/callback")
    return body | {"data": body["data"] | {"param": param}}


def _dropped(_: News, __: Chosen) -> tuple[Letter, ...]:
    return ()


def _duplicated(news: News, chosen: Chosen) -> tuple[Letter, ...]:
    return (news.letter(),) * chosen.times


def _overtaken(news: News, chosen: Chosen) -> tuple[Letter, ...]:
    return (replace(news.letter(), hold=chosen.seconds or 0.0),)


def _retried(news: News, chosen: Chosen) -> tuple[Letter, ...]:
    return (replace(news.letter(), unheard=chosen.times),)


def _unparsable(news: News, _: Chosen) -> tuple[Letter, ...]:
    return (replace(news.letter(), write=lambda: GARBAGE),)


Mailing = Callable[[News, Chosen], tuple[Letter, ...]]

MAILINGS: Mapping[str, Mailing] = {
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


def letters(news: News) -> tuple[Letter, ...]:
    """Give all that is to be sent about a task, its callback fault included."""
    chosen = news.task.faults.get(Kind.CALLBACK)
    return MAILINGS[chosen.name](news, chosen) if chosen else (news.letter(),)
