"""What a create asks for, and the reasons for which kie.ai refuses one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulator import documents

UNSUPPORTED_MODEL = (
    "The model name you specified is not supported. "
    "Please verify your input and use one of the supported models provided by KIE."
)
NO_SUCH_MODEL = "no-such-model"
"""The one well-formed model name that is refused."""


class RefusedError(Exception):
    """kie.ai says no; always HTTP 200, the envelope's `code` tells."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
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


def read_order(body: bytes) -> Order:
    """Read the body of a create; raises `RefusedError`."""
    try:
        document = documents.read(body)
        if not isinstance(document, dict):
            raise RefusedError(422, "The request body must be a JSON object")
        for applies, code, message in REFUSALS:
            if applies(document):
                raise RefusedError(code, message)
        return Order(
            model=document["model"],
            input=documents.text(document["input"]),
            callback_url=document.get("callBackUrl") or None,
        )
    except documents.UnreadableError:
        raise RefusedError(422, "The request body is not readable JSON") from None


def callback_url(body: bytes) -> str | None:
    """Read who wanted to be told, as far as that can be read, of a create that was refused."""
    return _text(body, "callBackUrl")


def file_url(body: bytes) -> str | None:
    """Read of which file a link is wanted, as far as that can be read."""
    return _text(body, "url")


def _text(body: bytes, name: str) -> str | None:
    try:
        document = documents.read(body)
    except documents.UnreadableError:
        return None
    found = document.get(name) if isinstance(document, dict) else None
    return found if isinstance(found, str) and found else None
