"""Compares what kie.ai billed, what callers were told and what the tables hold. Pure."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from typing_extensions import override

from app.services.tasks.lifecycle import WITHDRAWN
from simulator.faults import END_WORDS
from tests.faults.lab.points import Strike
from tests.faults.lab.truth import STATES, TOLD_TO_CALLERS, Facts, lacking

LATE = 60.0
"""Seconds that a due instant, a lease or a bound may be over."""
ENDS = {word: STATES[end] for end, words in END_WORDS.items() for word in (end, *words)}
"""The state that each of kie.ai's words for an end means."""
GENUINE = frozenset({"valid", "unchecked"})
FINAL = frozenset({"succeeded", "failed", "canceled", "expired"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One 2xx to a caller."""

    key: str
    task_id: str
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One row of `task_events`; unix seconds."""

    left: str | None
    target: str
    at: float
    reason: str | None = None
    kind: str = "moved"

    @property
    def is_told(self) -> bool:
        """Whether it is put out: a rest, or that what was told of it has changed."""
        named = re.findall(r"\w+", self.reason or "")
        changed = self.kind == "moved" or not set(named).isdisjoint(TOLD_TO_CALLERS)
        return self.target in FINAL and changed and self.reason != WITHDRAWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One row of `callbacks`."""

    source: str
    verdict: str
    signature: str
    kie_task_id: str | None
    end: str | None
    """kie.ai's word for the end that it tells; None: it tells none."""
    times: int = 1
    """How often the same came: it is kept once, and counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One row of `tasks`, with what belongs to it, oldest first."""

    id: str
    key: str
    state: str
    fail_source: str | None = None
    kie_task_id: str | None = None
    owes: bool = False
    """Somebody is to look at it again."""
    overdue: float = 0.0
    """Seconds since the earliest of its due instant, lease and bounds."""
    moves: Sequence[Move] = ()
    statements: Sequence[Statement] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """One accepted create in kie.ai's ledger."""

    task_id: str
    kie_task_id: str
    heard: int = 0
    """How many of its callbacks were answered with 200."""
    facts: Facts = field(default_factory=dict)
    """What kie.ai gives about its end; empty: its word is not to be relied on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One row of `deliveries`."""

    webhook_id: str
    task_id: str
    event: str
    state: str
    repeats: bool = False
    """It repeats another at its client's wish."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One POST to a caller's webhook."""

    webhook_id: str
    task_id: str
    event: str
    body: bytes
    verified: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All there is to know about one run."""

    keys: Sequence[str] = ()
    """Under which callers created."""
    told: Sequence[Told] = ()
    denied: Sequence[str] = ()
    """The calls without an Idempotency-Key that were answered 503, by the name in their body."""
    unseen: Sequence[str] = ()
    """Tasks that a GET did not find after their create's 2xx."""
    tasks: Sequence[Task] = ()
    bills: Sequence[Bill] = ()
    strikes: Sequence[Strike] = ()
    answered: Mapping[str, int] = field(default_factory=dict)
    """By task: the process that was handed the answer to its create."""
    muddled: frozenset[str] = frozenset()
    """Tasks a create of which kie.ai answered, by a fault, in a way that proves nothing."""
    deliveries: Sequence[Delivery] = ()
    heard: Sequence[Heard] = ()
    refused_for_limits: Sequence[str | None] = ()
    """Tasks whose creates kie.ai had to refuse because of the account's limits."""
    kept: Mapping[str, Facts] = field(default_factory=dict)
    """By task: what is kept of its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One broken promise."""

    kind: str
    task_id: str | None
    sentence: str

    @override
    def __str__(self) -> str:
        return f"{self.kind} {self.task_id}: {self.sentence}"


def audit(evidence: Evidence) -> list[Finding]:
    """Return every finding; an empty list is a clean run."""
    return [finding for rule in RULES for finding in rule(evidence)]


def _unanswered(evidence: Evidence) -> Iterator[Finding]:
    answered = {told.key for told in evidence.told}
    for key in evidence.keys:
        if key not in answered:
            yield _finding("unanswered", None, f"the caller of {key} never got an answer")


def _lost_tasks(evidence: Evidence) -> Iterator[Finding]:
    rows = {task.id: task for task in evidence.tasks}
    for told in evidence.told:
        row = rows.get(told.task_id)
        if row is None or row.key != told.key:
            sentence = f"answered {told.status} under {told.key}, and no such row is kept"
            yield _finding("lost", told.task_id, sentence)
    for bill in evidence.bills:
        if bill.task_id not in rows:
            yield _finding("lost", bill.task_id, f"{bill.kie_task_id} is billed, and has no row")


def _sent_though_denied(evidence: Evidence) -> Iterator[Finding]:
    rows = {task.key: task for task in evidence.tasks}
    billed = {bill.task_id for bill in evidence.bills}
    for call in evidence.denied:
        if call in rows and rows[call].id in billed:
            yield _finding("double-paid", rows[call].id, f"{call} was denied, and was sent")


def _unseen(evidence: Evidence) -> Iterator[Finding]:
    for task_id in evidence.unseen:
        yield _finding("lost", task_id, "its create was answered 2xx, and a GET did not find it")


def _unbound(evidence: Evidence) -> Iterator[Finding]:
    """What kie.ai answered to a process that lives on is kept."""
    dead = {strike.pid for strike in evidence.strikes if strike.is_death}
    rows = {task.id: task for task in evidence.tasks}
    for bill in evidence.bills:
        row = rows.get(bill.task_id)
        if row and evidence.answered.get(row.id, None) not in {None, *dead} and not row.kie_task_id:
            sentence = f"a process that lives was given {bill.kie_task_id}, and did not keep it"
            yield _finding("lost", row.id, sentence)


def _two_for_one_key(evidence: Evidence) -> Iterator[Finding]:
    for key, count in Counter(task.key for task in evidence.tasks).items():
        if count > 1:
            yield _finding("double-paid", None, f"{key} has {count} tasks")


def _double_paid(evidence: Evidence) -> Iterator[Finding]:
    for task_id, count in Counter(bill.task_id for bill in evidence.bills).items():
        if count > 1:
            yield _finding("double-paid", task_id, f"kie.ai billed {count} creates for it")


def _lost_callbacks(evidence: Evidence) -> Iterator[Finding]:
    rows = {task.id: task for task in evidence.tasks}
    for bill in evidence.bills:
        row = rows.get(bill.task_id)
        said = [one.times for one in row.statements if one.source == "callback"] if row else []
        if sum(said) < bill.heard:
            sentence = f"{bill.heard} callbacks were answered 200, {sum(said)} are stored"
            yield _finding("lost", bill.task_id, sentence)


def _unapplied(evidence: Evidence) -> Iterator[Finding]:
    for task in evidence.tasks:
        vouched = _vouched(task)
        if vouched and not _is_settled(task):
            sentence = f"kie.ai's word is stored ({vouched[0].end}), and it is {task.state}"
            yield _finding("lost", task.id, sentence)


def _unsettled(evidence: Evidence) -> Iterator[Finding]:
    """A billed task at rest that kie.ai's end did not reach, though its id was known."""
    rows = {task.id: task for task in evidence.tasks}
    for bill in evidence.bills:
        row = rows.get(bill.task_id)
        if row is None or row.state not in FINAL or _is_settled(row):
            continue
        if row.kie_task_id or any(said.kie_task_id for said in row.statements):
            sentence = f"{bill.kie_task_id} is known and billed, and the task is {row.state}"
            yield _finding("lost", row.id, sentence)


def _overwritten(evidence: Evidence) -> Iterator[Finding]:
    for task in evidence.tasks:
        said = _last_word(task)
        if said and _is_settled(task) and ENDS[said.end or ""] != task.state:
            sentence = f"kie.ai's {said.source} said {said.end}, and it is {task.state}"
            yield _finding("overwritten", task.id, sentence)


def _incomplete(evidence: Evidence) -> Iterator[Finding]:
    """Every fact that kie.ai gives is kept; its caller had those of the end from what came last."""
    rows = {task.id: task for task in evidence.tasks}
    told = _told_last(evidence)
    for bill in evidence.bills:
        if bill.task_id not in rows or not _is_settled(rows[bill.task_id]):
            continue  # lost, if it should be
        kept = evidence.kept.get(bill.task_id, {})
        for name in lacking(kept, bill.facts):
            sentence = f"{name} is {_cut(kept.get(name))}, and kie.ai has {_cut(bill.facts[name])}"
            yield _finding("incomplete", bill.task_id, sentence)
        for name in lacking(told.get(bill.task_id, kept), bill.facts, TOLD_TO_CALLERS):
            sentence = f"the last that its caller heard of {name} is not what kie.ai has"
            yield _finding("incomplete", bill.task_id, sentence)


def _stuck(evidence: Evidence) -> Iterator[Finding]:
    for task in evidence.tasks:
        if task.overdue >= LATE:
            sentence = f"it is {task.state} and has waited {task.overdue:.0f} s past its time"
            yield _finding("stuck", task.id, sentence)
        elif task.state not in FINAL:
            owed = "owes a look later" if task.owes else "nobody will look at it"
            yield _finding("stuck", task.id, f"it did not come to rest: {task.state}, {owed}")


def _unexpectedly_unconfirmed(evidence: Evidence) -> Iterator[Finding]:
    for task in evidence.tasks:
        for sent, lost in _losses(task):
            if not _may_be_unknown(evidence, task.id, sent, lost.at):
                sentence = f"nothing died between its sending and the record of it ({lost.reason})"
                yield _finding("unexpected unconfirmed", task.id, sentence)


def _over_limits(evidence: Evidence) -> Iterator[Finding]:
    for task_id in evidence.refused_for_limits:
        yield _finding("over limit", task_id, "kie.ai saw more creates than the account may send")


def _untold(evidence: Evidence) -> Iterator[Finding]:
    """Each coming to rest is put out once, and once more when what was told of it has changed."""
    put = Counter((each.task_id, each.event) for each in evidence.deliveries if not each.repeats)
    for task in evidence.tasks:
        came = Counter(move.target for move in task.moves if move.is_told)
        for state, count in came.items():
            found = put[task.id, f"task.{state}"]
            if found != count:
                kind = "lost" if found < count else "told twice"
                sentence = f"it became {state} {count} times, and {found} deliveries say so"
                yield _finding(kind, task.id, sentence)


def _unheard(evidence: Evidence) -> Iterator[Finding]:
    heard = {each.webhook_id for each in evidence.heard}
    for each in evidence.deliveries:
        if each.state != "delivered":
            sentence = f"its caller was not told of {each.event}: {each.state}"
            yield _finding("stuck", each.task_id, sentence)
        elif each.webhook_id not in heard:
            sentence = f"{each.event} counts as delivered, and its caller never heard of it"
            yield _finding("lost", each.task_id, sentence)


def _misheard(evidence: Evidence) -> Iterator[Finding]:
    """However often a delivery came, it was the same each time, signed, and one of ours."""
    put = {each.webhook_id: (each.task_id, each.event) for each in evidence.deliveries}
    bodies: dict[str, bytes] = {}
    for each in evidence.heard:
        same = bodies.setdefault(each.webhook_id, each.body) == each.body
        if not same or not each.verified or put.get(each.webhook_id) != (each.task_id, each.event):
            yield _finding("mistold", each.task_id, f"{each.webhook_id} is not what was put out")


RULES = (
    _unanswered,
    _lost_tasks,
    _sent_though_denied,
    _unseen,
    _unbound,
    _lost_callbacks,
    _unapplied,
    _unsettled,
    _two_for_one_key,
    _double_paid,
    _overwritten,
    _incomplete,
    _stuck,
    _unexpectedly_unconfirmed,
    _over_limits,
    _untold,
    _unheard,
    _misheard,
)


def _finding(kind: str, task_id: str | None, sentence: str) -> Finding:
    return Finding(kind=kind, task_id=task_id, sentence=sentence)


def _vouched(task: Task) -> list[Statement]:
    """Return the genuine statements about its end."""
    return [said for said in task.statements if said.end in ENDS and said.signature in GENUINE]


def _last_word(task: Task) -> Statement | None:
    """Return what kie.ai's record said last, which callbacks can be forged and failures turn to.

    Where it said nothing: the first callback that was believed.
    """
    vouched = _vouched(task)
    records = [said for said in vouched if said.source == "query"]
    believed = (said for said in vouched if said.verdict == "applied")
    return records[-1] if records else next(believed, None)


def _told_last(evidence: Evidence) -> Mapping[str, Facts]:
    """Return what the callers hold of each task: of all that came, the highest version."""
    held: dict[str, Facts] = {}
    for each in evidence.heard:
        data = json.loads(each.body).get("data", {})
        if data.get("version", 0) >= held.get(each.task_id, {}).get("version", 0):
            held[each.task_id] = data
    return held


def _cut(value: object) -> str:
    return f"{value!r:.60}"


def _is_settled(task: Task) -> bool:
    return task.state == "succeeded" or (task.state == "failed" and task.fail_source == "kie")


def _losses(task: Task) -> Iterator[tuple[float, Move]]:
    """Yield each move to unconfirmed, and when the task had been sent."""
    sent = 0.0
    for move in task.moves:
        if move.target == "submitting":
            sent = move.at
        elif move.target == "unconfirmed":
            yield sent, move


def _may_be_unknown(evidence: Evidence, task_id: str, sent: float, lost: float) -> bool:
    if task_id in evidence.muddled:
        return True
    handed = evidence.answered.get(task_id)
    # PostgreSQL's death is no excuse for a living process that had the answer in hand.
    return any(
        sent <= strike.until and strike.at <= lost and (handed is None or handed == strike.pid)
        for strike in evidence.strikes
    )
