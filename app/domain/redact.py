"""Takes secrets out of what kie.ai says before anyone is shown it."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from app.domain.balance import MEMBER, REDACTED, without_balance
from app.domain.report import Report
from app.domain.submission import Accepted, Outcome, Refused, Unknown

_RUN = re.compile(r"\\++(?:u00([0-9a-fA-F]{2}))?")
"""A run of backslashes, and the character that it spells by number where it does: JSON within JSON
has longer and longer ones. Possessive, so that each is read once (a run of n cost n squared)."""
_QUOTE = re.compile(r'(\\*+)"')
_SPACES = re.compile(r"(?:\s|\\++[nrt])*+")
_PLAIN = re.compile(r'[^,}\]\s"\\]*+')
_NESTED = "[{"


class _Spelled:
    """A text whose characters may be written by number, read as what they mean.

    One pass in linear time: what is found in `meant` is cut out of the text as it stands.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        meant: list[str] = []
        self._at: list[int] = [0]
        """Where in `meant` a piece begins, and, beside it, where in the text."""
        self._from: list[int] = [0]
        length = end = 0
        for run in _RUN.finditer(text) if "\\" in text else ():
            if run[1] is None:
                continue
            meant += text[end : run.start()], chr(int(run[1], 16))
            length += run.start() - end + 1
            end = run.end()
            self._at += length - 1, length
            self._from += run.start(), end
        self.meant = "".join((*meant, text[end:]))

    def without(self, cuts: Iterable[tuple[int, int]], instead: str) -> str:
        """Return the text with the spans of `meant`, in order, replaced."""
        kept: list[str] = []
        end = 0
        for start, stop in cuts:
            kept += self._text[end : self._place(start)], instead
            end = self._place(stop)
        return "".join((*kept, self._text[end:]))

    def _place(self, index: int) -> int:
        piece = bisect_right(self._at, index) - 1
        return self._from[piece] + index - self._at[piece]


def redacted_text(text: str, tokens: Iterable[str]) -> str:
    """Return `text` without the callback tokens, however they are spelled."""
    for token in tokens:
        if "\\" in text:
            spelled = _Spelled(text)
            text = spelled.without(_occurrences(spelled.meant, token), REDACTED)
        else:  # nothing is spelled by number
            text = text.replace(token, REDACTED)
    return text


def redacted_words(text: str, tokens: Iterable[str]) -> str:
    """Return a message without callback tokens and the balance."""
    return without_balance(redacted_text(text, tokens))


def without_told_balance(report: Report) -> Report:
    """Return the report with the balance taken out of kie.ai's words."""
    message, fail_message = map(_without_told, (report.message, report.fail_message))
    if (message, fail_message) == (report.message, report.fail_message):
        return report
    return replace(report, message=message, fail_message=fail_message)


def _without_told(text: str | None) -> str | None:
    return None if text is None else without_balance(text)


def _occurrences(text: str, token: str) -> Iterator[tuple[int, int]]:
    found = text.find(token)
    while found >= 0:
        yield found, found + len(token)
        found = text.find(token, found + len(token))


_TOKEN_BY_NUMBER = re.compile(
    rb"\\u00(?:2d|3[0-9]|4[1-9a-f]|5[0-9af]|6[1-9a-f]|7[0-9a])", re.IGNORECASE
)
"""A character of a token, written by number: no honest document does that."""


def without_tokens(body: bytes, tokens: Sequence[str]) -> bytes:
    """Return a raw body without callback tokens; every other byte stays as it came."""
    found = [token for token in tokens if token.encode() in body]
    if not found and not _TOKEN_BY_NUMBER.search(body):
        return body
    # One character for each byte, whatever they spell: tokens are ASCII.
    return redacted_text(body.decode("latin-1"), tokens).encode("latin-1")


def redacted_body(body: bytes, tokens: Iterable[str]) -> str:
    """Return a raw body as text, without callback tokens and without the account's balance."""
    text = redacted_text(body.decode("utf-8", "backslashreplace"), tokens)
    spelled = _Spelled(text)
    return without_balance(spelled.without(_balances(spelled.meant), "null"))


def _balances(text: str) -> Iterator[tuple[int, int]]:
    """Find the values of members that tell the balance."""
    end = 0
    while (name := MEMBER.search(text, end)) is not None:
        end = name.end()
        start = _value_of(text, name)
        if start is not None:
            end = _end_of_value(text, start)
            yield start, end


def _value_of(text: str, name: re.Match[str]) -> int | None:
    """Return where a member's value begins; None: the name is not quoted, or no member's."""
    closing = _QUOTE.match(text, name.end())
    if closing is None or text[name.start() - 1 : name.start()] != '"':
        return None
    colon = _end(_SPACES, text, closing.end())
    return _end(_SPACES, text, colon + 1) if text[colon : colon + 1] == ":" else None


def _end_of_value(text: str, start: int) -> int:
    """Return where it ends: a text at the quote that is escaped as its first one.

    Of a list or an object, and of a text that does not end, nothing stays.
    """
    opening = _QUOTE.match(text, start)
    if opening is not None:
        quotes = _QUOTE.finditer(text, opening.end())
        return next((one.end() for one in quotes if one[1] == opening[1]), len(text))
    return len(text) if text[start : start + 1] in _NESTED else _end(_PLAIN, text, start)


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    found = pattern.match(text, start)
    return start if found is None else found.end()


def redacted_outcome(outcome: Outcome, tokens: Iterable[str]) -> Outcome:
    """Return the outcome of a create without callback tokens and balance in what was said of it."""
    if isinstance(outcome, Accepted):
        return outcome
    if isinstance(outcome, Refused):
        return replace(outcome, message=redacted_words(outcome.message, tokens))
    outcome = replace(outcome, reason=redacted_words(outcome.reason, tokens))
    if isinstance(outcome, Unknown) and outcome.message is not None:
        outcome = replace(outcome, message=redacted_words(outcome.message, tokens))
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
