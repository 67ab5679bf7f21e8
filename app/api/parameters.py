"""What routes take beside the body: no unknown parameters, `Prefer: wait`, `Idempotency-Key`."""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Query, Request
from fastapi.dependencies.models import Dependant

from app.api.deps import CallerDep, OperatorDep
from app.api.schemas.tasks import (
    MAX_METADATA,
    MAX_METADATA_KEY,
    MAX_METADATA_VALUE,
    MAX_WAIT,
)
from app.domain.errors import InvalidIdempotencyKeyError, bad_parameter

MAX_SHOWN = 80
"""Characters of a parameter's name that an error repeats."""

METADATA = "metadata."
"""`?metadata.KEY=VALUE` narrows a list to the tasks with this pair."""

METADATA_PARAMETER: Mapping[str, object] = {
    "name": f"{METADATA}KEY",
    "in": "query",
    "description": "Only tasks with this pair in their metadata; KEY is the pair's own name.",
    "schema": {"type": "string", "maxLength": 512},
}
"""Described to the OpenAPI document, which knows no parameters with free names."""


def metadata_filter(request: Request) -> dict[str, str]:
    """Take `metadata.KEY=VALUE` from the query; raises `InvalidRequestError`."""
    pairs: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name.startswith(METADATA):
            key = name.removeprefix(METADATA)
            trouble = _pair_trouble(key, value, pairs)
            if trouble is not None:
                raise bad_parameter(name[:MAX_SHOWN], trouble)
            pairs[key] = value
    return pairs


def _pair_trouble(key: str, value: str, before: Mapping[str, str]) -> str | None:
    if key in before:
        return "each key once"
    if len(before) == MAX_METADATA:
        return f"at most {MAX_METADATA} pairs"
    if "\0" in key + value:
        return "has a NUL, which nothing here can have"
    if len(key) > MAX_METADATA_KEY or len(value) > MAX_METADATA_VALUE:
        return f"{MAX_METADATA_KEY} and {MAX_METADATA_VALUE} characters at most"
    return None


def without_nul(name: str, text: str | None) -> str | None:
    """Return a parameter's text; raises `InvalidRequestError` for one that nothing can match."""
    if text is not None and "\0" in text:
        raise bad_parameter(name, "has a NUL, which nothing here can have")
    return text


async def only_known_parameters(request: Request, _: CallerDep) -> None:
    """Refuse a misspelt query parameter: a filter that is ignored answers another question.

    The key comes first: without one, nothing else is revealed.
    """
    _refuse_unknown(request)


async def only_known_admin_parameters(request: Request, _: OperatorDep) -> None:
    """Refuse any query parameter: the operators' paths have none."""
    _refuse_unknown(request)


def _refuse_unknown(request: Request) -> None:
    if not request.scope["query_string"]:
        return
    route = request.scope["route"]
    known = set(_query_names(route.dependant))
    free = METADATA_PARAMETER in (route.openapi_extra or {}).get("parameters", ())
    for name in request.query_params:
        if name in known or (free and name.startswith(METADATA)):
            continue
        near = difflib.get_close_matches(name, known, n=1)
        others = f"known are: {', '.join(sorted(known))}" if known else "this path has none"
        hint = f"did you mean {near[0]}?" if near else others
        raise bad_parameter(name[:MAX_SHOWN], f"unknown parameter; {hint}")


def _query_names(dependant: Dependant) -> Iterator[str]:
    """Walk what a route and its dependencies declare."""
    for parameter in dependant.query_params:
        yield parameter.alias
    for needed in dependant.dependencies:
        yield from _query_names(needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How long an answer may be held back, and the header that says so."""

    seconds: float | None
    applied: Mapping[str, str]


NO_WAIT = Waiting(seconds=None, applied={})
"""Nothing is said of it."""

_PREFERRED_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE)


async def waiting(
    request: Request,
    wait: Annotated[
        float | None,
        Query(
            ge=0,
            le=MAX_WAIT,
            allow_inf_nan=False,
            description="Hold the answer until the task is in a final state, for at most so many "
            "seconds.",
        ),
    ] = None,
    _: Annotated[
        str,
        Header(
            alias="prefer",
            description="`wait=N` (RFC 7240): the same, where `?wait` is not given.",
        ),
    ] = "",
) -> Waiting:
    """Take `?wait=N` or `Prefer: wait=N`; a preference is met as far as possible, never refused."""
    preferred = _PREFERRED_WAIT.search(",".join(request.headers.getlist("prefer")))
    if wait is not None or preferred is None:
        return Waiting(seconds=wait, applied={})
    seconds = min(int(preferred[1]), MAX_WAIT)
    return Waiting(seconds=seconds, applied={"Preference-Applied": f"wait={seconds}"})


WaitDep = Annotated[Waiting, Depends(waiting)]


MAX_KEY = 255


async def idempotency_key(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="Repeat a create with the same key and it is the same task. "
            f"1 to {MAX_KEY} printable ASCII characters."
        ),
    ] = None,
) -> str | None:
    """Check the key; raises `InvalidIdempotencyKeyError`."""
    if idempotency_key is None:
        return None
    if len(set(request.headers.getlist("idempotency-key"))) > 1:
        detail = "There are several Idempotency-Keys: send one, or nobody knows which one counts."
        raise InvalidIdempotencyKeyError(detail)
    if 1 <= len(idempotency_key) <= MAX_KEY and all(" " <= c <= "~" for c in idempotency_key):
        return idempotency_key
    detail = (
        f"The Idempotency-Key should be 1 to {MAX_KEY} printable ASCII characters: a UUID will do."
    )
    raise InvalidIdempotencyKeyError(detail)


IdempotencyKeyDep = Annotated[str | None, Depends(idempotency_key)]
