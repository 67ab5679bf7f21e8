import json
from typing import Any

from tests.dropin.compare import NOTHING, Diff, Names, diffs
from tests.each import each

ONE, OTHER = "1" * 32, "2" * 32


def compared(direct: Any, through: Any) -> list[Diff]:
    return list(diffs(Names().name(direct), Names().name(through)))


@each(
    ("direct", "through"),
    [
        ({"taskId": ONE}, {"taskId": OTHER}),
        ({"taskId": ONE, "recordId": ONE}, {"taskId": OTHER, "recordId": OTHER}),
        ({"url": "http://127.0.0.1:1/a"}, {"url": "https://files.example/b?c"}),
        ({"createTime": 1755599634000}, {"createTime": 1790000000001}),
        ({"credits": 4.0}, {"credits": 4}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"resultJson": '{"a": 1, "b": 2}'}, {"resultJson": '{"b":2,"a":1}'}),
        ({"param": json.dumps({"input": json.dumps({"id": ONE})})},) * 2,
    ],
)
def test_alike(direct: object, through: object) -> None:
    assert compared(direct, through) == []


@each(
    ("direct", "through", "found"),
    [
        ({"taskId": ONE, "recordId": ONE}, {"taskId": ONE, "recordId": OTHER}, "recordId"),
        ({"state": "waiting"}, {"state": "queuing"}, "state"),
        ({"code": 200}, {"code": "200"}, "code"),
        ({"code": 1}, {"code": True}, "code"),
        ({"msg": None}, {"msg": ""}, "msg"),
        ({"costTime": 8}, {"costTime": 8000}, "costTime"),
        ({"costTime": 8}, {"costTime": 1755599634000}, "costTime"),
        ({"id": ONE}, {"id": "1" * 31}, "id"),
        ({"resultJson": '{"a":1}'}, {"resultJson": {"a": 1}}, "resultJson"),
        ({"data": {"urls": [1, 2]}}, {"data": {"urls": [1, 3]}}, "data.urls.1"),
        ({"param": '{"input":"{\\"a\\":1}"}'}, {"param": '{"input":{"a":1}}'}, "param.input"),
    ],
)
def test_different(direct: object, through: object, found: str) -> None:
    (diff,) = compared(direct, through)
    assert diff.path == found


def test_a_member_and_an_item_that_one_side_alone_has() -> None:
    found = compared({"a": None, "items": [1]}, {"b": 0, "items": [1, 2]})
    assert found == [
        Diff("a", None, NOTHING),
        Diff("items.1", NOTHING, 2),
        Diff("b", NOTHING, 0),
    ]


def test_a_known_text_is_told_from_others_of_its_kind() -> None:
    direct = Names(known={"http://a.test/hook": "<mine>"}).name({"url": "http://a.test/hook"})
    through = Names(known={"http://b.test/hook": "<mine>"}).name({"url": "http://b.test/other"})
    assert list(diffs(direct, through)) == [Diff("url", "<mine>", "<URL>")]


def test_an_id_keeps_its_name_from_one_answer_to_the_next() -> None:
    names = Names()
    assert names.name(ONE) == names.name({"id": ONE})["id"] == "<id 1>"
    assert names.name(OTHER) == "<id 2>"


def test_a_difference_says_which_side_has_what() -> None:
    assert str(Diff("code", 402, 200)) == "code: 402 directly, 200 through the gateway"
