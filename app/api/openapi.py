"""The OpenAPI document: describes the bodies that we read ourselves, and every refusal."""

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from app.api.deps import CALLERS
from app.api.errors import STATUS, problem
from app.api.schemas.admin import ADMIN_BODIES
from app.api.schemas.admin_keys import ADMIN_KEY_BODIES
from app.api.schemas.bulk import BULK_BODIES
from app.api.schemas.deliveries import DELIVERY_BODIES
from app.api.schemas.dropin import KIE_BODIES
from app.api.schemas.problems import ProblemDocument
from app.api.schemas.spend import SPEND_BODIES
from app.api.schemas.tasks import TASK_BODIES
from app.domain.errors import GatewayError, RateLimitedError

_REF = "#/components/schemas/{model}"
_HEADER = "#/components/headers/{name}"

_HEADERS: Mapping[str, Mapping[str, Any]] = {
    "RateLimit-Policy": {
        "description": "How many requests your client may send at once (`q`), and in how many "
        "seconds all of them are back (`w`): draft-ietf-httpapi-ratelimit-headers.",
        "schema": {"type": "string"},
        "example": '"requests";q=100;w=2',
    },
    "RateLimit": {
        "description": "How many of them are left (`r`), and when all are back (`t`, seconds).",
        "schema": {"type": "string"},
        "example": '"requests";r=99;t=1',
    },
    "Retry-After": {
        "description": "Seconds after which to repeat the request.",
        "schema": {"type": "integer", "minimum": 0},
    },
}
_ON_EVERY_ANSWER = ("RateLimit-Policy", "RateLimit")
"""To a request whose API key is known."""

_MEANING = {
    400: "The body is not usable JSON, or the Idempotency-Key is not valid.",
    401: "No valid API key.",
    402: "A hard budget of yours does not cover what the task may cost.",
    403: "The key is valid, and not for this.",
    404: "Nothing there for this caller.",
    409: "Its state does not allow this.",
    410: "It was there, and is no more: the task, or the place in the feed.",
    413: "The body is too large.",
    422: "The request is not valid.",
    429: "Too many of your requests, streams, waits or tasks, or too much that is under way is "
    "yours: repeat after `Retry-After` seconds.",
    502: "kie.ai was asked, and did not answer.",
    503: "The database is away. Repeat with the same Idempotency-Key.",
}


def refusals(
    *statuses: int, as_in: Mapping[int, type[GatewayError]] | None = None
) -> dict[int | str, dict[str, Any]]:
    """Describe refusals for a route's `responses`, `as_in` with another example than the usual."""
    return {
        status: {
            "description": _MEANING[status],
            "content": {
                "application/problem+json": {
                    "schema": {"$ref": _REF.format(model="ProblemDocument")},
                    "example": _example(status, (as_in or {}).get(status)),
                }
            },
        }
        for status in statuses
    }


def _example(status: int, kind: type[GatewayError] | None) -> dict[str, Any]:
    """Show a refusal with this status, of this kind where one is wanted."""
    if kind is None and status == ProblemDocument.EXAMPLE["status"]:
        return ProblemDocument.EXAMPLE
    kind = kind or next(kind for kind, known in STATUS.items() if known == status)
    said = _MEANING[status]
    error = RateLimitedError(said, retry_after=1) if kind is RateLimitedError else kind(said)
    return problem(error, ProblemDocument.EXAMPLE["request_id"])


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """Describe a JSON body that a dependency reads."""
    schema = {"$ref": _REF.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


_NAMED: tuple[type[BaseModel], ...] = (
    *TASK_BODIES,
    ProblemDocument,
    *DELIVERY_BODIES,
    *KIE_BODIES,
    *ADMIN_BODIES,
    *ADMIN_KEY_BODIES,
    *BULK_BODIES,
    *SPEND_BODIES,
)
"""What routes refer to by name alone."""


def _references(node: object) -> Iterator[str]:
    """Walk what a part of the document refers to."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for member in node.values():
            yield from _references(member)


def _drop_impossible(responses: dict[str, Any]) -> None:
    """Drop the framework's own 422: flawed parameters are problem documents here."""
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]


def _add_headers(operation: dict[str, Any], callers: str) -> None:
    """Describe the headers of an operation for `callers`, by the name of their kind of key."""
    if {callers: []} not in operation.get("security", ()):
        return
    for status, response in operation["responses"].items():
        if status != "401":
            names = (*_ON_EVERY_ANSWER, "Retry-After") if status == "429" else _ON_EVERY_ANSWER
            response["headers"] = {name: {"$ref": _HEADER.format(name=name)} for name in names}


def install(app: FastAPI) -> None:
    """Put the models that routes only refer to into the document."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            described = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            for operations in described["paths"].values():
                for operation in operations.values():
                    _drop_impossible(operation["responses"])
                    _add_headers(operation, CALLERS)
            described.setdefault("components", {})["headers"] = _HEADERS
            schemas = described.setdefault("components", {}).setdefault("schemas", {})
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)  # of the responses that were dropped
            named = set(_references(described["paths"]))
            for model in _NAMED:
                if _REF.format(model=model.__name__) not in named:
                    continue
                schema = model.model_json_schema(ref_template=_REF)
                schemas |= schema.pop("$defs", {})
                schemas[model.__name__] = schema
            app.openapi_schema = described
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the documented way to extend it
