"""What came of the events, as a page; and what of it breaks a promise. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from httpx import codes

from tests.faults.database.drill import BOUND, Outcome, Seen

COLUMNS = (
    "event",
    "creates with a key",
    "creates without",
    "reads",
    "slowest answer",
    "`/readyz`",
    "lost",
    "paid twice",
    "next create after",
    "all ready after",
)
_HEAD = """\
# Events of the database

Written by `make events` (`python -m tests.faults.database --docs`); nothing here is edited by
hand. Two `kie-gateway serve` processes work for twelve callers over a PostgreSQL of their own, with
the simulator for kie.ai, while each event happens. Nobody touches the gateway. The fault lab's
audit compares kie.ai's ledger, the tables, the answers and the deliveries afterwards.

- *creates*, *reads*: answers by status, from the beginning of the event until work went on; a
  caller with an Idempotency-Key repeats what was not answered with 2xx. `none`: no answer.
- *`/readyz`*: statuses in the same time, of both processes. `silent`: none within 3 s.
- *lost*: a 2xx without its row, a callback answered 200 and not stored, an id of kie.ai's not kept,
  a final state that its caller did not hear of, a task without a final state.
- *paid twice*: two creates for a task, or one for a create that was answered 503 without a key.
- *next create after*: seconds from the end of the event until kie.ai got a create. *all ready
  after*: until both processes answered `/readyz` with 200. Both have to be below 60.

"""
_FOOT = """
One event is repeated with `python -m tests.faults.database NAME` (`--help` lists the names; with
`--docs` its row is replaced), each as a test with
`pytest -m long tests/faults/test_database_events.py`. A failover that loses committed writes
(`failed-over-with-loss`) is not among them: spending is held then until a person resumes, which
`pytest -m long tests/processes/test_restored.py` shows.
"""


def rows(page: str) -> dict[str, str]:
    """Read the rows of a page by the titles of their events."""
    lines = (line for line in page.splitlines() if line.startswith("| "))
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines}


def page(
    titles: Sequence[str],
    outcomes: Sequence[Outcome],
    absent: Mapping[str, str],
    kept: Mapping[str, str],
) -> str:
    """Write the table, in the order of the titles.

    `absent` are the events that could not be played, and why; `kept` rows of earlier runs.
    """
    found = {**kept, **{each.event.title: row(each) for each in outcomes}}
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" + "|---" * 3 + "|--:|---" + "|--:" * 4 + "|"]
    lines += [found[title] for title in titles if title in found and title not in absent]
    notes = [f"\n- Not played: {title}. {why}\n" for title, why in absent.items()]
    notes += [f"\n- {each.event.name}: {line}\n" for each in outcomes for line in broken(each)]
    return "".join((_HEAD, "\n".join(lines), "\n", *notes, _FOOT))


def row(outcome: Outcome) -> str:
    """Write one event's line."""
    seen = outcome.seen
    kinds = Counter(finding.kind for finding in outcome.result.findings)
    cells = (
        outcome.event.title,
        *(
            _counted(seen.statuses.get(what, {}))
            for what in ("create with a key", "create", "read")
        ),
        f"{seen.slowest:.1f} s",
        _counted(seen.readiness),
        kinds.total() - kinds["double-paid"],
        kinds["double-paid"],
        _seconds(seen.resumed),
        _seconds(seen.ready),
    )
    return f"| {' | '.join(map(str, cells))} |"


def broken(outcome: Outcome) -> list[str]:
    """Return a sentence for everything that should not be so."""
    seen = outcome.seen
    late = {"the next create": seen.resumed, "readiness": seen.ready}
    return [
        *map(str, outcome.result.findings),
        *(f"in a log: {line:.300}" for line in outcome.logged),
        *_defects(seen),
        *(f"{what} did not come within {BOUND:.0f} s" for what, at in late.items() if at is None),
        *([] if seen.is_felt else ["nothing was to be noticed of it"]),
    ]


def _defects(seen: Seen) -> Iterator[str]:
    """Name the answers that say that the gateway is broken: nothing of the kind is its fault."""
    for what, statuses in seen.statuses.items():
        if count := statuses[codes.INTERNAL_SERVER_ERROR]:
            yield f"{count} times 500 to a {what}"
    if count := seen.readiness[str(codes.INTERNAL_SERVER_ERROR.value)]:
        yield f"{count} times 500 from /readyz"


def _counted(statuses: Mapping[int, int] | Mapping[str, int]) -> str:
    found = sorted((str(status or "none"), count) for status, count in statuses.items())
    return ", ".join(f"{status}: {count}" for status, count in found) or "none"


def _seconds(value: float | None) -> str:
    return f"over {BOUND:.0f} s" if value is None else f"{value:.1f} s"
