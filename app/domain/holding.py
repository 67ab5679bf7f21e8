"""Ends that are not believed at once: kie.ai is asked about them, soon and ever less often.

A task is held while it is open. How long depends on what was said, never on who said it.
"""

import re
from collections.abc import Sequence

from app.domain.amendment import is_empty
from app.domain.report import Progress, Report

ASKED_AT: Sequence[float] = (2.0, 7.0, 22.0, 52.0)
"""Seconds after the end was first reported at which kie.ai is asked again; the first question goes
out at once."""
ASKED_EVERY = 30.0
"""From then on."""

RESULT_WAIT = ASKED_AT[-1]
"""Seconds for which a success without a result is asked about: seen to come some seconds later."""
TURNAROUND = 150.0
"""Seconds for which a failure that may turn around is not believed. One was seen to become a
success after about 60 s; a project that knows it waits 120."""
UNREACHED = 60.0
"""Seconds without an answer of kie.ai's after which a callback's word is taken."""
CONTRADICTED = 30.0
"""Seconds after which a record that still runs contradicts the callback that reported an end."""

_TURNING_CODE = "524"
_TURNING_WORDS = re.compile(r"generate task timeout", re.IGNORECASE)


def may_turn(report: Report) -> bool:
    """Tell whether it is the failure that kie.ai was seen to take back."""
    return report.progress is Progress.FAILED and turns(report.fail_code, report.fail_message)


def turns(fail_code: str | None, fail_message: str | None) -> bool:
    """Tell whether a failure of this code and these words is that one."""
    words = _TURNING_WORDS.search(fail_message or "")
    return fail_code == _TURNING_CODE or words is not None


def wait_of(report: Report) -> float:
    """Return for how many seconds an end is asked about before it counts; 0: it counts at once."""
    if may_turn(report):
        return TURNAROUND
    if report.progress is Progress.SUCCEEDED and is_empty(report.result):
        return RESULT_WAIT
    return 0.0


def next_question(held_for: float, wait: float) -> float:
    """Return the seconds until kie.ai is asked again about an end first reported so long ago."""
    planned = next((at for at in ASKED_AT if at > held_for), held_for + ASKED_EVERY)
    return min(planned, wait if wait > held_for else planned) - held_for
