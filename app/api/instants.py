"""Instants as callers write them: RFC 3339, with a zone."""

from datetime import datetime
from typing import Annotated

from fastapi import Query
from pydantic import BeforeValidator

from app.domain.days import YEARS
from app.domain.errors import bad_parameter

WANTED = "should say its zone and a year we know, such as 2026-08-01T12:00:00Z"

Instant = Annotated[
    str | None,
    Query(description="RFC 3339, with its zone.", json_schema_extra={"format": "date-time"}),
]
"""A query parameter; `query_instant` reads it."""


def query_instant(name: str, text: str | None) -> datetime | None:
    """Read a parameter; raises `InvalidRequestError`."""
    if text is None:
        return None
    instant = _read(text)
    if instant is None:
        raise bad_parameter(name, WANTED)
    return instant


def _body_instant(value: object) -> object:
    """Read a member of a body; leave what is no text for the type to refuse."""
    if not isinstance(value, str):
        return value
    instant = _read(value)
    if instant is None:
        raise ValueError(WANTED)
    return instant


BodyInstant = Annotated[datetime, BeforeValidator(_body_instant)]


def _read(text: str) -> datetime | None:
    try:
        instant = datetime.fromisoformat(text.upper())  # RFC 3339 allows t and z
    except ValueError:
        return None
    return instant if instant.tzinfo is not None and instant.year in YEARS else None
