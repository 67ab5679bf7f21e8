"""The picture of the states is the table of moves: no arrow more, none less."""

from xml.etree import ElementTree as ET

from app.domain.task import FINAL, State
from tools.docs.states import LATE, USUAL, moves, states_picture

SVG = "{http://www.w3.org/2000/svg}"


def test_every_move_has_its_reason() -> None:
    assert set(moves()) == USUAL.keys() | LATE.keys()
    assert not USUAL.keys() & LATE.keys()


def test_the_picture_has_an_arrow_for_every_move_and_a_box_for_every_state() -> None:
    picture = ET.fromstring(states_picture())  # noqa: S314  # our own
    arrows = [path.findtext(f"{SVG}title") for path in picture.findall(f"{SVG}path")]
    named = [said.partition(":")[0].split(" → ") for said in arrows if said]
    assert sorted(named) == sorted([source.value, target.value] for source, target in moves())
    boxes = {group.findtext(f"{SVG}text"): group for group in picture.findall(f"{SVG}g")}
    assert set(boxes) == {state.value for state in State}
    final = {
        name for name, box in boxes.items() if box.find(f"{SVG}rect[@class='final']") is not None
    }
    assert final == {state.value for state in FINAL}
