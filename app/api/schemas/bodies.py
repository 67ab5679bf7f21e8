"""What all request bodies share: strictness, types of members, and how flaws are found."""

import difflib
from decimal import Decimal
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails

from app.domain.client import MAX_URL, url_objection
from app.domain.errors import Flaw, InvalidRequestError
from app.domain.exact_json import pointer

MAX_FLAWS = 20
"""How many are reported at once: a body of a megabyte can have a hundred thousand."""

MAX_POINTER = 200

DID_YOU_MEAN = {"callBackUrl": "webhook_url", "callback_url": "webhook_url"}
"""kie.ai's own names, for whoever comes from there."""


class RequestBody(BaseModel):
    """A strict body: no unknown fields, no text where a number belongs."""

    # Built when the first one comes: a process sees few of them.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


Body = TypeVar("Body", bound=RequestBody)


def web_address(url: str) -> str:
    """Return the URL; raises ValueError for one that is no http or https URL."""
    objection = url_objection(url)
    if objection is not None:
        raise ValueError(objection)
    return url


Url = Annotated[str, StringConstraints(max_length=MAX_URL), AfterValidator(web_address)]
"""Where a client is to be notified."""


def number(value: object) -> object:
    """Take a JSON number, however it was spelled; leave the rest for the type to refuse."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        return value
    try:
        return float(value)
    except OverflowError:
        return float("inf")


Number = Annotated[Decimal, WithJsonSchema({"type": "number"})]
"""A JSON number of any precision; pydantic would describe a text."""


def validated(model: type[Body], value: object) -> Body:
    """Check a parsed body; raises `InvalidRequestError` with a pointer to each flaw."""
    if not isinstance(value, dict):
        needed = [f"`{name}`" for name, field in model.model_fields.items() if field.is_required()]
        least = f" with at least {' and '.join(needed)}" if needed else ""
        detail = f"The body should be a JSON object{least}."
        raise InvalidRequestError(detail, [Flaw("", "should be an object")])
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        flaws = [_flaw(model, detail) for detail in found[:MAX_FLAWS]]
    details = (f"{flaw.pointer} {flaw.detail}".strip() for flaw in flaws)  # of the root: no pointer
    raise InvalidRequestError("; ".join(details), flaws)


def _flaw(model: type[BaseModel], error: ErrorDetails) -> Flaw:
    # pydantic marks a member's name by a third part, "[key]"
    where = pointer(*error["loc"][:2])[:MAX_POINTER]
    if error["type"] != "extra_forbidden":
        return Flaw(where, error["msg"].removeprefix("Value error, "))
    name = str(error["loc"][-1])[:MAX_POINTER]
    near = difflib.get_close_matches(name, model.model_fields, n=1)
    meant = DID_YOU_MEAN.get(name) or (near[0] if near else None)
    return Flaw(where, f"unknown field; did you mean {meant}?" if meant else "unknown field")


Name = Annotated[str, StringConstraints(min_length=1, max_length=64)]
"""A client's name, as operators write it."""


def example(**members: Any) -> ConfigDict:  # noqa: ANN401  # JSON
    """Return the configuration of a model that is shown with these members."""
    return ConfigDict(json_schema_extra={"examples": [members]})
