"""Writes and reads kie.ai's JSON: what each answer and each callback means.

Pure functions over bytes; none of the readers raises, whatever the bytes are. The truth of an
answer is its envelope's `code`: every recorded answer was HTTP 200. The HTTP status counts only
where there is no envelope to read (a CDN's error page, a proxy).
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from app.domain import exact_json
from app.domain.report import (
    Answer,
    Answered,
    DownloadLink,
    NoAnswer,
    NotVisible,
    Progress,
    Report,
    Unreadable,
)
from app.domain.submission import Accepted, Fault, Outcome, Refused, Unknown
from app.kie import values
from app.kie.results import MAX_FAIL_MESSAGE, MAX_MESSAGE, OK, Envelope, report, signal

REFUSALS: Mapping[int, Fault] = {
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

HTTP_REFUSALS = {code: REFUSALS[code] for code in (400, 404, 413, 422, 451, 401, 402, 405, 429)}
"""The same for an HTTP status without an envelope: those said before a request is worked on.

Not 403, which some CDN rules answer late, and nothing from 500 on.
"""

SERVER_ERROR = 500
REFUSED_AS_SERVER_ERROR: tuple[tuple[re.Pattern[str], Fault], ...] = (
    (  # "aspect_ratio is required": found while validating the input, before any task exists
        re.compile(
            r"(?:the )?\S+(?: field| parameter)? "
            r"(?:is required|(?:can ?not|must not) be (?:empty|null|blank))\W*",
            re.IGNORECASE,
        ),
        Fault.REQUEST,
    ),
    (  # "Credits insufficient": found before anything is charged
        re.compile(
            r".*\b(?:credits? (?:(?:is|are) )?insufficient|insufficient credits?)\b.*",
            re.IGNORECASE,
        ),
        Fault.REQUEST,
    ),
)
"""Messages under code 500 that are known refusals, matched whole.

Few on purpose: a wrong "refused" pays twice or loses a paid task, a wrong "unknown" only waits.
"""

FAILED_QUERIES = (501, 408)
"""Envelope codes by which a query says that the task itself failed."""
NOT_VISIBLE = (OK, 404, 422)
"""Envelope codes that, without `data`, say that the id is not known (yet)."""
_NOTHING: tuple[Any, ...] = (None, "", [], {})


def create_body(model: str, input: Mapping[str, Any], callback_url: str | None) -> bytes:  # noqa: A002  # kie.ai's name for it
    callback = {} if callback_url is None else {"callBackUrl": callback_url}
    return exact_json.render({"model": model, **callback, "input": input}).encode()


def read_create(status: int, body: bytes) -> Outcome:
    """Read createTask's answer; what proves nothing either way is `Unknown`."""
    match _envelope(body):
        case Envelope(code=int() as code) as envelope:
            return _outcome(code, envelope)
        case _:
            return _outcome_without_envelope(status)


def read_callback(body: bytes) -> Report | Unreadable:
    """Read a callback: its state where it names one, else its envelope's code.

    `taskId` is the one member that no callback lacks, so without an id nothing is believed; nor is
    a success by code alone that shows no result.
    """
    envelope = _envelope(body)
    if isinstance(envelope, Unreadable):
        return envelope
    if (named := signal(envelope)) is not None:
        said = report(envelope, *named)
    elif envelope.code is None:
        return Unreadable(reason="neither a state nor a code")
    elif envelope.code == OK:
        said = report(envelope, Progress.SUCCEEDED)
        if said.result is None:
            return Unreadable(reason="code 200 with neither a state nor a result")
    else:
        said = report(envelope, Progress.FAILED)
    return said if said.kie_task_ids else Unreadable(reason="no task id")


def read_query(status: int, body: bytes) -> Answer:
    """Read the answer to a query about one task (recordInfo and its kin)."""
    match _envelope(body):
        case Envelope(code=int() as code) as envelope:
            return _answer(code, envelope, body)
        case _:
            return _unanswered_without_envelope(status)


def read_credit(status: int, body: bytes) -> Decimal | NoAnswer:
    """Read the account's balance in credits."""
    match _envelope(body):
        case Envelope(code=int() as code) as envelope if code != OK:
            return _unanswered(code, envelope)
        case Envelope(code=int(), data=data):
            balance = values.decimal(data)
            return balance if balance is not None else NoAnswer(reason="the balance is no number")
        case _:
            return _unanswered_without_envelope(status)


def download_body(url: str) -> bytes:
    return exact_json.render({"url": url}).encode()


def read_download(status: int, body: bytes) -> DownloadLink | NoAnswer:
    """Read the link to a file; what is not about the URL but about us is no answer."""
    match _envelope(body):
        case Envelope(code=int() as code) as envelope if (
            code == OK or REFUSALS.get(code) is Fault.REQUEST
        ):
            link = envelope.data if code == OK and isinstance(envelope.data, str) else None
            if code == OK and link is None:
                return NoAnswer(reason="the link is no text")
            message = values.text(envelope.message, MAX_MESSAGE) or ""
            return DownloadLink(code=code, message=message, url=link)
        case Envelope(code=int() as code) as envelope:
            return _unanswered(code, envelope)
        case _:
            return _unanswered_without_envelope(status)


def _envelope(body: bytes) -> Envelope | Unreadable:
    """Read the outside; an answer without a `code` is not kie.ai's but some framework's."""
    try:
        root = exact_json.read(body)
    except exact_json.UnreadableDocumentError as error:
        return Unreadable(reason=error.reason[:MAX_MESSAGE])
    if not isinstance(root, dict):
        return Unreadable(reason="not a JSON object")
    messages = (values.text(root.get(name), MAX_FAIL_MESSAGE) for name in ("msg", "message"))
    return Envelope(
        code=values.code(root.get("code")),
        message=next((message for message in messages if message is not None), None),
        data=root.get("data"),
        root=root,
    )


def _outcome(code: int, envelope: Envelope) -> Outcome:
    kie_task_id = _created(envelope.data)
    if code == OK and kie_task_id is not None:
        return Accepted(kie_task_id=kie_task_id)
    fault = _fault(code, envelope.message or "")
    if fault is None or kie_task_id is not None:  # a refusal that names a task proves nothing
        return Unknown(reason=_said(code, envelope))
    message = values.text(envelope.message, MAX_MESSAGE)
    return Refused(fault=fault, code=str(code), message=message or _said(code, envelope))


def _created(data: object) -> str | None:
    named = data if isinstance(data, dict) else {}
    ids = (values.identifier(named.get(name)) for name in ("taskId", "task_id", "recordId"))
    return next((found for found in ids if found is not None), None)


def _fault(code: int, message: str) -> Fault | None:
    if code != SERVER_ERROR:
        return REFUSALS.get(code)
    known = (fault for pattern, fault in REFUSED_AS_SERVER_ERROR if pattern.fullmatch(message))
    return next(known, None)


def _outcome_without_envelope(status: int) -> Refused | Unknown:
    reason = _no_envelope(status)
    if (fault := HTTP_REFUSALS.get(status)) is None:
        return Unknown(reason=reason)
    return Refused(fault=fault, code=str(status), message=reason)


def _answer(code: int, envelope: Envelope, body: bytes) -> Answer:
    if code in NOT_VISIBLE and envelope.data in _NOTHING:
        return NotVisible()
    if code not in (OK, *FAILED_QUERIES):
        return _unanswered(code, envelope)
    if (named := signal(envelope)) is not None:  # the record's own word before the envelope's
        return Answered(report=report(envelope, *named), body=body)
    if code in FAILED_QUERIES:
        return Answered(report=report(envelope, Progress.FAILED), body=body)
    return NoAnswer(reason="the record names no state")


def _unanswered(code: int, envelope: Envelope) -> NoAnswer:
    return NoAnswer(reason=_said(code, envelope), account=_is_account(code))


def _unanswered_without_envelope(status: int) -> NoAnswer:
    return NoAnswer(reason=_no_envelope(status), account=_is_account(status))


def _is_account(code: int) -> bool:
    return REFUSALS.get(code) is Fault.ACCOUNT


def _no_envelope(status: int) -> str:
    return f"HTTP {status} without a kie.ai envelope"


def _said(code: int, envelope: Envelope) -> str:
    return f"kie.ai answered code {code}: {envelope.message or '(no message)'}"[:MAX_MESSAGE]
