"""What callers rely on in an OpenAPI document: its shape, without the words."""

from collections.abc import Mapping
from typing import Any

_WORDS = {"description", "summary", "title", "example", "examples", "info", "tags", "default"}
_BY_NAME = {"properties", "schemas", "headers", "paths", "$defs", "securitySchemes"}
"""Members whose own members have names of our choice: `title` may be a field."""


def outline(document: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what only people read, so that a release's file changes when its shape does."""
    return {
        name: _named(value) if name in _BY_NAME else _without_words(value)
        for name, value in document.items()
        if name not in _WORDS
    }


def _named(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _without_words(value) for name, value in members.items()}


def _without_words(value: object) -> Any:  # noqa: ANN401  # any JSON
    if isinstance(value, dict):
        return outline(value)
    return [_without_words(item) for item in value] if isinstance(value, list) else value
