"""Turns what went wrong into `application/problem+json` (RFC 9457), by one table."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import compile_path
from starlette.types import Scope

from app.api.answers import ExactJSON
from app.domain import errors, file_errors
from app.domain.errors import Flaw, GatewayError

STATUS: Mapping[type[GatewayError], int] = {
    errors.MalformedBodyError: 400,
    file_errors.MalformedMultipartError: 400,
    errors.InvalidIdempotencyKeyError: 400,
    errors.UnauthenticatedError: 401,
    errors.BudgetExceededError: 402,
    errors.ModelCostUnknownError: 402,
    errors.InsufficientScopeError: 403,
    errors.InsufficientRoleError: 403,
    errors.ClientDisabledError: 403,
    errors.NotPermittedError: 403,
    errors.NotFoundError: 404,
    errors.MethodNotAllowedError: 405,
    file_errors.UploadStalledError: 408,
    errors.NotCancelableError: 409,
    errors.NotRefreshableError: 409,
    errors.NotErasableError: 409,
    errors.NotStuckError: 409,
    errors.PaidTwiceRiskError: 409,
    errors.UrlDisabledError: 409,
    file_errors.ArtifactNotStoredError: 409,
    errors.CursorLostError: 410,
    errors.TaskErasedError: 410,
    errors.ClientErasedError: 410,
    errors.BodyDeletedError: 410,
    errors.BodyTooLargeError: 413,
    file_errors.UnsupportedFileTypeError: 415,
    file_errors.RangeNotSatisfiableError: 416,
    errors.InvalidRequestError: 422,
    file_errors.UploadRefusedError: 422,
    file_errors.FileNotFetchableError: 422,
    file_errors.FileExpiredError: 422,
    errors.TooManyValuesError: 422,
    errors.IdempotencyKeyReusedError: 422,
    errors.RateLimitedError: 429,
    errors.TooManyStreamsError: 429,
    errors.TooManyWaitsError: 429,
    file_errors.TooManyUploadsError: 429,
    errors.QueueFullError: 429,
    errors.OverloadedError: 429,
    errors.InternalError: 500,
    errors.KieNotAnsweringError: 502,
    errors.DatabaseUnavailableError: 503,
    file_errors.ArchiveAwayError: 503,
    errors.QueueTooLongError: 503,
}
"""Every code's status; `docs/errors.md` shows the same table, and tests compare the three."""

HEADERS: Mapping[int, Mapping[str, str]] = {
    401: {"WWW-Authenticate": "Bearer"},
    429: {"Retry-After": "1"},
    503: {"Retry-After": "2"},
}

NOWHERE = errors.NotFoundError("There is nothing at this path; /docs lists what there is.")

_BY_STATUS: Mapping[int, GatewayError] = {
    404: NOWHERE,
    405: errors.MethodNotAllowedError(
        "This path does not have this method: `Allow` lists those that it has."
    ),
}
"""What the framework refuses on its own."""


class Problem(ExactJSON):
    """One refusal."""

    media_type = "application/problem+json"


def problem(error: GatewayError, request_id: str | None) -> dict[str, Any]:
    """Describe a refusal as RFC 9457 says."""
    content: dict[str, Any] = {
        "type": f"urn:kie-gateway:error:{error.code}",
        "title": error.title,
        "status": STATUS[type(error)],
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
    }
    if isinstance(error, errors.DatabaseUnavailableError) and error.task_id is not None:
        content["task_id"] = str(error.task_id)
    if isinstance(error, (errors.QueueFullError, errors.BudgetExceededError)):
        content |= error.figures
    if error.flaws:
        content["errors"] = [_shown(flaw) for flaw in error.flaws]
    return content


def _shown(flaw: Flaw) -> dict[str, str]:
    """Show where it is by the one member that applies."""
    return {name: value for name, value in asdict(flaw).items() if value is not None}


_TELL_WHEN = (errors.QueueTooLongError, errors.QueueFullError, errors.RateLimitedError)
"""Refusals that know after how many seconds to come back."""


def refusal(scope: Scope, error: GatewayError) -> Response:
    """Answer one request with its refusal, in the form of its path."""
    status = STATUS[type(error)]
    forms: Mapping[str, Form] = scope["app"].state.forms
    write = next((form for start, form in forms.items() if scope["path"].startswith(start)), None)
    if write is None:
        content = problem(error, scope["state"]["request_id"])
        response: Response = Problem(content, status_code=status, headers=HEADERS.get(status))
    else:
        response = write(error, status)
    if status in HEADERS and "Retry-After" in HEADERS[status]:
        response.headers["Retry-After"] = HEADERS[status]["Retry-After"]
    if isinstance(
        error, (errors.QueueTooLongError, errors.QueueFullError, errors.RateLimitedError)
    ):
        response.headers["Retry-After"] = str(math.ceil(error.retry_after))
    if isinstance(error, errors.BudgetExceededError) and error.retry_after is not None:
        response.headers["Retry-After"] = str(math.ceil(error.retry_after))
    if isinstance(error, file_errors.RangeNotSatisfiableError):
        response.headers["Content-Range"] = f"bytes */{error.size}"
    return response


Form = Callable[[GatewayError, int], Response]
"""Writes a refusal in another form; given are the error and its status."""


def install(app: FastAPI, forms: Mapping[str, Form] | None = None) -> None:
    """Make every refusal of the app a problem document, but under the paths of `forms`."""
    app.state.forms = forms or {}
    app.add_exception_handler(GatewayError, _refused)
    app.add_exception_handler(RequestValidationError, _bad_parameter)
    app.add_exception_handler(HTTPException, _framework)


async def _refused(request: Request, error: Exception) -> Response:
    known = error if isinstance(error, GatewayError) else errors.InternalError(SORRY)
    return refusal(request.scope, known)


async def _bad_parameter(request: Request, error: Exception) -> Response:
    """Name the parameter: bodies are read by us, so only paths, queries and headers come here."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    # Of a repeated parameter a third part of `loc` counts its values.
    flaws = [Flaw(None, flaw["msg"], parameter=str(flaw["loc"][1])) for flaw in found]
    detail = "; ".join(f"{flaw.parameter}: {flaw.detail}" for flaw in flaws)
    return refusal(request.scope, errors.InvalidRequestError(detail, flaws))


async def _framework(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    response = refusal(request.scope, _BY_STATUS.get(status, errors.InternalError(SORRY)))
    if status == STATUS[errors.MethodNotAllowedError]:
        response.headers["Allow"] = ", ".join(sorted(_methods(request))) or "GET"
    return response


def _methods(request: Request) -> set[str]:
    """List what the path speaks, over all of its routes (RFC 9110 section 15.5.6).

    The router knows but the first of them; the document knows all, the plainest path first.
    """
    described: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    for template in sorted(described, key=lambda path: path.count("{")):
        if compile_path(template)[0].match(request.url.path):
            return {method.upper() for method in described[template]}
    return set()


SORRY = (
    "This is a defect of the gateway. Report it with this request_id, under which the log has the "
    "details. Repeating a create with its Idempotency-Key never creates a second task."
)
