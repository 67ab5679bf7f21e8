"""Processes that have to share settings notice where they do not, and learn no secret."""

from app.domain.replicas import differing, fingerprint


def test_only_what_two_processes_have_differently_differs() -> None:
    assert differing([]) == ()
    assert differing([{"a": "1", "b": "2"}, {"a": "1"}]) == ()
    assert differing([{"a": "1", "b": "2"}, {"a": "2", "b": "2"}, {"b": "3"}]) == ("a", "b")


def test_a_fingerprint_tells_secrets_apart_and_no_more() -> None:
    one, other = fingerprint("a-secret-of-16-characters"), fingerprint("another-of-16-characters")
    assert one != other
    assert one == fingerprint("a-secret-of-16-characters")
    assert len(one) == 8, "32 bits: countless secrets have the same"
