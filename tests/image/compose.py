"""Reads docker-compose.yml as compose would: variables filled in from an env file."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from ruamel.yaml import YAML

from tests.image.context import ROOT

FILE = ROOT / "docker-compose.yml"
VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::([-?])([^{}]*))?\}|(.?))")

AMBIGUOUS = re.compile(r"^[^#=\n]+=\s*(?:['\"]|[^\n]*\$)", re.MULTILINE)


class MissingError(ValueError):
    """A variable without which nothing is started; the text is what compose would say."""


def variables(path: Path) -> dict[str, str]:
    """Read an env file. Quotes around values and `$` are refused: its readers disagree on them."""
    if AMBIGUOUS.search(path.read_text(encoding="utf-8")):
        message = f"{path.name} has a value in quotes or with a variable"
        raise ValueError(message)
    return {n: v or "" for n, v in dotenv_values(path, interpolate=False).items()}


def services(given: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the services with their variables filled in; raises MissingError."""
    document = _filled(YAML(typ="safe").load(FILE), given)
    found: dict[str, dict[str, Any]] = document["services"]
    return found


def environment(service: Mapping[str, Any], root: Path = ROOT) -> dict[str, str]:
    """Return what the service's process gets: its env files', then its own."""
    found: dict[str, str] = {}
    for name in service.get("env_file", ()):
        found |= variables(root / name)
    return found | {name: str(value) for name, value in service.get("environment", {}).items()}


def _filled(node: Any, given: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {name: _filled(value, given) for name, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, given) for value in node]
    return VARIABLE.sub(lambda found: _value(found, given), node) if isinstance(node, str) else node


def _value(found: re.Match[str], given: Mapping[str, str]) -> str:
    if found[0] == "$$":
        return "$"
    name, operator, word = found[1], found[2], found[3]
    if name is None:
        message = f"{found[0]}: write ${{NAME}}, ${{NAME:-default}} or ${{NAME:?message}}"
        raise ValueError(message)
    if given.get(name):
        return given[name]
    if operator == "?":
        raise MissingError(word)
    return word or ""
