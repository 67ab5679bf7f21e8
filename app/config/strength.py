"""How hard a secret is to guess, roughly: enough to refuse what people type when they must.

An estimate of our own. zxcvbn knows more words, and takes longer to import than the rest of the
settings; what is worth anything here is made by `kie-gateway secrets generate`.
"""

import itertools
import math
import string
from collections.abc import Iterator

ENOUGH = 60.0
"""Bits. Who reads one callback URL can try secrets without asking us: 2**60 are too many."""
DISTINCT = 8
"""Different characters at least."""

_WORDS = (
    *("administrator", "password", "passwort", "changeme", "kie-gateway", "gateway", "welcome"),
    *("letmein", "callback", "default", "example", "secret", "master", "dragon", "monkey"),
    *("admin", "token", "hello", "login", "test", "root", "user", "key"),
)
"""What such secrets are made of: each counts as one character."""
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop", string.ascii_lowercase, "01234567890")
_NEXT = {pair for row in _ROWS for pair in itertools.pairwise(row)}
_REPEAT = 4
"""Characters that were there before count as one."""
_CLASSES = (string.ascii_lowercase, string.ascii_uppercase, string.digits)
_OTHERS = 33


def bits(secret: str) -> float:
    """Estimate the secret's entropy: what repeats, runs on or is a word adds next to nothing."""
    if len(set(secret)) < DISTINCT:
        return 0.0
    return sum(1 for _ in _surprises(secret)) * math.log2(_alphabet(secret))


def _alphabet(secret: str) -> int:
    """Count the characters that one would try."""
    known = [kind for kind in _CLASSES if set(secret) & set(kind)]
    others = set(secret) - set("".join(_CLASSES))
    if not others and set(secret.lower()) <= set(string.hexdigits.lower()):
        return 16
    return sum(map(len, known)) + (_OTHERS if others else 0)


def _surprises(secret: str) -> Iterator[str]:
    """Yield the characters that those before them do not suggest."""
    lowered, place, before = secret.lower(), 0, ""
    while place < len(lowered):
        word = next((word for word in _WORDS if lowered.startswith(word, place)), "")
        length = len(word) or _repeated(lowered, place)
        here = lowered[place]
        if length or not _runs_on(before, here):
            yield here
        place += length or 1
        before = lowered[place - 1]


def _repeated(text: str, place: int) -> int:
    """Return how many characters from here stood in this order before; 0: too few to count."""
    length = 0
    while text[place : place + length + 1] in text[:place] and place + length < len(text):
        length += 1
    return length if length >= _REPEAT else 0


def _runs_on(before: str, here: str) -> bool:
    return bool(before) and (before == here or (before, here) in _NEXT or (here, before) in _NEXT)
