"""`docs/errors.md` says what the code does: every code, status and title, and every fail code."""

from collections.abc import Iterator
from pathlib import Path

from app.api.errors import STATUS
from app.domain.errors import GatewayError
from app.domain.task import DEADLINES, FailClass, FailCode, State

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"


def tables() -> list[dict[str, list[str]]]:
    """Every table of the page: its rows by their first cell."""
    found: list[dict[str, list[str]]] = []
    inside = False
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif not inside:
            inside = True
            found.append({})
        elif not set(line) <= set("|-: "):
            assert cells[0] not in found[-1], f"{cells[0]} stands twice"
            found[-1][cells[0]] = cells[1:]
    return found


def kinds(kind: type[GatewayError] = GatewayError) -> Iterator[type[GatewayError]]:
    for found in kind.__subclasses__():
        yield found
        yield from kinds(found)


def test_every_error_has_a_status_and_a_code_of_its_own() -> None:
    assert set(kinds()) == set(STATUS)
    assert len({kind.code for kind in kinds()}) == len(STATUS)


def test_every_problem_code_is_in_the_table_and_no_other() -> None:
    problems, *_ = tables()
    shown = {code: (int(cells[0]), cells[1]) for code, cells in problems.items()}
    assert shown == {kind.code: (status, kind.title) for kind, status in STATUS.items()}


def test_every_fail_code_is_in_the_table_with_its_state() -> None:
    *_, fail_codes = tables()
    assert set(fail_codes) == set(FailCode)
    shown = {code: cells[0] for code, cells in fail_codes.items()}
    others = {FailCode.BY_OPERATOR: State.FAILED, FailCode.FILE_EXPIRED: State.FAILED}
    assert shown == others | {lapse.fail_code: lapse.state for lapse in DEADLINES.values()}
    assert set(shown) == set(FailCode)


def test_every_class_of_failures_is_in_the_table() -> None:
    _, classes, _ = tables()
    assert set(classes) == set(FailClass)


def test_no_cell_is_left_empty() -> None:
    for table in tables():
        assert len({len(cells) for cells in table.values()}) == 1
        assert all(all(cells) for cells in table.values())
