import json

import pytest

from tests.compat.__main__ import told_apart
from tests.compat.conversation import newest_id
from tests.compat.page import stable, written

ONE, OTHER = "ab" * 16, "cd" * 16


def test_ids_are_numbered_in_the_order_that_they_come_in() -> None:
    assert stable(f"{OTHER} {ONE} {OTHER}", {}) == f"{1:032x} {2:032x} {1:032x}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"http://a.test/files/{ONE}.png", f"http://a.test/files/{OTHER}.png"),
        ('"createTime": 1755599634000', '"createTime": 1790000000001'),
        ('"created_at": "2026-11-23 02:00:01"', '"created_at": "2027-01-01 12:00:00"'),
        ('"elapsed_seconds": 4', '"elapsed_seconds": 12'),
        ('{"id": 1, "a": 0}', '{"id": 27, "a": 0}'),
    ],
)
def test_what_differs_from_run_to_run_reads_the_same(one: str, other: str) -> None:
    assert stable(one, {}) == stable(other, {})


def test_known_hosts_have_names_and_others_stay() -> None:
    hosts = {"http://127.0.0.1:4711": "http://gateway:8000"}
    text = stable("http://127.0.0.1:4711/api/v1 http://127.0.0.1:4712/a", hosts)
    assert text == "http://gateway:8000/api/v1 http://127.0.0.1:4712/a"


@pytest.mark.parametrize(
    ("one", "other"), [('"costTime": 4', '"costTime": 5'), ('"state": "a"', '"state": "b"')]
)
def test_all_else_stays(one: str, other: str) -> None:
    assert (stable(one, {}), stable(other, {})) == (one, other)


def held(**answer: object) -> dict[str, object]:
    turn = {"title": "Ask once", "tool": "look", "arguments": {"a": 1}, "answer": answer}
    about = {"name": "client", "version": "9.9", "tools_offered": 3}
    return {"about": about, "turns": [turn], "heard": [{"code": 200}]}


def test_a_page_shows_the_turns_and_what_was_heard_and_kept() -> None:
    page = written(held(state="waiting"), [{"state": "succeeded"}])
    assert "`client` 9.9 and offers 3 tools" in page
    assert "`look`" in page
    blocks = [json.loads(block.split("```")[0]) for block in page.split("```json\n")[1:]]
    assert blocks == [
        {"name": "look", "arguments": {"a": 1}},
        {"state": "waiting"},
        {"code": 200},
        [{"state": "succeeded"}],
    ]
    assert "\n\n\n" not in page


def test_only_what_is_not_listed_tells_the_gateway_from_kie() -> None:
    direct = held(state="waiting", api_response={"data": {"creditsConsumed": 4}})
    through = held(state="queuing", api_response={"data": {}})
    assert [diff.path for diff in told_apart(direct, through)] == ["Ask once.state"]


def test_the_newest_id_of_an_answer() -> None:
    assert newest_id({"response": {"data": {"taskId": ONE}}}) == ONE
    assert newest_id({"steps": [f"ask for {OTHER} later"]}) == OTHER
    assert newest_id({"success": False}) is None
