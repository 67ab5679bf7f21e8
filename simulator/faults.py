"""The table of faults: whatever can be made to go wrong, each by one public name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal


class Kind(StrEnum):
    """What a fault is about, the first word of its name; a task can have one of each kind."""

    CREATE = "create"
    CALLBACK = "callback"
    RESULT = "result"
    RECORD = "record"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the table."""

    name: str
    description: str
    defaults: Mapping[str, float | None] = field(default_factory=dict)
    """Its parameters; `seconds` of None is for ever."""
    needs: Literal["success", "fail"] | None = None
    """How the task has to end for the fault to show."""

    @property
    def kind(self) -> Kind:
        return Kind(self.name.partition("-")[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The code and message of a refusal."""

    code: int
    message: str


SERVER_ERROR = Refusal(code=500, message="Server exception, please try again later")
"""Documented nowhere: it does not say whether a task exists."""
OUT_OF_CREDITS = (
    "Credits insufficient : Your current balance isn't enough to run this request. "
    "Please top up to continue."
)
"""The live text; it comes under more than one code."""
TOP_UP = "Insufficient credits, please top up to continue"

CREATE_REFUSALS: Mapping[str, Refusal] = {
    "create-refused-400": Refusal(code=400, message="Invalid request parameters"),
    "create-refused-400-credits": Refusal(code=400, message=TOP_UP),
    "create-refused-401": Refusal(code=401, message="You do not have access permissions"),
    "create-refused-402": Refusal(code=402, message="Credits insufficient"),
    "create-refused-404": Refusal(code=404, message="Not Found"),
    "create-refused-405": Refusal(code=405, message="Called too often"),
    "create-refused-413": Refusal(code=413, message="The prompt is too long"),
    "create-refused-422": Refusal(code=422, message="The prompt holds prohibited content"),
    "create-refused-422-credits": Refusal(code=422, message=TOP_UP),
    "create-refused-429": Refusal(code=429, message="Called too often, try again later"),
    "create-refused-430": Refusal(code=430, message="Your call frequency is too high"),
    "create-refused-433": Refusal(code=433, message="The limit of this key is used up"),
    "create-refused-451": Refusal(code=451, message="Failed to fetch the image"),
    "create-refused-455": Refusal(code=455, message="Under maintenance"),
    "create-refused-500-parameter": Refusal(code=500, message="aspect_ratio is required"),
    "create-refused-500-option": Refusal(
        code=500, message="output_format is not within the range of allowed options"
    ),
    "create-refused-500-length": Refusal(
        code=500, message="The text length cannot exceed the maximum limit"
    ),
    "create-refused-500-operation": Refusal(
        code=500, message="Operation not found: google/nano-banana-edit"
    ),
    "create-refused-500-file-type": Refusal(code=500, message="File type not supported"),
    "create-refused-500-file-size": Refusal(
        code=500, message="File size exceeds the maximum limit"
    ),
    "create-refused-500-ratio": Refusal(
        code=500, message="The image aspect ratio must be between 1:2.5 and 2.5:1"
    ),
    "create-refused-500-input-file": Refusal(
        code=500, message="Unable to read the input file, please check the file URL"
    ),
    "create-refused-500-credits": Refusal(code=500, message=OUT_OF_CREDITS),
    "create-refused-500-maintenance": Refusal(
        code=500, message="The model is being maintained, please try again later"
    ),
    "create-refused-500-unknown": SERVER_ERROR,
    "create-refused-501": Refusal(code=501, message="Generation failed"),
    "create-refused-505": Refusal(code=505, message="This feature is disabled"),
}
RECORD_REFUSALS: Mapping[str, Refusal] = {
    "record-null": Refusal(code=422, message="recordInfo is null"),
    "record-refused-404": Refusal(code=404, message="Not Found"),
    "record-refused-429": Refusal(code=429, message="Called too often, try again later"),
    "record-refused-455": Refusal(code=455, message="Under maintenance"),
    "record-refused-500": SERVER_ERROR,
    "record-refused-501": Refusal(code=501, message="Generation failed"),
}
FOR_EVER = {"seconds": None}
End = Literal["success", "fail"]
END_WORDS: Mapping[End, tuple[str, ...]] = {
    "success": ("succeeded", "succeed", "completed", "done"),
    "fail": ("failed", "error"),
}
"""Other words for the states in which a task ends."""


def _refusing(name: str, refusal: Refusal) -> Fault:
    return Fault(name, f"Not accepted; answered code {refusal.code}, “{refusal.message}”.")


def _hiding(name: str, refusal: Refusal) -> Fault:
    said = f"code {refusal.code}, “{refusal.message}”"
    return Fault(name, f"Queries are answered {said}, until `seconds` after the create.", FOR_EVER)


def _worded(word: str, end: End) -> Fault:
    return Fault(f"result-word-{word}", f"Its final state is called `{word}`.", needs=end)


_CREATE = (
    *(_refusing(name, refusal) for name, refusal in CREATE_REFUSALS.items()),
    Fault("create-http-400", "Not accepted; HTTP 400 and a page of HTML."),
    Fault("create-http-404", "Not accepted; HTTP 404 and a page of HTML."),
    Fault("create-http-413", "Not accepted; HTTP 413 and a page of HTML."),
    Fault("create-http-422", "Not accepted; HTTP 422 and a page of HTML."),
    Fault("create-http-429", "Not accepted; HTTP 429 and a page of HTML."),
    Fault("create-http-502", "Not accepted; HTTP 502 and a page of HTML."),
    Fault("create-closed-unread", "Not accepted; the connection is reset, the body unread."),
    Fault("create-closed-after-reading", "Not accepted; the connection is closed, no answer."),
    Fault("create-hang", "Not accepted; never answered."),
    Fault(
        "create-same-id",
        "No task and no bill: answered with the task that was accepted last, if there is one.",
    ),
    Fault("create-http-502-after-accept", "Accepted and billed; HTTP 502 and a page of HTML."),
    Fault(
        "create-500-after-accept",
        f"Accepted and billed; answered code 500, “{SERVER_ERROR.message}”.",
    ),
    Fault(
        "create-500-with-id-after-accept",
        f"Accepted and billed; answered code 500, “{SERVER_ERROR.message}”, and `data.taskId`.",
    ),
    Fault("create-code-zero", "Accepted and billed; answered code 0, and `data.taskId`."),
    Fault("create-id-at-root", "Accepted and billed; `taskId` is at the root, `data` null."),
    Fault("create-data-is-id", "Accepted and billed; `data` is the id itself, a text."),
    Fault("create-cut-off-after-accept", "Accepted and billed; the connection is closed."),
    Fault("create-half-answer", "Accepted and billed; the answer breaks off in the middle."),
    Fault("create-garbage-answer", "Accepted and billed; HTTP 200, and the body is no JSON."),
    Fault("create-empty-answer", "Accepted and billed; HTTP 200 and an empty body."),
    Fault("create-hang-after-accept", "Accepted and billed; never answered."),
    Fault("create-slow", "Accepted and billed; answered after `seconds`.", {"seconds": 5.0}),
)
_CALLBACK = (
    Fault("callback-dropped", "Never sent."),
    Fault("callback-duplicated", "Sent `times` times at the same moment.", {"times": 2}),
    Fault("callback-late", "Sent `seconds` later than usual.", {"seconds": 30.0}),
    Fault("callback-early", "Done at once: sent and answered before the create's own answer."),
    Fault(
        "callback-forged",
        "A forged one comes halfway: wrong result, wrong signature. The true one follows.",
    ),
    Fault("callback-stale", "The signature is right but ten minutes old; needs an HMAC key."),
    Fault("callback-unsigned", "Comes without a signature although there is an HMAC key."),
    Fault("callback-progress-after-end", "Followed by one that says `generating`."),
    Fault(
        "callback-overtaken",
        "Held until another task's has been taken, `seconds` at most.",
        {"seconds": 30.0},
    ),
    Fault("callback-unparsable", "The body is no JSON; signed as usual."),
    Fault("callback-ids-disagree", "`taskId` at the root names another task than `data.taskId`."),
    Fault("callback-foreign-url", "`param.callBackUrl` is somebody else's."),
    Fault(
        "callback-forged-signed",
        "A forged success comes halfway, its signature valid. The true one follows.",
    ),
    Fault(
        "callback-forged-after",
        "Followed by a forged success with another result, under the same signature.",
    ),
    Fault(
        "callback-forged-instead",
        "A forged success comes in its place, the signature valid: also of what fails.",
    ),
    Fault("callback-without-result", "A success without `resultJson`.", needs="success"),
    Fault("callback-result-empty", 'A success whose `resultJson` is `""`.', needs="success"),
    Fault("callback-without-credits", "No credits; the record has them."),
    Fault(
        "callback-code-only-success",
        "A success by code 200 and `data.taskId` alone: no state, no result.",
        needs="success",
    ),
    Fault(
        "callback-general-reason",
        "Fails; neither `failCode` nor `failMsg`, which are 1501 and a reason in the record.",
        needs="fail",
    ),
    Fault(
        "callback-retried",
        "The first `times` answers come too late for kie.ai: sent again though taken.",
        {"times": 1},
    ),
)
_RESULT = (
    Fault("result-without-urls", "A success whose `resultUrls` is empty.", needs="success"),
    Fault("result-files", "A success of so many files.", {"times": 2}, needs="success"),
    Fault("result-object", "`resultObject` in place of `resultUrls`.", needs="success"),
    Fault("result-json-object", "`resultJson` is an object, not a text.", needs="success"),
    Fault("result-json-null", "A success whose `resultJson` is null.", needs="success"),
    Fault("result-json-empty", 'A success whose `resultJson` is `""`.', needs="success"),
    Fault("result-json-absent", "A success without `resultJson`.", needs="success"),
    Fault("result-fail-code-number", "Fails; `failCode` is the number 422.", needs="fail"),
    Fault("result-fail-code-word", "Fails; `failCode` is `GENERATION_FAILED`.", needs="fail"),
    Fault("result-fail-code-null", "Fails; `failCode` is null.", needs="fail"),
    Fault("result-json-twice", "`resultJson` is encoded twice.", needs="success"),
    Fault("result-urls-text", "`resultUrls` is one URL, a text.", needs="success"),
    Fault("result-urls-json-text", "`resultUrls` is JSON text of a list.", needs="success"),
    Fault(
        "result-large",
        "`resultJson` is of so many `bytes`: a transcript in `resultObject`.",
        {"bytes": 1_600_000},
        needs="success",
    ),
    *(_worded(word, end) for end, words in END_WORDS.items() for word in words),
    Fault("result-timeout", "Fails; 524, “generate task timeout.”.", needs="fail"),
    Fault(
        "result-timeout-then-success",
        "Fails with 524, “generate task timeout.”; succeeds `seconds` later, a second callback.",
        {"seconds": 60.0},
        needs="fail",
    ),
    Fault("result-withdrawn", "The model is withdrawn: fails with 500.", needs="fail"),
    Fault("result-credits-2025", "Credits as `consumeCredits`, in records too."),
    Fault("result-credits-2026", "Credits as `creditsConsumed`, in callbacks too."),
)
_RECORD = (
    *(_hiding(name, refusal) for name, refusal in RECORD_REFUSALS.items()),
    Fault(
        "record-http-502",
        "Queries are answered HTTP 502 and a page of HTML, until `seconds` after the create.",
        FOR_EVER,
    ),
    Fault("record-unknown-state", "While it runs its state is `post_processing`."),
    Fault("record-contradicts", "Its final state is the opposite of the callback's."),
    Fault("record-input-object", "`param.input` is an object, not a text."),
    Fault("record-foreign-url", "`param.callBackUrl` is another task's: other digits in its path."),
    Fault("record-without-param", "No `param`: nothing is echoed."),
    Fault("record-param-escaped", "`param.input` is escaped once more than usual."),
    Fault(
        "record-result-late",
        'A success; `resultJson` is `""` until `seconds` after the end, callbacks have none.',
        {"seconds": 3.0},
        needs="success",
    ),
    Fault(
        "record-credits-late",
        "Credits are null until `seconds` after the end, callbacks have none.",
        {"seconds": 3.0},
    ),
)

_FILE = (
    Fault("file-slow", "The result's files take `seconds`.", {"seconds": 5.0}, needs="success"),
    Fault("file-cut-off", "They break off in the middle.", needs="success"),
    Fault("file-wrong-length", "They are a byte shorter than announced.", needs="success"),
    Fault("file-picky", "403 to the User-Agents of libraries.", needs="success"),
    Fault("file-gone", "404 from `seconds` after the end on.", {"seconds": 0.0}, needs="success"),
    Fault("file-late", "503 until `seconds` after the end.", {"seconds": 3.0}, needs="success"),
    Fault("file-endless", "They never end.", needs="success"),
    Fault("file-redirect", "302 to an address that nobody should call.", needs="success"),
    Fault("file-large", "Of so many `bytes`, as a video.", {"bytes": 10_000_000}, needs="success"),
)

FAULTS: Mapping[str, Fault] = {
    fault.name: fault for fault in (*_CREATE, *_CALLBACK, *_RESULT, *_RECORD, *_FILE)
}
"""By name."""
