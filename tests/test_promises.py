"""The page of promises, the sabotages and the tests belong together."""

import re
from pathlib import Path

from tests.each import each
from tests.sabotage import ROOT, SABOTAGES, Sabotage

PAGE = (ROOT / "docs" / "promises.md").read_text()


@each("sabotage", SABOTAGES)
def test_each_sabotage_still_fits(sabotage: Sabotage) -> None:
    text = (ROOT / sabotage.file).read_text()
    assert text.count(sabotage.old) == 1
    if sabotage.file.endswith(".py"):  # what does not compile fails all tests and shows nothing
        compile(text.replace(sabotage.old, sabotage.new), sabotage.file, "exec")
    for test in (test for run in sabotage.runs for test in run):
        assert (ROOT / test.partition("::")[0]).exists(), test


def test_the_lab_finds_a_planted_bug_of_each_promise_that_it_is_for() -> None:
    assert {one.promise for one in SABOTAGES if one.lab} == {3, 4, 5, 6, 7, 10}


def test_the_page_names_each_sabotage_under_its_promise() -> None:
    sections = re.split(r"^## (\d+)\. ", PAGE, flags=re.MULTILINE)[1:]
    named = {
        int(number): sorted(re.findall(r"^- sabotage `([a-z-]+)`", text, flags=re.MULTILINE))
        for number, text in zip(sections[::2], sections[1::2], strict=True)
    }
    assert sorted(named) == list(range(1, 14))
    for number, names in named.items():
        assert names == sorted(one.name for one in SABOTAGES if one.promise == number)
    assert len({one.name for one in SABOTAGES}) == len(SABOTAGES)  # each has a folder of its own


def test_each_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+(?:\.py)?)(?:::(\w+))?`", PAGE)
    assert named
    for path, function in named:
        place = ROOT / path
        assert place.exists(), path
        if function:
            assert f"def {function}(" in Path(place).read_text(), function
