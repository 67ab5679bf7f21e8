"""What came of the attacks, as a page; and which bounds were broken. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.attacks.attack import Attack
from tests.attacks.catalogue import ATTACKS
from tests.attacks.scene import PATIENCE, Figures

LIVEZ = 1.0
"""Seconds within which `/livez` answers, whatever anybody does."""

CALLBACKS = 2.0
"""Seconds within which kie.ai's callbacks are answered."""
LOOPS = 5.0
"""Seconds by which the gateway's own loops may be late."""

_HEAD = """\
# Attacks

Written by `python -m tests.attacks --keep after`; nothing here is edited by hand. Each attack runs
against one `kie-gateway serve` with default settings (kie.ai's limits raised) on two cores, which
the attacker, PostgreSQL and the simulator share; the attacker gives way to them. *before* is commit
c507007, measured by the same command with `--checkout`; where that row is missing, it was not
measured. One is repeated with `python -m tests.attacks NAME`.

- *`/livez`*: the slowest answer on a new connection, ten times a second; `none`: none in 10 s.
- *read*, *webhook*: another client's p95 in milliseconds during the attack, and in the quiet
  before: reading a task, and from its creation to its webhook (of which kie.ai takes 500 ms).
- *loops*: seconds by which the latest of the gateway's own loops (sending, asking, delivering,
  sweeping …) came round after its time, once a second by `/metrics`, which *before* has too; `-`:
  was not measured, since the column is newer than the row.
- *errors*: that client's requests, and `/livez`, that failed.
- *memory*, *database*: megabytes by which they grew. *rows*: tasks, callbacks and deliveries.
- *queries*: questions to kie.ai; the well-behaved client causes some itself.

"""
_COLUMNS = (
    *("attack", "", "answered", "`/livez`", "read (quiet)", "webhook (quiet)", "loops", "errors"),
    *("memory", "database", "rows", "queries"),
)


def broken(attack: Attack, figures: Figures) -> Iterator[str]:
    """Say which bounds the gateway broke."""
    for found, most, sentence in (
        (figures.livez_worst, LIVEZ, "/livez took {:.1f} s, more than {:g}"),
        (figures.loops_late or 0.0, LOOPS, "a loop was {:.1f} s late, more than {:g}"),
        (figures.errors, 0, "{} requests of the well-behaved failed"),
        (figures.memory, attack.memory, "memory grew by {:.0f} MB, more than {:g}"),
        (figures.database, attack.database, "the database grew by {:.0f} MB, more than {:g}"),
    ):
        if found > most:
            yield sentence.format(found, most)
    yield from _said(figures.answered)
    if attack.webhook is not None and figures.webhook_p95 > attack.webhook:
        yield f"another client's webhooks took {figures.webhook_p95:.1f} s"
    if attack.queries is not None and figures.queries > attack.queries + _own(figures):
        yield f"{figures.queries} queries to kie.ai, more than {attack.queries} and its own"
    times = figures.read_p95 / figures.read_p95_quiet
    if attack.slower is not None and times > attack.slower:
        yield f"another client's reads took {times:.1f} times as long"


def _said(answered: str) -> Iterator[str]:
    """Say what must not be among the answers: failures of ours, and late ones to kie.ai."""
    for failure in re.findall(r"\d+ x 5\d\d", answered):
        yield f"the attacker was answered {failure}"
    for seconds in re.findall(r"callbacks within (\S+) s", answered):
        if float(seconds) > CALLBACKS:
            yield f"a callback was answered after {seconds} s, more than {CALLBACKS:g}"


def _own(figures: Figures) -> int:
    """Return the queries that the well-behaved client's tasks may cause, two each."""
    return round(2 * 2 * max(figures.seconds, 4.0)) + 4


def cell(figures: Figures) -> str:
    """Write the figures of a row, but for the name."""
    livez = "none" if figures.livez_worst >= PATIENCE else f"{figures.livez_worst:.2f} s"
    return " | ".join(
        (
            figures.answered,
            livez,
            _compared(figures.read_p95, figures.read_p95_quiet),
            _compared(figures.webhook_p95, figures.webhook_p95_quiet),
            "-" if figures.loops_late is None else f"{figures.loops_late:.1f}",
            f"{figures.errors}",
            f"{figures.memory:.0f}",
            f"{figures.database:.0f}",
            f"{figures.rows}",
            f"{figures.queries}",
        )
    )


def _compared(during: float, quiet: float) -> str:
    return f"{_milliseconds(during)} ({_milliseconds(quiet)})"


def _milliseconds(seconds: float) -> str:
    return "none" if seconds >= PATIENCE else f"{seconds * 1000:.0f}"


def written(kept: Mapping[str, Mapping[str, Any]]) -> str:
    """Write the page from what was measured: figures by attack, then `before` and `after`."""
    rows = [
        f"| {attack.title if when == 'before' or 'before' not in kept[name] else ''} | {when}"
        f" | {cell(Figures(**kept[name][when]))} |"
        for name, attack in ATTACKS.items()
        for when in ("before", "after")
        if when in kept.get(name, {})
    ]
    head = f"| {' | '.join(_COLUMNS)} |\n|{'---|' * 3}{'--:|' * (len(_COLUMNS) - 3)}\n"
    return _HEAD + head + "\n".join(rows) + "\n"
