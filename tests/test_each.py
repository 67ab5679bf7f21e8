"""A test over a table tries every row, and names those that fail."""

import inspect

import pytest

from tests.each import each


def test_all_rows_are_tried_and_those_that_fail_are_named(tmp_path: object) -> None:
    tried = []

    @each(("number", "word"), [(1, "one"), (2, "two"), (3, "three")])
    def test(number: int, word: str, *, room: object) -> None:
        tried.append((number, word, room))
        assert number == 2

    assert list(inspect.signature(test).parameters) == ["room"]
    with pytest.raises(ExceptionGroup, match="2 of 3 rows fail") as failed:
        test(room=tmp_path)
    assert tried == [(1, "one", tmp_path), (2, "two", tmp_path), (3, "three", tmp_path)]
    notes = [error.__notes__ for error in failed.value.exceptions]
    assert notes == [["with {'number': 1, 'word': 'one'}"], ["with {'number': 3, 'word': 'three'}"]]


async def test_so_are_those_of_a_coroutine() -> None:
    @each("number", [1, 2])
    async def test(number: int) -> None:
        assert number == 2

    with pytest.raises(ExceptionGroup, match="1 of 2 rows fail"):
        await test()


def test_tables_multiply() -> None:
    seen = []

    @each("number", [1, 2])
    @each("word", "ab")
    def test(word: str, number: int) -> None:
        seen.append((number, word))

    test()
    assert seen == [(1, "a"), (1, "b"), (2, "a"), (2, "b")]


def test_a_table_has_rows() -> None:
    with pytest.raises(AssertionError, match="without rows"):
        each("number", [])
