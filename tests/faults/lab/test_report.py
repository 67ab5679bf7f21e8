"""The summary counts what was found, the details name every combination."""

from tests.faults.lab.__main__ import DETAILS, ROOT, SUMMARY
from tests.faults.lab.audit import Finding
from tests.faults.lab.matrix import FAULTS, ONE_BY_ONE
from tests.faults.lab.points import Point, Side
from tests.faults.lab.report import Setting, details, summary
from tests.faults.lab.scenario import Combination, Result

KILL = Combination(group=ONE_BY_ONE, point=Point("COMMIT of INSERT tasks", 1, Side.AFTER))
FAULT = Combination(group=FAULTS, replicas=3, tasks=10, faults=("callback-dropped",))
LOST = Finding(kind="lost", task_id="t", sentence="it is gone")
SETTING = Setting(postgresql="18.0", python="3.11", seed=7, seconds=60.4)


def _result(combination: Combination, *findings: Finding, strikes: int = 1) -> Result:
    return Result(
        combination=combination,
        findings=findings,
        states={"succeeded": combination.tasks},
        billed=combination.tasks,
        unconfirmed=1,
        told=combination.tasks,
        repeated=0,
        strikes=strikes,
        seen=(),
        seconds=2.0,
    )


def test_every_combination_is_named() -> None:
    shown = details([_result(KILL), _result(FAULT, strikes=0)])
    assert (
        f"### {ONE_BY_ONE}\n\n- after COMMIT of INSERT tasks #1; replicas 1: 1 succeeded" in shown
    )
    assert f"### {FAULTS}\n\n- callback-dropped; replicas 3: 10 succeeded" in shown


def test_the_summary_counts_and_names_the_details() -> None:
    shown = summary([_result(KILL), _result(FAULT, strikes=0)], SETTING, "build/report.md")
    assert "`build/report.md`" in shown
    assert f"| {FAULTS} | 3 | 1 | 10 | 10 | 0 | 1 | 0 | 10 | 0 | 0 | 2 |" in shown
    for row in (
        "runs | 2",
        "tasks | 11",
        "deliveries to callers | 11",
        "lost | 0",
        "stuck | 0",
        "incomplete | 0",
        "seconds | 60",
    ):
        assert f"| {row} |" in shown
    assert "## Findings\n\nNone." in shown


def test_a_finding_and_a_missed_point_are_shown() -> None:
    results = [_result(KILL, LOST, strikes=0)]
    shown = summary(results, SETTING, "build/report.md")
    assert "| lost | 1 |" in shown
    assert f"- {KILL}: lost t: it is gone\n" in shown
    assert "**not reached**, **1 findings**" in details(results)


def test_the_kept_page_has_the_form_that_a_run_writes() -> None:
    kept = (ROOT / SUMMARY).read_text(encoding="utf-8")
    written = summary([_result(KILL)], SETTING, DETAILS)
    head, tail = written.partition("| runs |")[0], written.partition("## Findings")[2]
    assert kept.startswith(head)
    assert kept.endswith(tail)
    assert len(kept.splitlines()) <= 60
