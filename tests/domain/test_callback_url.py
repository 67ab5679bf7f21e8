"""Callback URLs: what verifies, what does not, and that nothing odd gets further than "no"."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.callback_url import CALLBACK_PATH, CallbackUrls, Echo, derive

TASK = UUID("0193a5b0-0000-7000-8000-000000000001")
SECOND = UUID("0193a5b0-0000-7000-8000-000000000002")
NEW, OLD, STRANGE = (derive(secret, "callback") for secret in ("new", "old", "strange"))
HOME = "https://gateway.test/base"
URLS = CallbackUrls([NEW, OLD], HOME)
(TOKEN, RETIRED) = URLS.tokens(TASK)


def test_the_url_names_the_task_and_carries_the_token_in_use() -> None:
    assert URLS.url(TASK) == f"{HOME}{CALLBACK_PATH}/{TASK}/{TOKEN}"


def test_without_a_public_url_there_is_none_and_the_tokens_still_verify() -> None:
    silent = CallbackUrls([NEW], None)
    assert silent.url(TASK) is None
    assert silent.verifies(TASK, TOKEN)


@pytest.mark.parametrize(
    ("token", "verifies"),
    [
        pytest.param(TOKEN, True, id="in use"),
        pytest.param(RETIRED, True, id="of a retired key"),
        pytest.param(CallbackUrls([NEW], HOME).tokens(SECOND)[0], False, id="another task's"),
        pytest.param(CallbackUrls([STRANGE], HOME).tokens(TASK)[0], False, id="another secret's"),
        pytest.param(TOKEN[:-1], False, id="shorter"),
        pytest.param(TOKEN + "A", False, id="longer"),
        pytest.param(TOKEN + "==", False, id="padded"),
        pytest.param(TOKEN.swapcase(), False, id="other case"),
        pytest.param(f" {TOKEN}", False, id="spaced"),
        pytest.param("", False, id="empty"),
        pytest.param("\u00e9" * 22, False, id="not ASCII"),
        pytest.param("\ud800", False, id="lone surrogate"),
        pytest.param("\0" * 22, False, id="NUL"),
        pytest.param("A" * 1_000_000, False, id="long"),
    ],
)
def test_what_verifies(token: str, verifies: bool) -> None:  # noqa: FBT001  # a column of the table
    assert URLS.verifies(TASK, token) is verifies
    found = URLS.echo(TASK, f"{HOME}{CALLBACK_PATH}/{TASK}/{token}")
    assert (found is Echo.OWN) is verifies


def test_tokens_are_128_bits_and_fit_a_path_unescaped() -> None:
    assert len(TOKEN) == 22
    assert set(TOKEN) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_a_retired_key_only_verifies() -> None:
    assert RETIRED not in (URLS.url(TASK) or "")
    assert CallbackUrls([OLD], HOME).tokens(TASK) == (RETIRED,)


@pytest.mark.parametrize(
    ("url", "echo"),
    [
        pytest.param(f"{HOME}{CALLBACK_PATH}/{TASK}/{TOKEN}", Echo.OWN, id="as sent"),
        pytest.param(f"http://old.test{CALLBACK_PATH}/{TASK}/{RETIRED}", Echo.OWN, id="moved"),
        pytest.param(None, Echo.NONE, id="none: nobody's"),
        pytest.param("", Echo.STRANGE, id="empty"),
        pytest.param("https://somebody.test/hook", Echo.STRANGE, id="somebody's"),
        pytest.param(f"{HOME}{CALLBACK_PATH}/{SECOND}/{TOKEN}", Echo.ANOTHERS, id="other task"),
        pytest.param(f"{HOME}{CALLBACK_PATH}/{SECOND}/", Echo.ANOTHERS, id="other, no token"),
        pytest.param(f"{HOME}{CALLBACK_PATH}/{TASK}/", Echo.STRANGE, id="no token"),
        pytest.param(f"{HOME}{CALLBACK_PATH}/{TASK}/{TOKEN}/", Echo.STRANGE, id="trailing slash"),
        pytest.param(f"{HOME}{CALLBACK_PATH}/{TASK}/{TOKEN}?a", Echo.STRANGE, id="query"),
        pytest.param(f"{HOME}/x/{TASK}/{TOKEN}", Echo.STRANGE, id="other path"),
        pytest.param(TOKEN, Echo.STRANGE, id="token alone"),
        pytest.param("\ud800/\0/\u00e9", Echo.STRANGE, id="odd characters"),
    ],
)
def test_whose_url_it_is(url: str | None, echo: Echo) -> None:
    assert URLS.echo(TASK, url) is echo


anything = st.text(st.characters(codec=None, exclude_categories=()))


@given(st.uuids(), anything)
def test_no_text_verifies_by_chance_or_raises(task_id: UUID, text: str) -> None:
    assert not URLS.verifies(task_id, text)
    assert URLS.echo(task_id, text) is Echo.STRANGE


@given(st.uuids(), st.uuids())
def test_a_token_verifies_for_its_own_task_alone(one: UUID, other: UUID) -> None:
    for token in URLS.tokens(one):
        assert URLS.verifies(one, token)
        assert URLS.verifies(other, token) is (one == other)


def test_keys_for_different_purposes_and_secrets_differ() -> None:
    keys = {derive(secret, purpose) for secret in ("a", "b") for purpose in ("x", "y")}
    assert len(keys) == 4
    assert {len(key) for key in keys} == {32}


def test_derivation_never_changes() -> None:
    """Callback URLs that kie.ai holds outlive every release."""
    assert derive("secret", "callback").hex() == (
        "f00e8efc6649d194775814c3dc2dda871b9685f6d091272bce20d3927754b222"
    )
    assert CallbackUrls([bytes(32)], HOME).tokens(TASK) == ("6YufA4NH15rep1MT3_-5Kw",)
