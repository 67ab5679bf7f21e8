"""How kie.ai may spell the account's balance: names of members, and words around a number.

Seen are `remainedCredits`, `creditsRemaining` and "your current balance"; the rest is near enough
to be expected. Every pattern reads each character a bounded number of times.
"""

import re

REDACTED = "[redacted]"

_GAP = r"[_ -]?"
_OWN = rf"(?:account|available|current|remain(?:ed|ing)?|total|user|your){_GAP}"
_NAME = (
    rf"(?:{_OWN}(?:credits?|points|funds)(?:{_GAP}balance)?"
    rf"|credits?{_GAP}(?:available|balance|left|remain(?:ed|ing)?)"
    rf"|(?:{_OWN}){{0,2}}balance)"
)

MEMBER = re.compile(rf"(?i:{_NAME})")
"""A member's name that holds it, in camel or snake case."""

_NUMBER = r"[-+]?\d(?:[\d.,_]{0,40}\d)?+"
_SPACE = r"[ \t:=(]{0,4}+"
_TOLD = re.compile(
    rf"(?<![A-Za-z0-9_])(?P<before>{_NAME}{_SPACE}(?:(?:is|are|was|of|now|only|at){_SPACE}){{0,3}})"
    rf"{_NUMBER}"
    rf"|(?<![\d.,_-]){_NUMBER}(?P<after>[ \t]{{1,2}}(?:credits?|points)[ \t]{{1,2}}"
    rf"(?:left|remain(?:ed|ing)?|available)\b)",
    re.IGNORECASE,
)
_HINT = re.compile(r"credit|balance|points|funds", re.IGNORECASE)


def without_balance(text: str) -> str:
    """Return what is told in words without the number that stands beside them."""
    return _TOLD.sub(_redacted, text) if _HINT.search(text) else text


def _redacted(found: re.Match[str]) -> str:
    return f"{found['before'] or ''}{REDACTED}{found['after'] or ''}"


def is_balance(name: str) -> bool:
    """Tell whether a member of a result is the account's; a bare `balance` may be a picture's."""
    return name.lower() != "balance" and MEMBER.fullmatch(name) is not None
