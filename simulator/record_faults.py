"""recordInfo: a task's record, as its record fault has it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from simplejson import RawJSON
from starlette.responses import Response

from simulator import envelopes
from simulator.account import ENDS, Failure, Task
from simulator.answers import answer, page
from simulator.bodies import RefusedError
from simulator.choices import Chosen
from simulator.faults import RECORD_REFUSALS, Kind

NOT_VISIBLE = "record-null"
"""Also what is answered about ids that nobody knows."""
UNKNOWN_STATE = "post_processing"
OPPOSITE = Failure(code="500", message="Internal server error")

Envelope = dict[str, Any]


def _with_unknown_state(task: Task, now: float) -> Envelope:
    envelope = envelopes.record(task, now)
    if task.state(now) not in ENDS:
        envelope["data"]["state"] = UNKNOWN_STATE
    return envelope


def _contradicting(task: Task, now: float) -> Envelope:
    return envelopes.record(replace(task, failure=None if task.failure else OPPOSITE), now)


def _with_input_object(task: Task, now: float) -> Envelope:
    envelope = envelopes.record(task, now)
    envelope["data"]["param"] = envelopes.param(task, input=RawJSON(task.body.input))
    return envelope


RECORDS: Mapping[str, Callable[[Task, float], Envelope]] = {
    "record-unknown-state": _with_unknown_state,
    "record-contradicts": _contradicting,
    "record-input-object": _with_input_object,
}
"""Records that are not as usual. The other faults of this kind show no record."""


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
