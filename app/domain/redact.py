"""Takes secrets out of what kie.ai says before anyone is shown it."""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from app.domain.report import Report
from app.domain.submission import Accepted, Outcome, Refused, Unknown

REDACTED = "[redacted]"
_BALANCE = ("remainedCredits", "creditsRemaining")


def _spelled(text: str) -> str:
    """Match `text` also where JSON, once or nested, writes its characters by number."""
    return "".join(f"(?:{re.escape(char)}|\\\\+u00(?i:{ord(char):02x}))" for char in text)


_SPACE = r"(?:\s|\\+[nrt])*"

_BALANCE_MEMBER = re.compile(
    # the name, quoted at any level of nesting
    rf"(\\*\"(?:{'|'.join(map(_spelled, _BALANCE))})\\*\"{_SPACE}:{_SPACE})"
    # a text ends at the quote that is escaped as its first one; of a list or object nothing stays
    rf"(?:(?P<level>\\*)\".*?(?<!\\)(?P=level)\"|[\[{{].*|[^,}}\]\s\"\\]+)",
    re.DOTALL,
)


def redacted_text(text: str, tokens: Iterable[str]) -> str:
    """Return `text` without the callback tokens."""
    for token in tokens:
        if "\\u00" in text:
            text = re.sub(_spelled(token), REDACTED, text)
        else:  # nothing is spelled by number, and a pattern of its own for each token is costly
            text = text.replace(token, REDACTED)
    return text


def redacted_body(body: bytes, tokens: Iterable[str]) -> str:
    """Return a raw body as text, without callback tokens and without the account's balance."""
    text = redacted_text(body.decode("utf-8", "backslashreplace"), tokens)
    return _BALANCE_MEMBER.sub(r"\1null", text)


def redacted_outcome(outcome: Outcome, tokens: Iterable[str]) -> Outcome:
    """Return the outcome of a create without the callback tokens in what was said of it."""
    if isinstance(outcome, Accepted):
        return outcome
    if isinstance(outcome, Refused):
        return replace(outcome, message=redacted_text(outcome.message, tokens))
    outcome = replace(outcome, reason=redacted_text(outcome.reason, tokens))
    if isinstance(outcome, Unknown) and outcome.message is not None:
        outcome = replace(outcome, message=redacted_text(outcome.message, tokens))
    return outcome


def redacted_report(report: Report, tokens: Iterable[str]) -> Report:
    """Return the report with callback tokens taken out of every text that callers will see."""
    tokens = tuple(tokens)
    shortest = min(map(len, tokens), default=0)

    def clean(value: Any) -> Any:  # noqa: ANN401  # JSON is any of six types
        if isinstance(value, str):
            return redacted_text(value, tokens) if len(value) >= shortest else value
        if isinstance(value, dict):
            return {clean(name): clean(member) for name, member in value.items()}
        if isinstance(value, list):
            return [clean(item) for item in value]
        return value

    return replace(
        report,
        message=clean(report.message),
        kie_state=clean(report.kie_state),
        result=clean(report.result),
        result_urls=tuple(clean(list(report.result_urls))),
        fail_code=clean(report.fail_code),
        fail_message=clean(report.fail_message),
    )
