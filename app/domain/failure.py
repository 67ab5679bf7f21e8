"""What kind of trouble a failure was, and whether the same task, created again, may succeed.

One table of data: the first row that fits decides. The words are those that kie.ai and the
providers behind it use; the codes are kie.ai's, as its pages and recorded answers have them.
"""

import re
from dataclasses import dataclass

from app.domain.task import FailClass, FailCode, FailSource

READ = 1_000
"""Characters of a message that are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failure's class; `retryable` None: nobody can say."""

    fail_class: FailClass
    retryable: bool | None


_CONTENT = Failure(fail_class=FailClass.CONTENT, retryable=False)
_INPUT = Failure(fail_class=FailClass.INPUT, retryable=False)
_TIMEOUT = Failure(fail_class=FailClass.TIMEOUT, retryable=True)
_PROVIDER = Failure(fail_class=FailClass.PROVIDER, retryable=True)
_ACCOUNT = Failure(fail_class=FailClass.ACCOUNT, retryable=None)
"""Once somebody has put the account in order."""
_UNKNOWN = Failure(fail_class=FailClass.UNKNOWN, retryable=None)

_OURS = {
    FailCode.SUBMIT_DEADLINE: Failure(fail_class=FailClass.GATEWAY, retryable=True),
    # It may have been created and paid: creating it again may pay again.
    FailCode.OUTCOME_UNKNOWN: Failure(fail_class=FailClass.GATEWAY, retryable=None),
    FailCode.NO_ANSWER: Failure(fail_class=FailClass.TIMEOUT, retryable=None),
    FailCode.FILE_EXPIRED: Failure(fail_class=FailClass.INPUT, retryable=False),
    # Who failed it says why, in words.
    FailCode.BY_OPERATOR: Failure(fail_class=FailClass.GATEWAY, retryable=None),
}

_WORDS: tuple[tuple[Failure, tuple[str, ...]], ...] = (
    (
        _CONTENT,
        (
            r"content (?:review|polic|filter|moderation|safety)",
            r"moderat|nsfw|sensitive|prohibited|inappropriate|copyright|violat|flagged|blocked",
            r"safety (?:system|filter|check)",
        ),
    ),
    (
        _ACCOUNT,
        (r"credits? (?:is |are )?insufficient", r"insufficient (?:credits?|balance)", r"top up"),
    ),
    (_TIMEOUT, (r"time ?out|timed out",)),
    (
        _INPUT,
        (
            r"is required|allowed options|exceeds? (?:the )?max|maximum limit|not supported",
            r"operation not found|invalid|unsupported|too (?:long|large|small)",
            r"(?:fetch|download|read|access|load) (?:the |your )?(?:input|image|file|video|url)",
        ),
    ),
    (
        _PROVIDER,
        (
            r"maintain|maintenance|unavailable|overload|internal|server (?:error|exception|busy)",
            r"try again|busy|too many requests|rate limit",
        ),
    ),
)
_READERS = tuple((re.compile("|".join(words), re.IGNORECASE), failure) for failure, words in _WORDS)

_CODES = {
    **dict.fromkeys(("400", "404", "413", "422", "451", "505"), _INPUT),
    **dict.fromkeys(("401", "402", "433"), _ACCOUNT),
    **dict.fromkeys(("408", "504", "524"), _TIMEOUT),
    **dict.fromkeys(("405", "429", "430", "455", "500", "502", "503", "520"), _PROVIDER),
    **dict.fromkeys(("1501",), _CONTENT),  # "Content review failed ..."
}
"""What the code alone says, where the words say nothing. 501 is the envelope's word for every
failure, and says nothing."""


def classify(code: str | None, message: str | None, source: FailSource) -> Failure:
    """Return what kind of failure it was, by who declared it, its words and its code."""
    if source is FailSource.GATEWAY:
        return _OURS[FailCode(code)] if code in list(FailCode) else _UNKNOWN
    by_words = (failure for words, failure in _READERS if words.search((message or "")[:READ]))
    return next(by_words, _CODES.get(code or "", _UNKNOWN))
