"""Reads a Dockerfile: only what ours uses, and nothing else gets past.

Whoever carries the steps out without an engine must not skip what it does not understand.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

COMMANDS = ("ENTRYPOINT", "CMD", "HEALTHCHECK")
"""Written as JSON: the shell's form would stand between the program and its signals."""
SHELL = ("RUN", *COMMANDS)
"""Variables in these are the shell's, or none."""
WORDS = frozenset(
    {*SHELL, "ARG", "COPY", "ENV", "EXPOSE", "LABEL", "STOPSIGNAL", "USER", "WORKDIR"}
)
FLAGS: Mapping[str, frozenset[str]] = {
    "COPY": frozenset({"from"}),
    "HEALTHCHECK": frozenset({"interval", "timeout", "start-period", "retries"}),
}
VARIABLE = re.compile(r"\$\{(\w+)\}")


class UnreadableError(ValueError):
    """The Dockerfile has something that is not carried out here."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, its continued lines joined."""

    line: int
    word: str
    rest: str
    flags: Mapping[str, str] = field(default_factory=dict)

    def require(self, condition: object, otherwise: str) -> None:
        if not condition:
            message = f"Dockerfile:{self.line}: {self.word} {otherwise}"
            raise UnreadableError(message)

    def arguments(self) -> list[str]:
        """Return the JSON form's words."""
        try:
            found = json.loads(self.rest)
        except ValueError:
            found = None
        words = found if isinstance(found, list) else []
        fit = words and all(isinstance(word, str) for word in words)
        self.require(fit, 'is not in the form ["program", "argument"]')
        return words

    def pairs(self) -> dict[str, str]:
        """Return what `NAME=value …` sets."""
        found = [word.partition("=") for word in shlex.split(self.rest)]
        paired = all(separator for _, separator, _ in found)
        self.require(paired, "has a word that is not NAME=value")
        return {name: value for name, _, value in found}


@dataclass(frozen=True, slots=True)
class Stage:
    """What stands between one FROM and the next, its variables filled in."""

    name: str
    base: str
    instructions: tuple[Instruction, ...]

    def having(self, word: str) -> list[Instruction]:
        return [found for found in self.instructions if found.word == word]

    def last(self, word: str) -> Instruction:
        """Return the one that counts of those which replace each other."""
        return self.having(word)[-1]

    @property
    def environment(self) -> dict[str, str]:
        return {
            name: value for found in self.having("ENV") for name, value in found.pairs().items()
        }

    @property
    def health_check(self) -> list[str]:
        check = self.last("HEALTHCHECK")
        word, _, arguments = check.rest.partition(" ")
        check.require(word == "CMD", "has no CMD")
        return Instruction(check.line, check.word, arguments).arguments()


def read(text: str, given: Mapping[str, str] | None = None) -> list[Stage]:
    """Read the stages; `given` are build arguments. Raises UnreadableError."""
    before, *stages = _parted(list(_instructions(text)))
    arguments: dict[str, str] = {}
    for instruction in before:
        instruction.require(instruction.word == "ARG", "stands before the first FROM")
        arguments |= _argument(instruction, given or {}, {})
    return [_stage(part, given or {}, arguments) for part in stages]


def _instructions(text: str) -> Iterator[Instruction]:
    start, logical = 0, ""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("#") or not line.strip():
            if re.match(r"#\s*(escape|syntax)\s*=", line):
                message = f"Dockerfile:{number}: parser directives are not carried out here"
                raise UnreadableError(message)
            continue
        start = start if logical else number
        logical += line.removesuffix("\\").strip() + " "
        if not line.endswith("\\"):
            yield _instruction(start, logical.strip())
            logical = ""
    if logical:
        message = f"Dockerfile:{start}: the last line is continued"
        raise UnreadableError(message)


def _instruction(line: int, text: str) -> Instruction:
    word, _, rest = text.partition(" ")
    flags = {}
    while found := re.match(r"--([\w-]+)=(\S+)\s+", rest):
        flags[found[1]] = found[2]
        rest = rest[found.end() :]
    instruction = Instruction(line, word, rest.strip(), flags)
    known = flags.keys() <= FLAGS.get(word, frozenset()) and not rest.startswith("--")
    instruction.require(word in WORDS | {"FROM"}, "is not carried out here")
    instruction.require(known, "has a flag that is not carried out here")
    instruction.require("<<" not in rest, "has a here-document")
    return instruction


def _parted(instructions: list[Instruction]) -> list[list[Instruction]]:
    parts: list[list[Instruction]] = [[]]
    for instruction in instructions:
        if instruction.word == "FROM":
            parts.append([])
        parts[-1].append(instruction)
    return parts


def _stage(part: list[Instruction], given: Mapping[str, str], outside: Mapping[str, str]) -> Stage:
    first, *rest = part
    base, keyword, name = [*_filled(first, outside).split(), "", ""][:3]
    first.require((keyword == "AS") == bool(name), "is not FROM image [AS name]")
    known: dict[str, str] = {}
    instructions = []
    for instruction in rest:
        if instruction.word == "ARG":
            known |= _argument(instruction, given, outside)
            continue
        text = instruction.rest if instruction.word in SHELL else _filled(instruction, known)
        filled = Instruction(instruction.line, instruction.word, text, instruction.flags)
        if filled.word in ("ENV", "LABEL"):
            filled.pairs()
        instructions.append(filled)
    return Stage(name, base, tuple(instructions))


def _argument(
    instruction: Instruction, given: Mapping[str, str], outside: Mapping[str, str]
) -> dict[str, str]:
    name, has_default, default = instruction.rest.partition("=")
    value = given.get(name, default if has_default else outside.get(name))
    return {} if value is None else {name: value}


def _filled(instruction: Instruction, known: Mapping[str, str]) -> str:
    """Fill in what is known; `PATH` is the base image's, and is filled in where the step runs."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        instruction.require(name in known or name == "PATH", f"has the unknown variable {name}")
        return known.get(name, found[0])

    text = VARIABLE.sub(value, instruction.rest)
    written = "$" not in text.replace("${PATH}", "")
    instruction.require(written, "has a variable that is not written ${NAME}")
    return text
