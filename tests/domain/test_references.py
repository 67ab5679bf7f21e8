"""References in inputs: found where they stand for themselves, and replaced as text."""

import json
import tracemalloc
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import InvalidRequestError
from app.domain.exact_json import Verbatim, render
from app.domain.references import flaw, named_in, reference, references, replaced

ONE = UUID("019aa1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b")
NAMED = reference(ONE)
URL = 'https://host.test/a"b\\c'

texts = st.sampled_from(
    ["", "\\", '"', '\\"', NAMED, f'"{NAMED}"', f"\\{NAMED}", f"{NAMED}:", ": "]
)
leaves = st.none() | st.booleans() | st.integers() | st.lists(texts).map("".join) | st.just(NAMED)
documents = st.recursive(
    leaves,
    lambda inner: st.lists(inner) | st.dictionaries(st.lists(texts).map("".join), inner),
    max_leaves=20,
)


def expected(value: Any) -> Any:
    """Replace as one would who reads the document."""
    if isinstance(value, dict):
        return {name: expected(member) for name, member in value.items()}
    if isinstance(value, list):
        return [expected(item) for item in value]
    return URL if value == NAMED else value


@given(documents)
def test_text_is_replaced_as_a_reader_would(document: Any) -> None:
    text = Verbatim(render({"input": document}))
    found = json.loads(replaced(text, {ONE: URL}).encoded_json)
    assert found == {"input": expected(document)}
    assert named_in(text) == ({ONE} if expected(document) != document else set())


def test_places_are_told_by_pointer() -> None:
    document = {"a": [1, {"b/c": NAMED}], NAMED: f"see {NAMED}"}
    assert references(document) == {("input", "a", 1, "b/c"): ONE}
    assert flaw(("input", "a", 1, "b/c"), "x").pointer == "/input/a/1/b~1c"
    with pytest.raises(InvalidRequestError) as refused:
        references({"a": "kgw-file:../etc", "b": NAMED.upper()})
    assert [flaw.pointer for flaw in refused.value.flaws] == ["/input/a"]
    with pytest.raises(InvalidRequestError):
        references({"a": [NAMED] * 101})


@pytest.mark.parametrize("named", ["kgw-file:x", NAMED])
def test_a_long_name_is_not_repeated_for_each_place(named: str) -> None:
    """A megabyte of input would else become gigabytes."""
    document = {"n" * 500_000: [named] * 5_000}
    tracemalloc.start()
    with pytest.raises(InvalidRequestError) as refused:
        references(document)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000
    assert (
        len(render([refused.value.detail, *(one.pointer for one in refused.value.flaws)])) < 20_000
    )
