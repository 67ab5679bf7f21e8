"""Which answers to a create are refusals: tables of codes, of HTTP statuses and of words.

A wrong "refused" pays twice or loses a paid task, a wrong "unknown" only waits. So every pattern
matches a whole message, names what it is about, and is followed by nothing that could be said of a
task that exists.
"""

import re
from collections.abc import Mapping

from app.domain.submission import Fault

SERVER_ERROR = 500
"""The code of most plain parameter errors too, so that its words decide."""

CODES: Mapping[int, Fault] = {
    400: Fault.REQUEST,
    404: Fault.REQUEST,  # no such model or path
    413: Fault.REQUEST,
    422: Fault.REQUEST,  # content policy
    451: Fault.REQUEST,  # an input file could not be fetched
    505: Fault.REQUEST,  # the feature is switched off
    401: Fault.ACCOUNT,
    402: Fault.ACCOUNT,  # no credits
    433: Fault.ACCOUNT,  # a sub-key's cap
    405: Fault.BUSY,
    429: Fault.BUSY,
    430: Fault.BUSY,
    455: Fault.MAINTENANCE,
}
"""Envelope codes that prove that a create did not happen. Any other leaves it unknown."""

STATUSES: Mapping[int, Fault] = {
    **dict.fromkeys((400, 401, 402, 404, 405, 407, 413, 422, 451), Fault.PROXY),
    429: Fault.BUSY,  # whoever says it, calling more slowly is the answer
}
"""HTTP statuses without an envelope that are said before a request is worked on.

They prove that nothing was created, and nothing about the request, the key or the credits: kie.ai's
own refusals all have an envelope. Not 403, which some CDN rules answer late, nor 500 and beyond.
"""

MAX_MATCHED = 1_000
"""Characters; a longer message is no plain refusal."""

_NOUNS = (
    "argument|audio|background|character|clip|dimension|dialogue|duration|field|file|fps|format|"
    "frame|height|image|input|instrumental|language|length|link|lyrics|mask|media|mode|model|name|"
    "option|parameter|param|photo|picture|pixel|prompt|quality|ratio|resolution|scale|seed|size|"
    "sound|speaker|speed|stability|step|strength|style|tag|text|title|type|url|value|video|voice|"
    "width"
)
_QUALIFIERS = (
    "a|all|an|and|any|aspect|at|by|each|end|every|first|for|given|in|last|least|maximum|minimum|"
    "negative|number|of|one|or|provided|reference|selected|source|specified|start|target|that|the|"
    "these|this|those|to|total|uploaded|you|your"
)
_MEDIA = "audio|file|image|link|mask|media|photo|picture|url|video"

_NAME = (
    r"(?:[\"`'][^\"`']{1,80}[\"`']"  # quoted
    r"|[a-z0-9]{1,40}(?:[_.\[\]][a-z0-9]{0,40}){1,8}"  # aspect_ratio, input.image_urls[0]
    r"|(?-i:[a-z0-9]{1,40}(?:[A-Z][a-z0-9]{0,40}){1,6})"  # aspectRatio
    rf"|(?:{_NOUNS})s?)"
)
_WORD = rf"(?:{_NAME}|{_QUALIFIERS}|\d{{1,6}}(?:[:x]\d{{1,6}})?|\([^()]{{1,80}}\))"
_FIELD = (
    rf"(?:{_WORD}:? ){{0,8}}{_NAME}(?: (?:you )?(?:given|provided|selected|specified|uploaded))?"
)
"""Words that name a member of an input; free text has others between them."""
_FILE = (
    rf"(?:{_WORD} ){{0,8}}(?:[a-z0-9]{{1,30}}_){{0,3}}(?:{_MEDIA})s?(?:_[a-z0-9]{{1,30}}){{0,3}}"
)
_CANNOT = r"(?:can ?not|can't|must not|should not|may not|shall not|could ?not|couldn't)"
_REACH = "access|decod|download|fetch|load|open|reach|read"
_END = (
    r"(?: ?[.,;:!?()\[\]-].*"  # the sentence ends here
    r"|(?: (?:and|as|at|because|by|for|if|in|kindly|of|on|please|to|when|with|within) .*))?"
)


def _of(fault: Fault, *patterns: str) -> tuple[tuple[re.Pattern[str], Fault], ...]:
    return tuple(
        (re.compile(pattern, re.IGNORECASE | re.DOTALL), fault)
        for pattern in (
            text.replace("FIELD", _FIELD)
            .replace("FILE", _FILE)
            .replace("CANNOT", _CANNOT)
            .replace("REACH", _REACH)
            .replace("END", _END)
            for text in patterns
        )
    )


CREDITS = _of(
    Fault.ACCOUNT,
    # Seen under 500 and 402 by four projects: "Credits insufficient : Your current balance isn't
    # enough to run this request. Please top up to continue."
    r"(?:(?:the|your|user|account|current|available|remaining) ){0,4}(?:credits?|balance|funds)"
    r"(?: balance)?(?: is| are)? ?(?:insufficient|(?:not|isn't|aren't) (?:enough|sufficient)"
    r"|too low|exhausted)\b.*",
    # Claimed under 400 and 422: "insufficient credits", "balance is insufficient".
    r"(?:insufficient|not enough) (?:(?:account|user|available|remaining) ){0,2}"
    r"(?:credits?|balance|funds)\b.*",
    r"(?:you|your account) (?:do not|don't|does not|doesn't) have enough "
    r"(?:credits?|balance|funds)\b.*",
    r"(?:you|your account) (?:are|is|has run) out of (?:credits?|balance|funds)\b.*",
)
"""Words about money, matched from the start under any refusing code: a prompt that is quoted
further on must not hold the account."""

MAINTENANCE = _of(
    Fault.MAINTENANCE,
    # "… is being maintained, please try again later": means 455.
    r"[^\"'`]{0,200}\b(?:is|are) (?:(?:currently|now|temporarily) )?"
    r"(?:being maintained|(?:under|in|undergoing) maintenance)\b.*",
)

REQUEST = _of(
    Fault.REQUEST,
    # A value outside the allowed options, seen by a dozen projects: "resolution is not within the
    # range of allowed options", "This aspect_ratio is not within …", "Unsupported aspect ratio for
    # this resolution."; its likely relatives beside it.
    r"FIELD (?:is|are) (?:not (?:within|in|among|one of)|out of|outside(?: of)?) (?:the )?"
    r"(?:accepted|allowed|available|list|options?|permitted|range|set|supported|valid)\b.*",
    r"FIELD (?:must|should|has to|can only) be (?:one of|in|either|among|within|between|an?|at|"
    r"less|greater|larger|smaller|longer|shorter|no|exactly|from|set|[<>]=?|\d+)\b.*",
    r"FIELD (?:must|should) be [<>]=? ?\d.*",
    r"FIELD (?:(?:is|are) )?(?:invalid|unsupported|not (?:a |an )?(?:valid|supported|allowed"
    r"|permitted|accepted)(?: FIELD)?)END",
    r"(?:invalid|unsupported|illegal) FIELDEND",
    # A required field: "aspect_ratio is required", "This field is required".
    r"FIELD (?:is|are) (?:a )?(?:required|mandatory)END",
    r"FIELD CANNOT be (?:empty|null|blank|undefined)END",
    r"FIELD (?:must|should) be (?:provided|specified|given)END",
    r"missing (?:required )?FIELDEND",
    # Length, and a file's size: "The text length cannot exceed the maximum limit".
    r"FIELD (?:CANNOT exceed|CANNOT be (?:more|longer|larger|bigger|greater|less|shorter|smaller)"
    r"|exceeds?|exceeded)\b.*",
    r"FIELD (?:is|are) (?:too (?:long|short|large|big|small|many|few|high|low)"
    r"|(?:longer|shorter|larger|bigger|smaller|greater|less|more) than)\b.*",
    # A model or an operation that kie.ai has withdrawn: "Operation not found: …".
    r"operation not found(?:: ?(?!\S*[0-9a-f]{16}|\S*operations/)\S{1,100})?",
    r"(?:the |this )?model (?:[^ ]{1,100} ){0,3}(?:not found|does not exist|is (?:deprecated"
    r"|discontinued|withdrawn|offline|no longer (?:supported|available)))END",
    # An input file that cannot be reached or read.
    r"(?:failed to|unable to|CANNOT) (?:REACH)e? FILEEND",
    r"FILE CANNOT be (?:REACH)(?:ed)?END",
    r"FILE (?:is|are) (?:not (?:reachable|accessible|readable)|unreachable|inaccessible|unreadable"
    r"|corrupt(?:ed)?|damaged)END",
)
"""Parameter errors, found while an input is checked and before there is a task."""

_LEAD = re.compile(
    r"(?:(?:invalid|bad) )?(?:error|input|param(?:eter)?s?|request|validation)"
    r"(?: error| failed| invalid)?: ?",
    re.IGNORECASE,
)
"""What may stand before a parameter error."""

_TASK_ID = re.compile(
    r"\b(?:task|record)[ _]?id[\"']?(?: is)?[ :=]{1,3}[\"']?"
    r"(?P<id>[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b",
    re.IGNORECASE,
)
_OF_A_TASK = re.compile(
    r"\b(?:task|record)[ _]?id[\"']?(?: is)?[ :=]{1,3}[\"']?[\w-]{0,40}\d|"
    r"\btask [\"']?[\w-]{0,40}\d|"
    r"\b(?:created|submitted|queued|charged?|deduct(?:ed|ion)?|refund(?:ed)?|worker|callback)\b",
    re.IGNORECASE,
)
"""What is said of a task that exists: nothing with it is a refusal."""
_OF_THE_SERVER = re.compile(
    r"\b(?:internal|server|exception|upstream|timed? ?out|retry|retried|try again later|quota|"
    r"rate limit|concurren\w+|result|unknown error)\b",
    re.IGNORECASE,
)
"""What no parameter error says."""


def fault_of(code: int, message: str) -> Fault | None:
    """Whose fault kie.ai's answer says it is; None: it proves nothing."""
    if code != SERVER_ERROR and code not in CODES:
        return None
    said = _plain(message)
    if code != SERVER_ERROR:
        return _matched(CREDITS, said) or CODES[code]
    if not said or _OF_A_TASK.search(said):
        return None
    known = _matched(CREDITS, said) or _matched(MAINTENANCE, said)
    if known is not None or _OF_THE_SERVER.search(said):
        return known
    return _matched(REQUEST, _LEAD.sub("", said, count=1) if _LEAD.match(said) else said)


def task_id_in(message: str) -> str | None:
    """Return the task's id that a message names in so many words."""
    found = _TASK_ID.search(_plain(message))
    return found["id"] if found else None


def _plain(message: str) -> str:
    """Straighten spaces and apostrophes; empty where it is too long to be matched."""
    if len(message) > MAX_MATCHED:
        return ""
    return " ".join(message.replace("\u2019", "'").split())


def _matched(table: tuple[tuple[re.Pattern[str], Fault], ...], said: str) -> Fault | None:
    return next((fault for pattern, fault in table if pattern.fullmatch(said)), None)
