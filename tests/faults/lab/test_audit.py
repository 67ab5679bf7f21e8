"""The audit finds what it is there for, and nothing in a clean run."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.services.tasks.lifecycle import WITHDRAWN
from tests.faults.lab.audit import (
    Bill,
    Delivery,
    Evidence,
    Heard,
    Move,
    Statement,
    Task,
    Told,
    audit,
)
from tests.faults.lab.points import Strike

MOVES = (
    Move(left=None, target="queued", at=10.0),
    Move(left="queued", target="submitting", at=10.1),
    Move(left="submitting", target="running", at=10.3),
    Move(left="running", target="succeeded", at=11.0),
)
LOST_MOVES = (*MOVES[:2], Move(left="submitting", target="unconfirmed", at=15.0), MOVES[-1])
SAID = Statement(
    source="callback", verdict="applied", signature="valid", kie_task_id="k", end="success"
)
TASK = Task(id="t", key="key", state="succeeded", kie_task_id="k", moves=MOVES, statements=(SAID,))
FACTS = {"state": "succeeded", "result_urls": ["https://a/1.png"], "credits_consumed": 4.0}
KEPT = {**FACTS, "fail_code": None}
PUT = Delivery(webhook_id="msg_1", task_id="t", event="task.succeeded", state="delivered")


def _body(version: int, **data: object) -> bytes:
    return json.dumps({"data": {"version": version, **data}}).encode()


HEARD = Heard(
    webhook_id="msg_1",
    task_id="t",
    event="task.succeeded",
    body=_body(4, **KEPT),
    verified=True,
)
CLEAN = Evidence(
    keys=("key",),
    told=(Told(key="key", task_id="t", status=201),),
    tasks=(TASK,),
    bills=(Bill(task_id="t", kie_task_id="k", heard=1, facts=FACTS),),
    answered={"t": 7},
    deliveries=(PUT,),
    heard=(HEARD, HEARD),
    kept={"t": KEPT},
)
RECORD_FAILED = replace(SAID, source="query", verdict="disagreed", end="fail")
OPEN = replace(TASK, state="running", statements=(), owes=True)
LOST = replace(TASK, moves=LOST_MOVES)
EXPIRED = replace(TASK, state="expired", fail_source="gateway", statements=())


def _with(task: Task, **others: Any) -> Evidence:
    bills = [replace(bill, heard=len(task.statements)) for bill in CLEAN.bills]
    return replace(CLEAN, **{"tasks": (task,), "bills": bills, **others})


def _amended(kind: str, names: str) -> Task:
    move = Move(left="succeeded", target="succeeded", at=12.0, reason=f"{kind}: {names}", kind=kind)
    return replace(TASK, moves=(*MOVES, move))


def _found(evidence: Evidence) -> list[tuple[str, str | None]]:
    return [(finding.kind, finding.task_id) for finding in audit(evidence)]


def test_nothing_is_found_in_a_clean_run() -> None:
    assert audit(CLEAN) == []


FOUND: Sequence[tuple[str, str, Evidence]] = [
    ("lost", "a 201 without its row", replace(CLEAN, tasks=(), bills=())),
    ("lost", "a 201 whose row is another's", _with(replace(TASK, key="other"))),
    ("lost", "billed without a row", replace(CLEAN, tasks=(), told=(), keys=())),
    ("lost", "a callback that was answered and not stored", replace(CLEAN, tasks=(EXPIRED,))),
    (
        "lost",
        "stored and not applied",
        _with(replace(TASK, state="unconfirmed", owes=True, kie_task_id=None)),
    ),
    ("lost", "an end that was not asked for", _with(EXPIRED)),
    ("double-paid", "two creates", replace(CLEAN, bills=(*CLEAN.bills, *CLEAN.bills))),
    (
        "double-paid",
        "two tasks",
        replace(CLEAN, tasks=(TASK, replace(TASK, id="u")), told=(), keys=()),
    ),
    (
        "overwritten",
        "the end is another",
        _with(replace(TASK, state="failed", fail_source="kie")),
    ),
    (
        "overwritten",
        "the record said otherwise after a callback",
        _with(replace(TASK, statements=(SAID, RECORD_FAILED))),
    ),
    ("incomplete", "nothing is kept", replace(CLEAN, kept={})),
    (
        "incomplete",
        "credits that nobody asked for",
        replace(CLEAN, kept={"t": {**KEPT, "credits_consumed": None}}),
    ),
    (
        "incomplete",
        "a result that was forged",
        replace(CLEAN, kept={"t": {**KEPT, "result_urls": ["https://forged/1.png"]}}),
    ),
    (
        "incomplete",
        "kept, and never told",
        replace(CLEAN, heard=(replace(HEARD, body=_body(4, state="succeeded")),)),
    ),
    (
        "incomplete",
        "told first and taken back by a higher version",
        replace(CLEAN, heard=(HEARD, replace(HEARD, body=_body(5, state="failed")))),
    ),
    ("lost", "a correction that nothing tells of", _with(_amended("corrected", "result_urls"))),
    ("stuck", "due and not looked at", _with(replace(TASK, overdue=60.0))),
    ("stuck", "open, and to be looked at later", _with(OPEN)),
    ("stuck", "open, and forgotten", _with(replace(OPEN, owes=False))),
    ("unexpected unconfirmed", "nothing died", _with(LOST)),
    (
        "unexpected unconfirmed",
        "another process died",
        _with(LOST, strikes=(Strike(at=12.0, until=12.0, pid=8),)),
    ),
    (
        "unexpected unconfirmed",
        "it died before",
        _with(LOST, strikes=(Strike(at=10.0, until=10.0, pid=7),)),
    ),
    (
        "unexpected unconfirmed",
        "PostgreSQL died, and the answer was in the hands of the living",
        _with(LOST, strikes=(Strike(at=12.0, until=12.0),)),
    ),
    ("unanswered", "no caller heard of it", replace(CLEAN, told=())),
    ("lost", "a rest that nothing tells of", replace(CLEAN, deliveries=(), heard=())),
    ("lost", "delivered to nobody", replace(CLEAN, heard=())),
    ("stuck", "not delivered", replace(CLEAN, deliveries=(replace(PUT, state="exhausted"),))),
    ("told twice", "two deliveries", replace(CLEAN, deliveries=(PUT, PUT))),
    ("mistold", "unsigned", replace(CLEAN, heard=(replace(HEARD, verified=False),))),
    ("mistold", "changed", replace(CLEAN, heard=(HEARD, replace(HEARD, body=b"{}")))),
    ("mistold", "not ours", replace(CLEAN, heard=(HEARD, replace(HEARD, webhook_id="msg_2")))),
    ("double-paid", "denied without a key, and sent", replace(CLEAN, denied=("key",))),
    ("lost", "told of, and not found", replace(CLEAN, unseen=("t",))),
    (
        "lost",
        "an id in the hands of one who stood still",
        _with(
            replace(TASK, state="expired", kie_task_id=None, statements=()),
            strikes=(Strike(at=12.0, until=60.0, pid=7, is_death=False),),
        ),
    ),
    ("over limit", "kie.ai refused it", replace(CLEAN, refused_for_limits=("t",))),
]


@pytest.mark.parametrize(
    ("kind", "evidence"),
    [pytest.param(kind, evidence, id=f"{kind}: {name}") for kind, name, evidence in FOUND],
)
def test_found(kind: str, evidence: Evidence) -> None:
    assert kind in {kind for kind, _ in _found(evidence)}


def test_each_finding_names_the_task() -> None:
    found = audit(_with(replace(TASK, overdue=61.0)))
    assert [str(finding) for finding in found] == [
        "stuck t: it is succeeded and has waited 61 s past its time"
    ]


MAY_BE_UNKNOWN: Sequence[tuple[str, dict[str, Any]]] = [
    ("who had the answer died", {"strikes": (Strike(at=12.0, until=12.0, pid=7),)}),
    (
        "somebody died before it was sent",
        {"strikes": (Strike(at=12.0, until=12.0, pid=8),), "answered": {}},
    ),
    (
        "PostgreSQL died before it was sent",
        {"strikes": (Strike(at=12.0, until=12.0),), "answered": {}},
    ),
    (
        "PostgreSQL was dying when it was sent",
        {"strikes": (Strike(at=10.0, until=10.2),), "answered": {}},
    ),
    ("kie.ai's answer proves nothing", {"muddled": frozenset({"t"})}),
]


@pytest.mark.parametrize("given", [pytest.param(given, id=name) for name, given in MAY_BE_UNKNOWN])
def test_unconfirmed_is_allowed(given: dict[str, Any]) -> None:
    assert _found(_with(LOST, **given)) == []


def test_what_was_denied_is_withdrawn_and_its_client_not_told() -> None:
    moves = (MOVES[0], Move(left="queued", target="canceled", at=25.0, reason=WITHDRAWN))
    gone = replace(TASK, state="canceled", kie_task_id=None, statements=(), moves=moves)
    clean = Evidence(tasks=(gone,), denied=("key",))
    assert audit(clean) == []


def test_what_was_never_billed_may_expire() -> None:
    gone = replace(EXPIRED, kie_task_id=None, moves=(*LOST_MOVES[:3],))
    assert (
        _found(_with(gone, bills=(), answered={}, strikes=(Strike(at=12.0, until=12.0, pid=7),)))
        == []
    )


def test_an_end_of_the_gateways_own_yields() -> None:
    late = replace(TASK, moves=(*MOVES[:3], Move(left="expired", target="succeeded", at=20.0)))
    assert audit(_with(late)) == []


def test_a_turn_that_the_record_tells_of_is_no_overwriting() -> None:
    failed = replace(TASK, state="failed", fail_source="kie", statements=(SAID, RECORD_FAILED))
    assert "overwritten" not in {kind for kind, _ in _found(_with(failed))}


def test_what_a_fill_of_credits_changes_is_put_out_to_nobody() -> None:
    assert audit(_with(_amended("filled", "credits_consumed, duration_seconds"))) == []


def test_a_correction_is_put_out_once_more() -> None:
    again = replace(PUT, webhook_id="msg_2")
    told = replace(HEARD, webhook_id="msg_2", body=_body(5, **KEPT))
    task = _amended("corrected", "result, result_urls")
    assert audit(_with(task, deliveries=(PUT, again), heard=(HEARD, told))) == []


def test_a_record_that_lies_by_a_fault_is_not_compared() -> None:
    bill = replace(CLEAN.bills[0], facts={})
    assert audit(replace(CLEAN, bills=(bill,), kept={})) == []
