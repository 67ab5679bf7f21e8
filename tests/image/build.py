"""Carries the Dockerfile's steps out without an engine, in plain directories.

An absolute path of the Dockerfile becomes one below the stage's directory. All stages use the same
directory, one after the other, since an installed environment knows its place. A virtual
environment of some Python on this machine stands in for the base image.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.image.dockerfile import Instruction, Stage

INHERITED = re.compile(r"(PYTHON|GATEWAY_|VIRTUAL_ENV|PATH$)")
"""What a step does not see of this machine; how to reach a package index it does see."""
ABSOLUTE = re.compile(r"(?<![\w./:*-])/(?!dev/)(?=\w)")
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
METADATA = ("ENV", "LABEL", "EXPOSE", "STOPSIGNAL", "USER", "HEALTHCHECK", "ENTRYPOINT", "CMD")


@dataclass
class Built:
    """The last stage: its files, and what it says about running them."""

    root: Path
    stage: Stage
    environment: Mapping[str, str]

    def placed(self, text: str) -> str:
        return ABSOLUTE.sub(f"{self.root}/", text)


@dataclass
class Build:
    """One build in `work`, which is empty and known by a short path without spaces."""

    context: Path
    work: Path
    python: Path
    tell: Callable[[str], None]
    _done: dict[str, Path] = field(default_factory=dict)

    def run(self, stages: list[Stage]) -> Built:
        *earlier, last = stages
        for stage in earlier:
            self._build(stage)
            kept = self.work / "stages" / stage.name
            kept.parent.mkdir(exist_ok=True)
            self.root.rename(kept)
            self._done[stage.name] = kept
        self._build(last)
        return Built(self.root, last, self._environment(last, inherited={}))

    @property
    def root(self) -> Path:
        return self.work / "root"

    def _build(self, stage: Stage) -> None:
        self.root.mkdir()
        self._base(stage)
        directory = self.root
        for step in stage.instructions:
            if step.word == "WORKDIR":
                directory = self._placed(step.rest)
                directory.mkdir(parents=True, exist_ok=True)
            elif step.word == "COPY":
                self._copy(step, directory)
            elif step.word == "RUN":
                self._run(step, stage, directory)
            else:
                step.require(step.word in METADATA, "is not carried out here")

    def _base(self, stage: Stage) -> None:
        shutil.rmtree(self._base_image, ignore_errors=True)
        self.tell(f"FROM {stage.base}: a virtual environment of {self.python} stands in for it")
        _call([str(self.python), "-m", "venv", str(self._base_image)])

    @property
    def _base_image(self) -> Path:
        return self.work / "base"

    def _placed(self, path: str) -> Path:
        if not path.startswith("/"):
            message = f"{path}: write absolute paths, so that it is plain where they lead"
            raise ValueError(message)
        return self.root / path.strip("/")

    def _copy(self, step: Instruction, directory: Path) -> None:
        self.tell(f"COPY {step.rest}")
        *sources, target = step.rest.split()
        source_root = self._done[step.flags["from"]] if "from" in step.flags else self.context
        place = self._placed(target) if target.startswith("/") else directory / target
        for source in sources:
            found = source_root / source.strip("/")
            if found.is_dir():  # the engine copies what is in it
                shutil.copytree(found, place, symlinks=True, dirs_exist_ok=True)
            else:
                step.require(found.is_file(), f"copies {source}, which is not there")
                step.require(target.endswith("/"), "copies a file to no directory/")
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, place)

    def _run(self, step: Instruction, stage: Stage, directory: Path) -> None:
        self.tell(f"RUN {step.rest}")
        inherited = {n: v for n, v in os.environ.items() if not INHERITED.match(n)}
        environment = self._environment(stage, inherited, until=step)
        _call(
            ["/bin/sh", "-c", ABSOLUTE.sub(f"{self.root}/", step.rest)],
            directory=directory,
            environment=environment,
        )

    def _environment(
        self, stage: Stage, inherited: Mapping[str, str], until: Instruction | None = None
    ) -> dict[str, str]:
        """Return what the ENVs say, up to a step; PATH begins as the base image's."""
        path = f"{self._base_image}/bin:{SYSTEM_PATH}"
        found = {**inherited, "PATH": path}
        for step in stage.having("ENV"):
            if until is None or step.line < until.line:
                found |= {
                    name: ABSOLUTE.sub(f"{self.root}/", value).replace("${PATH}", found["PATH"])
                    for name, value in step.pairs().items()
                }
        return found


def _call(
    command: list[str],
    *,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    done = subprocess.run(  # noqa: S603  # the Dockerfile's own steps
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        umask=0o022,
        check=False,
    )
    if done.returncode:
        message = f"{shlex.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}"
        raise RuntimeError(message)
