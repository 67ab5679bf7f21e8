"""Comparing answers to recorded ones by structure: the members and the kind of each value."""

import json
from pathlib import Path
from typing import Any

SAMPLES = Path(__file__).parent / "samples"


def sample(number: str) -> dict[str, Any]:
    """The recorded body whose file name begins with `number`."""
    (path,) = SAMPLES.glob(f"{number}-*.json")
    body = json.loads(path.read_text())["body"]
    assert isinstance(body, dict)
    return body


def shape(value: object) -> object:
    """Each value replaced by its kind; the texts that hold JSON are looked into."""
    match value:
        case dict():
            return {name: shape(member) for name, member in value.items()}
        case list():
            return [shape(item) for item in value]
        case str() if value.startswith("{"):
            return {"JSON text": _kinds(json.loads(value))}
        case None:
            return "null"
        case int() | float():
            return "number"
        case _:
            return type(value).__name__


def _kinds(document: dict[str, object]) -> dict[str, str]:
    """One level only: what an input holds differs from model to model."""
    return {name: type(member).__name__ for name, member in document.items()}
