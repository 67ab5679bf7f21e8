"""Runs `docs/tour.md`: its commands, one after the other in one shell, against a real gateway.

`python -m tests.tour` (`make docs`) writes the answers of a run into the page; a test runs the page
again and compares.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "tour.md"

_STEP = re.compile(
    r"```sh\n(?P<command>.*?)```\n(?:\n```(?:json|text)\n(?P<answer>.*?)```\n)?", re.DOTALL
)
_END = "=== the end of a step ==="

README = Path(__file__).parents[1] / "README.md"
_CALLS = re.compile(r"```sh\n(?P<calls>\. \.kie-gateway/env\b.*?)```", re.DOTALL)

SHAPES: Mapping[str, str] = {
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}": "UUID",
    r"\b[0-9a-f]{32}\b": "HEX",
    r"\b[0-9a-f]{64}\b": "SHA256",
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z": "INSTANT",
    r"\b1\d{12}\b": "MILLISECONDS",
    r"127\.0\.0\.1:\d+": "HOST",
    r"\"e\d+(\.\d+\.[0-9a-f]{8})?\"": '"POSITION"',
    r"(costTime\\*\"|\"duration_seconds\"|\"content-length\"): ?\"?\d+\"?": "LENGTH",
    r"python-httpx/[\d.]+": "AGENT",
}
"""What differs from run to run, by its shape."""


@dataclass(frozen=True, slots=True)
class Step:
    """A command of the page, and the answer that the page shows."""

    command: str
    answer: str


def steps() -> list[Step]:
    return [
        Step(found["command"], found["answer"] or "") for found in _STEP.finditer(PAGE.read_text())
    ]


def first_calls() -> str:
    """Return the lines of README's first screen that call what `make dev` runs."""
    found = _CALLS.search(README.read_text())
    assert found is not None, "README has no block that begins with `. .kie-gateway/env`"
    return found["calls"]


def answers(shown: Sequence[Step], environment: Mapping[str, str], folder: Path) -> Iterator[str]:
    """Run all commands in one shell in `folder`; yield what each printed, JSON made readable."""
    script = "\n".join(f"{step.command}\nprintf '%s\\n' '{_END}'" for step in shown)
    done = subprocess.run(  # noqa: S603  # the page's own commands
        ["/usr/bin/env", "bash", "-euo", "pipefail", "-c", script],
        env=dict(environment),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout[-2000:]
    for printed in done.stdout.split(f"{_END}\n")[:-1]:
        yield _readable(printed)


def _readable(printed: str) -> str:
    try:
        return json.dumps(json.loads(printed), indent=2, ensure_ascii=False) + "\n"
    except ValueError:
        return printed.replace("\r", "").rstrip() + "\n"


def alike(answer: str) -> str:
    """Put names in the place of what differs from run to run."""
    for shape, name in SHAPES.items():
        answer = re.sub(shape, name, answer)
    return answer


def written(found: Sequence[str]) -> str:
    """Write the page with these answers."""
    given = iter(found)

    def step(match: re.Match[str]) -> str:
        answer = next(given)
        kind = "json" if answer.startswith(("{", "[")) else "text"
        return f"```sh\n{match['command']}```\n\n```{kind}\n{answer}```\n"

    return _STEP.sub(step, PAGE.read_text())


def main() -> None:
    """Write the answers of a run into the page."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "app.cli", "dev", "--port", "0", "--data-dir", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as dev:  # noqa: S603
            try:
                PAGE.write_text(written(list(answers(steps(), _exported(dev), Path(folder)))))
            finally:
                dev.terminate()


def _exported(dev: "subprocess.Popen[str]") -> dict[str, str]:
    """Read what `dev` prints, as far as its curl line."""
    exported = dict(os.environ)
    for line in dev.stdout or ():
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").strip().partition("=")
            exported[name] = value
        if line.startswith("curl "):
            break
    return exported


if __name__ == "__main__":
    main()
