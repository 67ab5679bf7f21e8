"""recordInfo: a task's record, as its record fault has it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from simplejson import RawJSON
from starlette.responses import Response

from simulator import envelopes, json_codec
from simulator.account import ENDS, Task
from simulator.answers import answer, page
from simulator.bodies import RefusedError
from simulator.choices import Chosen
from simulator.failures import Failure
from simulator.faults import RECORD_REFUSALS, Kind

NOT_VISIBLE = "record-null"
"""Also what is answered about ids that nobody knows."""
UNKNOWN_STATE = "post_processing"
OPPOSITE = Failure(code="500", message="Internal server error")

CREDITS = ("creditsConsumed", "consumeCredits")
OTHER_DIGITS = str.maketrans("0123456789", "1234567890")

Envelope = dict[str, Any]
Data = dict[str, Any]

LATE: Mapping[str, Mapping[str, str | None]] = {
    "record-result-late": {"resultJson": ""},
    "record-credits-late": dict.fromkeys(CREDITS),
}
"""Members that callbacks lack and records show late, and what the record says until then."""


def _with_unknown_state(task: Task, now: float) -> Envelope:
    envelope = envelopes.record(task, now)
    if task.state(now) not in ENDS:
        envelope["data"]["state"] = UNKNOWN_STATE
    return envelope


def _contradicting(task: Task, now: float) -> Envelope:
    opposite = None if task.failure_at(now) else OPPOSITE
    return envelopes.record(replace(task, failure=opposite, turns_after=None), now)


def _echoing(members: Callable[[Task], dict[str, object]]) -> "Write":
    """Echo the create with other members."""

    def write(task: Task, now: float) -> Envelope:
        envelope = envelopes.record(task, now)
        envelope["data"]["param"] = envelopes.param(task, **members(task))
        return envelope

    return write


def _foreign_url(task: Task) -> dict[str, object]:
    """Name another task's URL, as far as it was given one: an id's digits are other ones."""
    if task.body.callback_url is None:
        return {}
    scheme, slashes, rest = task.body.callback_url.partition("//")
    host, slash, path = rest.partition("/")
    return {"callBackUrl": scheme + slashes + host + slash + path.translate(OTHER_DIGITS)}


def _without_param(task: Task, now: float) -> Envelope:
    envelope = envelopes.record(task, now)
    del envelope["data"]["param"]
    return envelope


def _with_late_members(task: Task, now: float) -> Envelope:
    envelope = envelopes.record(task, now)
    if now < complete_at(task, now):
        late = LATE[task.faults[Kind.RECORD].name]
        envelope["data"] |= {name: late[name] for name in late if name in envelope["data"]}
    return envelope


Write = Callable[[Task, float], Envelope]


RECORDS: Mapping[str, Write] = {
    "record-unknown-state": _with_unknown_state,
    "record-contradicts": _contradicting,
    "record-input-object": _echoing(lambda task: {"input": RawJSON(task.body.input)}),
    "record-foreign-url": _echoing(_foreign_url),
    "record-without-param": _without_param,
    "record-param-escaped": _echoing(lambda task: {"input": json_codec.text(task.body.input)}),
    **dict.fromkeys(LATE, _with_late_members),
}
"""Records that are not as usual. The other faults of this kind show no record."""


def told_later(task: Task, data: Data) -> Data:
    """Return a callback's data without what the record is to show late."""
    chosen = task.faults.get(Kind.RECORD)
    late = LATE.get(chosen.name, {}) if chosen else {}
    return {name: value for name, value in data.items() if name not in late}


def complete_at(task: Task, now: float) -> float:
    """Tell from when on the record shows all of the end that holds now."""
    chosen = task.faults.get(Kind.RECORD)
    late = chosen.seconds if chosen and chosen.name in LATE else None
    return task.ended_at(now) + (late or 0.0)


def answer_query(task: Task | None, now: float) -> Response:
    """Answer a query; raises `RefusedError`."""
    if task is None:
        raise _refused(NOT_VISIBLE)
    chosen = task.faults.get(Kind.RECORD)
    if chosen is None:
        return answer(envelopes.record(task, now))
    if (write := RECORDS.get(chosen.name)) is not None:
        return answer(write(task, now))
    if _is_over(chosen, now - task.created_at):
        return answer(envelopes.record(task, now))
    if chosen.name in RECORD_REFUSALS:
        raise _refused(chosen.name)
    return page(HTTPStatus.BAD_GATEWAY)


def _is_over(chosen: Chosen, age: float) -> bool:
    return chosen.seconds is not None and age >= chosen.seconds


def _refused(name: str) -> RefusedError:
    refusal = RECORD_REFUSALS[name]
    return RefusedError(refusal.code, refusal.message)
