"""Reads the environment, once, and reports everything that is wrong with it at once."""

import difflib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource

from app.config.fields import is_secret, shown
from app.config.settings import PREFIX, Settings, variable
from app.config.tracing import trace_problems
from app.config.values import SettingsError

KUBERNETES = re.compile(r"GATEWAY_(SERVICE_.*|PORT|PORT_.*)")
"""What Kubernetes sets in every pod beside a service called `gateway`: not ours, not misspelt."""


def load(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:  # noqa: ANN401 -- of any field's type
    """Read the settings from `environ` (the process's own when None); `overrides` win over it.

    Names are matched regardless of case and empty values count as unset. Raises SettingsError.
    """
    given = {
        name.upper(): value
        for name, value in (os.environ if environ is None else environ).items()
        if name.upper().startswith(PREFIX)
    }
    problems = [*_misspelt(given), *_take_files(given), *trace_problems(environ)]
    source = EnvSettingsSource(Settings)
    source.env_vars = {name.lower(): value for name, value in given.items() if value}
    settings = None
    try:
        settings = Settings(**{**source(), **overrides})
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        problems += [line for detail in details for line in _explain(detail)]
    # Raised out here, because a chained ValidationError would carry the values along.
    if settings is None or problems:
        raise SettingsError(problems)
    return settings


FILES = {
    f"{variable(name)}_FILE": name
    for name, field in Settings.model_fields.items()
    if is_secret(field)
}
"""Each secret can be read from a file: the variable that names the file, to the field."""
NAMES = [*map(variable, Settings.model_fields), *FILES]


def _misspelt(given: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(given):
        if name not in NAMES and not KUBERNETES.fullmatch(name):
            (nearest,) = difflib.get_close_matches(name, NAMES, n=1, cutoff=0)
            yield f"{name}: is not a setting; did you mean {nearest}?"


def _take_files(given: dict[str, str]) -> Iterator[str]:
    """Put what the files hold under the secrets' own names, and report what is wrong with them."""
    for file_name, field in FILES.items():
        path, name = given.get(file_name), variable(field)
        if path and given.get(name):
            yield f"{file_name}: is set beside {name}; leave one of the two out"
        elif path:
            try:
                given[name] = _file_value(Path(path), Settings.model_fields[field])
            except (OSError, UnicodeError) as error:
                reason = getattr(error, "strerror", None) or "not UTF-8 text"
                yield f"{file_name}: cannot read {path} ({reason}); check the path and its rights"
            else:
                if not given[name]:
                    yield f"{file_name}: {path} is empty; fill it, or leave the setting out"


def _file_value(path: Path, field: FieldInfo) -> str:
    text = path.read_text(encoding="utf-8").strip()
    if not text or text.startswith("[") or get_origin(field.annotation) is not tuple:
        return text
    return json.dumps([line.strip() for line in text.splitlines() if line.strip()])


def _explain(detail: ErrorDetails) -> list[str]:
    """Say what is wrong; what to do. pydantic's texts, unlike its repr, quote no input."""
    message = detail["msg"].removeprefix("Value error, ")
    if not detail["loc"]:  # the model's own check names the settings itself
        return message.splitlines()
    field, *rest = detail["loc"]
    name = variable(str(field)) + "".join(f"[{i}]" for i in rest if isinstance(i, int))
    if detail["type"] == "value_error":  # ours, which says both
        return [f"{name}: {message}"]
    what = re.sub(r"^(Input|Value|Path) ", "", message)
    known = Settings.model_fields.get(str(field))
    advice = f"leave it out (default: {shown(known)})" if known else "remove it"
    return [f"{name}: {what}; correct it, or {advice}"]
