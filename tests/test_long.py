"""The long tests leave nothing out, and say what they leave out."""

import re

import pytest

from tests import long
from tests.long import ROOT, Part
from tests.sabotage import SABOTAGES

LONG = re.compile(r"\bpytest\.mark\.long\b")


def test_each_promise_is_sabotaged() -> None:
    numbers = [part.command[1] for part in long.PARTS if part.command[0] == "tests.sabotage"]
    assert {int(number) for number in numbers} == {one.promise for one in SABOTAGES}


def test_the_parts_come_as_the_promises_do() -> None:
    """And what is about none of them last: with a budget, what comes last is left out."""
    about = [len(SABOTAGES) if part.promise is None else part.promise for part in long.PARTS]
    assert about == sorted(about)


def test_each_path_exists() -> None:
    paths = [word for part in long.PARTS for word in part.command if word.startswith("tests/")]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_each_long_test_is_carried_out() -> None:
    runs = [part.command for part in long.PARTS if "long" in part.command]
    paths = [ROOT / word for run in runs for word in run if word.startswith("tests/")]
    marked = [file for file in ROOT.glob("tests/**/test_*.py") if LONG.search(file.read_text())]
    assert len(marked) > len(paths)
    left_out = [file for file in marked if not any(file.is_relative_to(path) for path in paths)]
    assert left_out == []


def test_what_does_not_fit_is_left_out_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[int] = []

    def passes(part: Part, left: float | None) -> bool:
        assert left is not None
        ran.append(part.seconds)
        return part.seconds != 6

    parts = [Part(name=f"of {n}", seconds=n, command=("x",)) for n in (5, 50, 6)]
    monkeypatch.setattr(long, "PARTS", parts)
    monkeypatch.setattr(long, "_passes", passes)
    assert long.main(["--within", "20"]) == 1
    assert ran == [5, 6]
    assert capsys.readouterr().out.splitlines() == [
        "left out for want of time: of 50",
        "FAILED: of 6",
    ]


def test_what_turns_out_slower_is_cut_off_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    endless = Part(name="of ages", seconds=0, command=("http.server", "--bind", "127.0.0.1", "0"))
    monkeypatch.setattr(long, "PARTS", [endless])
    assert long.main(["--within", "0.5"]) == 0
    *_, cut, left_out = capsys.readouterr().out.splitlines()
    assert cut.startswith("== of ages: cut off after")
    assert left_out == "left out for want of time: of ages"


@pytest.mark.parametrize(("module", "passed"), [("this", 0), ("no_such_module", 1)])
def test_a_part_that_ends_in_time_says_how(
    monkeypatch: pytest.MonkeyPatch, module: str, passed: int
) -> None:
    monkeypatch.setattr(long, "PARTS", [Part(name="it", seconds=0, command=(module,))])
    assert long.main(["--within", "60"]) == passed
