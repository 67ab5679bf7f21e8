"""The report of the long form: a page of figures, and the details of every run."""

import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from tests.faults.lab.scenario import Result

_SUMMARY_HEAD = """\
# Fault report

Written by `make faults` (`python -m tests.faults.lab`): every run has real `kie-gateway serve`
processes over real PostgreSQL, and the simulator for kie.ai. Nothing here is edited by hand. The
run also writes `{details}`, which is not committed: the method, and every
combination with its outcome.

| | |
|---|---|
"""

_COVERS = """
## What the runs cover

- **Kills.** `SIGKILL` to a gateway process before and after every message of a task's life, between
  the process and PostgreSQL, kie.ai, its callers and their webhooks; with one replica and three.
- **Faults.** Every fault of the [simulator](simulator.md), and pairs of a fault and a kill.
- **Outages.** PostgreSQL stopped in immediate mode under load. Creates beyond the account's limits.
- **The audit** compares the ledger of billed creates and what kie.ai holds to be true of each, the
  tables, the answers to callers and the deliveries that they received. *lost*: something accepted,
  billed or settled is missing. *double-paid*: two billed creates for a task, or two tasks for a
  key. *stuck*: work is overdue by 60 s, or a task has no final state at the end. *incomplete*: a
  settled task, or what its caller heard last, lacks something that kie.ai gave about its end.

The short form runs with all other tests: `tests/faults/test_lab.py`.
"""

_DETAILS_HEAD = """\
# Fault report: method and combinations

The figures are in `docs/fault-report.md`.
"""

_COLUMNS = (
    "combinations",
    "replicas",
    "runs",
    "tasks",
    "billed",
    "deaths",
    "unconfirmed for a time",
    "expired",
    "delivered",
    "delivered again",
    "findings",
    "seconds",
)

_METHOD = """
## Method

- **Messages.** There is a proxy between each process and PostgreSQL, between it and kie.ai, in
  front of all processes, where callers and callbacks arrive, and in front of the callers' webhook.
  A run in which nothing dies is recorded twice; what both have is the list of its messages, named
  by the tables and states that the SQL touches, without what the loops send when there is nothing
  to do. BEGIN, the preparing of statements and NOTIFY are left out: a death between them and the
  message that follows is that message's *before*.
- **Kills.** `SIGKILL` hits the process that sends or receives the message, at the moment when the
  message has arrived at the proxy and is not passed on (*before*), or when the other side has acted
  on it and the answer is not passed on (*after*). Where a loop's statement looks the same whether
  there is work or not, only *after* exists; it is inside a transaction, where nothing is done
  before its COMMIT. With one replica a new one is started, with three the others go on and the
  third is replaced.
- **Callers** repeat a POST that was not answered, with the same Idempotency-Key, at the one
  address in front of all replicas; so does kie.ai with its callbacks, four times in seven seconds.
- **Time** passes by shifting rows, never by the clock: queries of a later minute become due, and
  what is counted from a task's end becomes older by as much; leases that no living process has
  renewed run out, and so do bounds of tasks that nothing more can be reported of.
- **The audit** compares the ledger of billed creates, what kie.ai holds to be true of each (the
  simulator's `/simulator/truth`), the tables, what callers were answered and what their webhook
  received.
  *lost*: a 2xx without its row, a callback answered 200 and not stored, evidence stored and not
  applied, a final state without a delivery, a delivery that counts as delivered and was never
  received. *double-paid*: two billed creates for a task, or two tasks for a key. *stuck*: due,
  leased or bound by an instant that is over by 60 s, or not in a final state at the end, or its
  caller not notified. *incomplete*: of a settled task something is missing, or is otherwise, that
  kie.ai holds to be true of its end (state, result, URLs, credits, fail code and message, duration,
  kie.ai's instants), or its caller did not hear of it; not compared where a fault makes kie.ai's
  own record lie. *told twice*: more deliveries than final states and changes of them. *mistold*: a
  repeated delivery with another body or id, or a wrong signature. *overwritten*: the final state is
  not what kie.ai's record said last, or, where it said nothing, the first callback that was
  believed. *unexpected unconfirmed*: no death was between the commit of
  `submitting` and the record of the outcome, and kie.ai's answer was one that proves something.
  *unanswered*: a caller that never got through. *over limit*: kie.ai had to refuse a create for the
  account's limits.

## Repeat it

```console
$ make faults                                                   # all, and writes the report
$ python -m tests.faults.lab --only 'after kie createTask'      # some, and writes nothing
$ python -m tests.faults.lab --replicas 3 --tasks 20 --seed 7
```
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where and how the runs were made."""

    postgresql: str
    python: str
    seed: int
    seconds: float


async def setting(dsn: str, *, seed: int, seconds: float) -> Setting:
    connection = await asyncpg.connect(dsn)
    try:
        version = await connection.fetchval("SHOW server_version")
    finally:
        await connection.close()
    return Setting(
        postgresql=str(version), python=platform.python_version(), seed=seed, seconds=seconds
    )


def summary(results: Sequence[Result], setting: Setting, details: str) -> str:
    """Write the page that is kept: the figures, the findings, and what the runs cover."""
    return "".join(
        (
            _SUMMARY_HEAD.format(details=details),
            *(f"| {name} | {value} |\n" for name, value in _totals(results, setting)),
            "\n## Counts\n\n",
            _groups(results),
            _findings(results),
            _COVERS,
        )
    )


def details(results: Sequence[Result]) -> str:
    """Write what each run did: the method, and every combination with its outcome."""
    return "".join((_DETAILS_HEAD, _METHOD, "\n## Every combination\n", *_combinations(results)))


def _totals(results: Sequence[Result], setting: Setting) -> list[tuple[str, object]]:
    kinds = Counter(finding.kind for result in results for finding in result.findings)
    named = ("lost", "double-paid", "stuck", "incomplete")
    rest = sum(kinds.values()) - sum(kinds[kind] for kind in named)
    return [
        ("runs", len(results)),
        ("tasks", sum(_tasks(result) for result in results)),
        ("billed creates", sum(result.billed for result in results)),
        ("deliveries to callers", sum(result.told for result in results)),
        ("deaths of processes and of PostgreSQL", sum(result.strikes for result in results)),
        *((kind, kinds[kind]) for kind in named),
        ("other findings", rest),
        ("points that a run did not reach", sum(result.missed for result in results)),
        ("PostgreSQL, Python, seed", f"{setting.postgresql}, {setting.python}, {setting.seed}"),
        ("seconds", round(setting.seconds)),
    ]


def _groups(results: Sequence[Result]) -> str:
    rows = [
        f"| {' | '.join(_COLUMNS)} |",
        "|---" + "|--:" * (len(_COLUMNS) - 1) + "|",
    ]
    groups = dict.fromkeys(
        (result.combination.group, result.combination.replicas) for result in results
    )
    for group, replicas in groups:
        mine = [
            result
            for result in results
            if (result.combination.group, result.combination.replicas) == (group, replicas)
        ]
        numbers = (
            len(mine),
            sum(_tasks(result) for result in mine),
            sum(result.billed for result in mine),
            sum(result.strikes for result in mine),
            sum(result.unconfirmed for result in mine),
            sum(result.states.get("expired", 0) for result in mine),
            sum(result.told for result in mine),
            sum(result.repeated for result in mine),
            sum(len(result.findings) for result in mine),
            round(sum(result.seconds for result in mine)),
        )
        rows.append(f"| {group} | {replicas} | " + " | ".join(map(str, numbers)) + " |")
    return "\n".join(rows) + "\n"


def _findings(results: Sequence[Result]) -> str:
    found = [
        f"- {result.combination}: {finding}\n" for result in results for finding in result.findings
    ]
    return "\n## Findings\n\n" + ("".join(found) or "None.\n")


def _combinations(results: Sequence[Result]) -> list[str]:
    lines = []
    for group in dict.fromkeys(result.combination.group for result in results):
        lines.append(f"\n### {group}\n\n")
        lines += [f"- {_line(each)}\n" for each in results if each.combination.group == group]
    return lines


def _line(result: Result) -> str:
    ended = ", ".join(f"{count} {state}" for state, count in sorted(result.states.items()))
    notes = (
        f", {result.unconfirmed} unconfirmed for a time" if result.unconfirmed else "",
        ", **not reached**" if result.missed else "",
        f", **{len(result.findings)} findings**" if result.findings else "",
    )
    combination = result.combination
    return f"{combination.what}; replicas {combination.replicas}: {ended}{''.join(notes)}"


def _tasks(result: Result) -> int:
    return sum(result.states.values())
