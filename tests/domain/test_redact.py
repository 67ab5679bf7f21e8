"""Nobody is shown a callback token or the account's balance, however they are spelled."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.balance import REDACTED
from app.domain.callback_url import CallbackUrls
from app.domain.redact import (
    redacted_body,
    redacted_outcome,
    redacted_report,
    redacted_text,
    redacted_words,
)
from app.domain.report import Progress, Report
from app.domain.statement import Statement, redacted
from app.domain.submission import Unknown
from app.domain.task import Source
from app.kie.wire import read_callback
from tests.each import each

TOKEN, RETIRED = "6YufA4NH15rep1MT3_-5Kw", "ICy5YqxZB1uWSwcVLSNLcA"
TOKENS = (TOKEN, RETIRED)
BALANCE = "2510330"
URL = f"https://gateway.test/callbacks/kie/1/{TOKEN}"


def by_number(text: str, upper: Callable[[str], str] = str) -> str:
    """Spell every character as JSON may: by its number."""
    return "".join(f"\\u00{upper(f'{ord(char):02x}')}" for char in text)


def within(text: str, levels: int) -> str:
    """Put JSON text into a JSON string, so many times over."""
    for _ in range(levels):
        text = json.dumps({"inner": text})
    return text


@each("levels", [0, 1, 2, 3])
@each(
    "spelled",
    [
        TOKEN,
        RETIRED,
        by_number(TOKEN),
        by_number(TOKEN, str.upper),
        by_number(TOKEN[:3]) + TOKEN[3:],
    ],
)
def test_a_token_is_taken_out_at_any_level(spelled: str, levels: int) -> None:
    secret, kept = (
        redacted_body(within(f'{{"url":"a/{part}/b","more":"{part}"}}', levels).encode(), TOKENS)
        for part in (spelled, REDACTED)
    )
    assert secret == kept


def test_a_text_loses_every_token_and_keeps_the_rest() -> None:
    text = f"{RETIRED}: cannot reach {URL} ({TOKEN})"
    assert redacted_text(text, TOKENS) == (
        f"{REDACTED}: cannot reach https://gateway.test/callbacks/kie/1/{REDACTED} ({REDACTED})"
    )


@each("levels", [0, 1, 2, 3])
@each(
    ("body", "shown"),
    [
        ('{"a":1,"%s":2510330,"b":2}', '{"a":1,"%s":null,"b":2}'),
        ('{"%s":2510330}', '{"%s":null}'),
        ('{"%s" : 2510330.25 }', '{"%s" : null }'),
        ('{"%s": -2.510330e6}', '{"%s": null}'),
        ('{"%s":"2510330"}', '{"%s":null}'),
        ('{"%s":"","b":1}', '{"%s":null,"b":1}'),
        ('[{"%s":2510330},{"%s":2510330}]', '[{"%s":null},{"%s":null}]'),
    ],
)
@each(
    "name",
    [
        *("remainedCredits", "creditsRemaining", "RemainedCredits", "remained_credits"),
        *("credits_remaining", "remaining_credits", "remainingCredits", "creditsLeft"),
        *("credit_balance", "creditBalance", "currentCredits", "current credits", "balance"),
        *("account_balance", "accountBalance", "currentBalance", "available_credits"),
        *(by_number("remainedCredits"), "re\\u006dainedCredits", by_number("balance")),
    ],
)
def test_the_balance_is_taken_out_at_any_level(
    name: str, body: str, shown: str, levels: int
) -> None:
    secret, kept = (within(text.replace("%s", name), levels) for text in (body, shown))
    assert redacted_body(secret.encode(), ()) == kept


@pytest.mark.parametrize("levels", [0, 1, 2])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param('{\n  "remainedCredits": 2510330\n}', id="line ends around"),
        pytest.param('{"remainedCredits":\n  2510330}', id="on the next line"),
        pytest.param('{"remainedCredits"\t:\t2510330}', id="tabs"),
        pytest.param('{"remainedCredits":"2\\"2510330"}', id="a text with a quote"),
        pytest.param('{"remainedCredits":{"total":2510330}}', id="an object"),
        pytest.param('{"remainedCredits":[1,2510330]}', id="a list"),
    ],
)
def test_the_balance_is_not_shown_in_an_unusual_form_either(body: str, levels: int) -> None:
    text = within(body, levels)
    assert "2510330" in text
    assert "2510330" not in redacted_body(text.encode(), ())


@given(st.binary())
def test_nothing_else_is_altered(body: bytes) -> None:
    assert redacted_body(body, TOKENS) == body.decode("utf-8", "backslashreplace")


SECRETS = (*TOKENS, "credit", "balance", "points", "funds")
plain = st.text().filter(lambda text: not any(secret in text.lower() for secret in SECRETS))
"""Texts without what is redacted: hypothesis also draws what it reads in the code under test."""
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | plain,
    lambda inner: st.lists(inner) | st.dictionaries(plain, inner),
)


@given(documents, st.booleans())
def test_a_document_without_secrets_stays(document: object, ascii_only: bool) -> None:  # noqa: FBT001
    body = json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert redacted_body(body, TOKENS) == body.decode("utf-8", "backslashreplace")


@given(documents)
def test_a_document_with_secrets_keeps_its_other_members(document: object) -> None:
    body = json.dumps({"a": document, "remainedCredits": 2510330, "url": URL, "z": document})
    shown = json.loads(redacted_body(body.encode(), TOKENS))
    url = URL.replace(TOKEN, REDACTED)
    assert shown == {"a": document, "remainedCredits": None, "url": url, "z": document}


@pytest.mark.parametrize(
    "body",
    [
        '{"consumeCredits":5,"creditsConsumed":6,"credits":7,"creditCost":8}',
        '{"text":"it costs 5 credits; remaining time: 3 s; 4 credits are needed"}',
        '{"xremainedCredits":5,"balanced":6,"white_balance":7}',
        f'{{"token":"{TOKEN[:-1]}"}}',
        "\u00e9\u4e2d\0",
    ],
)
def test_what_only_resembles_a_secret_stays(body: str) -> None:
    assert redacted_body(body.encode(), TOKENS) == body


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("Your current balance is 12.50, top up", "Your current balance is [redacted], top up"),
        ("Insufficient credits. Balance: 2,510,330", "Insufficient credits. Balance: [redacted]"),
        ("remaining credits = 7!", "remaining credits = [redacted]!"),
        ("you have 25 credits left.", "you have [redacted] credits left."),
        ("only 3.5 credits remaining", "only [redacted] credits remaining"),
        ("account balance (100) is too low for 8", "account balance ([redacted]) is too low for 8"),
        ("remainedCredits are now only 5", "remainedCredits are now only [redacted]"),
        ("current credits:-4", "current credits:[redacted]"),
    ],
)
def test_the_balance_is_not_told_in_words_either(words: str, shown: str) -> None:
    assert redacted_words(words, ()) == shown
    assert redacted_outcome(Unknown(reason=words, message=words), ()) == Unknown(
        reason=shown, message=shown
    )
    body = json.dumps({"code": 402, "data": {"taskId": "t", "state": "fail", "failMsg": words}})
    assert json.loads(redacted_body(body.encode(), ()))["data"]["failMsg"] == shown
    content = read_callback(body.encode())
    statement = Statement(
        id=TASK_ID, task_id=TASK_ID, source=Source.CALLBACK, body=body.encode(), content=content
    )
    report = redacted(statement, OURS).report
    assert report is not None
    assert report.fail_message == shown


def test_a_token_is_text_and_no_pattern() -> None:
    assert redacted_text("abc a.c", ["a.c"]) == f"abc {REDACTED}"


FULL = Report(
    progress=Progress.FAILED,
    kie_task_ids=("k1",),
    code=501,
    message=f"at {URL}",
    kie_state=f"fail {TOKEN}",
    result={f"to {TOKEN}": [{"url": URL}, 1, None, Decimal("1.50"), RETIRED]},
    result_urls=(URL, "https://example.com/a.png"),
    fail_code=f"x{TOKEN}",
    fail_message=f"{TOKEN} {RETIRED}",
    credits_consumed=Decimal("0.10"),
    duration_seconds=Decimal(8),
    callback_url=URL,
    kie_created_at=datetime(2026, 1, 1, tzinfo=UTC),
    kie_completed_at=datetime(2026, 1, 2, tzinfo=UTC),
)


def test_a_report_loses_the_tokens_in_every_text_that_callers_see() -> None:
    shown = URL.replace(TOKEN, REDACTED)
    report = redacted_report(FULL, iter(TOKENS))
    assert (report.message, report.kie_state) == (f"at {shown}", f"fail {REDACTED}")
    assert report.result == {f"to {REDACTED}": [{"url": shown}, 1, None, Decimal("1.50"), REDACTED]}
    assert report.result_urls == (shown, "https://example.com/a.png")
    assert (report.fail_code, report.fail_message) == (f"x{REDACTED}", f"{REDACTED} {REDACTED}")
    assert not re.search("|".join(TOKENS), repr(report))


def test_what_rules_read_of_a_report_stays() -> None:
    kept = ("progress", "kie_task_ids", "code", "credits_consumed", "duration_seconds")
    times = ("kie_created_at", "kie_completed_at")
    report = redacted_report(FULL, TOKENS)
    for name in (*kept, *times, "callback_url"):
        assert getattr(report, name) == getattr(FULL, name), name


def test_a_report_without_tokens_is_left_as_it_is() -> None:
    bare = Report(progress=Progress.SUCCEEDED, result={"a": [1, {"b": "c"}]})
    assert redacted_report(bare, TOKENS) == bare


def test_what_is_said_of_a_create_loses_the_tokens() -> None:
    said = Unknown(reason=f"code 500: {URL}", message=URL, kie_task_id="t")
    clean = URL.replace(TOKEN, REDACTED)
    expected = Unknown(reason=f"code 500: {clean}", message=clean, kie_task_id="t")
    assert redacted_outcome(said, TOKENS) == expected
    assert redacted_outcome(Unknown(reason="lost"), TOKENS) == Unknown(reason="lost")


TASK_ID = UUID(int=1)
OURS = CallbackUrls([b"k" * 32, b"r" * 32], "https://gateway.test")


@pytest.mark.parametrize("retired", [False, True])
@pytest.mark.parametrize("echoes", [0, 1])
@pytest.mark.parametrize("spell", [str, by_number], ids=["plain", "by number"])
def test_a_statement_loses_every_token_beside_the_one_that_is_echoed(
    spell: Callable[[str], str], echoes: int, *, retired: bool
) -> None:
    token = OURS.tokens(TASK_ID)[retired]
    url = f"https://gateway.test/callbacks/kie/{TASK_ID}/{token}"
    param = json.dumps({"callBackUrl": url}) if echoes else "{}"
    for text, shown in ((f"see {token}", f"see {REDACTED}"), ("nothing", "nothing")):
        said = json.dumps({"code": 501, "data": {"taskId": "t", "failMsg": text, "param": param}})
        body = said.replace(f"see {token}", f"see {spell(token)}").encode()
        content = read_callback(body)
        statement = Statement(
            id=TASK_ID, task_id=TASK_ID, source=Source.CALLBACK, body=body, content=content
        )
        report = redacted(statement, OURS).report
        assert report is not None
        assert (report.fail_message, report.callback_url) == (shown, url if echoes else None)
