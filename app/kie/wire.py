"""Writes and reads kie.ai's JSON: what each answer and each callback means.

Pure functions over bytes; none of the readers raises, whatever the bytes are. The truth of an
answer is its envelope's `code`: every recorded answer was HTTP 200. The HTTP status counts only
where there is no envelope to read (a CDN's error page, a proxy).
"""

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
from app.kie import refusals, values
from app.kie.envelope import MAX_MESSAGE, OK, SUCCESSES, Envelope, created_id, opened, said, words
from app.kie.results import report, signal

FAILED_QUERIES = (501, 408)
"""Envelope codes by which a query says that the task itself failed."""
NOT_VISIBLE = (*SUCCESSES, 404, 422)
"""Envelope codes that, without `data`, say that the id is not known (yet)."""
_NOTHING: tuple[Any, ...] = (None, "", [], {})


def create_body(
    model: str,
    input: Mapping[str, Any] | exact_json.Verbatim,  # noqa: A002  # kie.ai's name for it
    callback_url: str | None,
) -> bytes:
    callback = {} if callback_url is None else {"callBackUrl": callback_url}
    return exact_json.render({"model": model, **callback, "input": input}).encode()


def read_create(status: int, body: bytes) -> Outcome:
    """Read createTask's answer; what proves nothing either way is `Unknown`."""
    match opened(body):
        case Envelope(code=int() as code) as envelope:
            return _outcome(code, envelope)
        case _:
            return _outcome_without_envelope(status)


def read_callback(body: bytes) -> Report | Unreadable:
    """Read a callback: its state where it names one, else its envelope's code.

    `taskId` is the one member that no callback lacks, so without an id nothing is believed. Code
    200 and an id alone are a notice of completion: a success that shows no result.
    """
    envelope = opened(body)
    if isinstance(envelope, Unreadable):
        return envelope
    if (named := signal(envelope)) is not None:
        found = report(envelope, *named)
    elif envelope.code is None:
        return Unreadable(reason="neither a state nor a code")
    else:
        found = report(envelope, Progress.SUCCEEDED if envelope.succeeds else Progress.FAILED)
    if not found.kie_task_ids:
        return Unreadable(reason="no task id")
    if envelope.succeeds and envelope.code != OK and named is None and found.result is None:
        return Unreadable(reason=f"code {envelope.code} with neither a state nor a result")
    return found


def read_query(status: int, body: bytes) -> Answer:
    """Read the answer to a query about one task (recordInfo and its kin)."""
    match opened(body):
        case Envelope(code=int() as code) as envelope:
            return _answer(code, envelope, body)
        case _:
            return _unanswered_without_envelope(status)


def read_credit(status: int, body: bytes) -> Decimal | NoAnswer:
    """Read the account's balance in credits."""
    match opened(body):
        case Envelope(code=int() as code) as envelope if not envelope.succeeds:
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
    match opened(body):
        case Envelope(code=int() as code) as envelope if (
            envelope.succeeds or refusals.CODES.get(code) is Fault.REQUEST
        ):
            given = envelope.succeeds and isinstance(envelope.data, str)
            link = envelope.data if given else None
            if envelope.succeeds and link is None:
                return NoAnswer(reason="the link is no text")
            message = values.text(envelope.message, MAX_MESSAGE) or ""
            return DownloadLink(code=code, message=message, url=link)
        case Envelope(code=int() as code) as envelope:
            return _unanswered(code, envelope)
        case _:
            return _unanswered_without_envelope(status)


def _outcome(code: int, envelope: Envelope) -> Outcome:
    kie_task_id = created_id(envelope)
    if envelope.succeeds and kie_task_id is not None:
        return Accepted(kie_task_id=kie_task_id)
    fault = refusals.fault_of(code, envelope.message or "")
    if fault is not None and kie_task_id is None:
        return Refused(fault=fault, code=str(code), message=words(code, envelope))
    return Unknown(  # a refusal that names a task proves nothing either
        reason=said(code, envelope),
        message=words(code, envelope),
        kie_task_id=kie_task_id or refusals.task_id_in(envelope.message or ""),
    )


def _outcome_without_envelope(status: int) -> Refused | Unknown:
    reason = _no_envelope(status)
    if (fault := refusals.STATUSES.get(status)) is None:
        return Unknown(reason=reason)
    return Refused(fault=fault, code=str(status), message=reason)


def _answer(code: int, envelope: Envelope, body: bytes) -> Answer:
    if code in NOT_VISIBLE and envelope.data in _NOTHING:
        return NotVisible()
    if not envelope.succeeds and code not in FAILED_QUERIES:
        return _unanswered(code, envelope)
    if (named := signal(envelope)) is not None:  # the record's own word before the envelope's
        return Answered(report=report(envelope, *named), body=body)
    if code in FAILED_QUERIES:
        return Answered(report=report(envelope, Progress.FAILED), body=body)
    return NoAnswer(reason="the record names no state")


def _unanswered(code: int, envelope: Envelope) -> NoAnswer:
    fault = refusals.CODES.get(code)
    return NoAnswer(
        reason=said(code, envelope),
        account=fault is Fault.ACCOUNT,
        throttled=fault is Fault.BUSY,
    )


def _unanswered_without_envelope(status: int) -> NoAnswer:
    return NoAnswer(reason=_no_envelope(status))  # whose page it is, nobody knows


def _no_envelope(status: int) -> str:
    return f"HTTP {status} without a kie.ai envelope"
