"""Request bodies, and the reasons for which kie.ai refuses a create."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulator import json_codec

UNSUPPORTED_MODEL = (
    "The model name you specified is not supported. "
    "Please verify your input and use one of the supported models provided by KIE."
)
NO_SUCH_MODEL = "no-such-model"
"""The one well-formed model name that is refused."""


class RefusedError(Exception):
    """kie.ai refuses; always HTTP 200, with the envelope's `code`."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateBody:
    """The body of one createTask."""

    model: str
    input: str
    """JSON text: every number as it came."""
    callback_url: str | None


def _names_no_model(body: dict[str, Any]) -> bool:
    model = body.get("model")
    return not isinstance(model, str) or not model or " " in model or model == NO_SUCH_MODEL


def _holds_no_object(body: dict[str, Any]) -> bool:
    return not isinstance(body.get("input"), dict)


def _holds_nothing(body: dict[str, Any]) -> bool:
    return not body["input"]


def _has_odd_callback(body: dict[str, Any]) -> bool:
    return not isinstance(body.get("callBackUrl"), str | None)


REFUSALS: tuple[tuple[Callable[[dict[str, Any]], bool], int, str], ...] = (
    (_names_no_model, 422, UNSUPPORTED_MODEL),
    (_holds_no_object, 422, "input must be an object"),
    (_has_odd_callback, 422, "callBackUrl must be a string"),
    (_holds_nothing, 500, "prompt is required"),  # live: a plain parameter error is a 500
)
"""Checked in this order; the first that applies answers."""


def read_create(body: bytes) -> CreateBody:
    """Read the body of a create; raises `RefusedError`."""
    try:
        document = json_codec.read(body)
        if not isinstance(document, dict):
            raise RefusedError(422, "The request body must be a JSON object")
        for applies, code, message in REFUSALS:
            if applies(document):
                raise RefusedError(code, message)
        return CreateBody(
            model=document["model"],
            input=json_codec.text(document["input"]),
            callback_url=document.get("callBackUrl") or None,
        )
    except json_codec.UnreadableError:
        raise RefusedError(422, "The request body is not readable JSON") from None


def callback_url(body: bytes) -> str | None:
    """Read the callback URL of a create that was refused, as far as it is readable."""
    return _text(body, "callBackUrl")


def file_url(body: bytes) -> str | None:
    """Read the URL of the file that a link is wanted for, as far as it is readable."""
    return _text(body, "url")


def _text(body: bytes, name: str) -> str | None:
    try:
        document = json_codec.read(body)
    except json_codec.UnreadableError:
        return None
    found = document.get(name) if isinstance(document, dict) else None
    return found if isinstance(found, str) and found else None
