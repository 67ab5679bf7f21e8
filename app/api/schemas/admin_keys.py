"""The bodies of admin keys."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field, Strict, StringConstraints

from app.api.schemas.answers import AnswerBody
from app.api.schemas.bodies import RequestBody
from app.domain.access import Role


class AdminKeyCreate(RequestBody):
    """Whose key, and what it may be used for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "ann", "role": "operate"}]})

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(
        description="The person or program. The audit names it, so a name is never used again."
    )
    role: Annotated[Role, Strict(strict=False)] = Field(
        description="`read` looks, `operate` pauses and acts on tasks, `keys` manages clients and "
        "keys; each includes those before it."
    )


ADMIN_KEY_BODIES = (AdminKeyCreate,)
"""What `app/api/bodies.py` reads, and the OpenAPI document describes by name."""


class OperatorKey(AnswerBody):
    """An admin key as lists show it: by its beginning."""

    id: UUID
    name: str
    role: Role
    hint: str
    created_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")


class OperatorKeyList(AnswerBody):
    """All admin keys but GATEWAY_ADMIN_KEY, revoked ones too."""

    data: list[OperatorKey]
    next_cursor: str | None


class IssuedOperatorKey(AnswerBody):
    """A new admin key, shown this once."""

    id: UUID
    name: str
    role: Role
    admin_key: str
