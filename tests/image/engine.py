"""The image as a Docker engine builds and runs it, where one answers."""

import asyncio
import contextlib
import itertools
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typing_extensions import override

from tests.image.build import Built
from tests.image.container import Container
from tests.image.dockerfile import Stage
from tests.processes.stage import Running

BASE = "KIE_GATEWAY_IMAGE_BASE"
"""Names the base image where the Dockerfile's cannot be pulled."""

IMAGE = "kie-gateway:image-check"
DOCKER = shutil.which("docker") or "docker"
CONFINED = (
    *("--rm", "--network", "host", "--read-only", "--tmpfs", "/tmp"),  # noqa: S108  # as compose has it
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
)
"""As docker-compose.yml runs it, but for the network, which has to reach this machine's."""


def is_present() -> bool:
    """Whether an engine answers: a client alone builds nothing."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return _docker("version", quiet=True, timeout=10) == 0
    return False


def build(context: Path, base: str | None) -> int:
    """Build the image; returns docker's exit status."""
    given = ("--build-arg", f"PYTHON_IMAGE={base}") if base else ()
    return _docker("build", "--network", "host", *given, "-t", IMAGE, str(context))


def _docker(*arguments: str, quiet: bool = False, timeout: float | None = None) -> int:
    return subprocess.run(  # noqa: S603  # our own arguments
        [DOCKER, *arguments],
        stdout=subprocess.DEVNULL if quiet else None,
        stderr=subprocess.DEVNULL if quiet else None,
        timeout=timeout,
        check=False,
    ).returncode


@dataclass
class EngineContainer(Container):
    """Containers of the image, each with a name to be removed by."""

    _names: "itertools.count[int]" = field(default_factory=itertools.count)
    _last: str = ""

    @classmethod
    def of(cls, stage: Stage, logs: Path) -> "EngineContainer":
        return cls(Built(Path("/"), stage, stage.environment), logs)

    @property
    @override
    def user(self) -> int:
        return int(self.built.stage.last("USER").rest.split(":")[0])

    @property
    @override
    def health_check(self) -> list[str]:
        return self.built.stage.health_check

    @property
    @override
    def _entry_point(self) -> list[str]:
        return self.built.stage.last("ENTRYPOINT").arguments()

    @override
    def _command(self, command: list[str], settings: Mapping[str, str]) -> list[str]:
        """Give the settings by name only: their values are not for the list of processes."""
        program, *arguments = command
        self._last = f"kie-image-check-{os.getpid()}-{next(self._names)}"
        named = [word for name in settings for word in ("--env", name)]
        run = [DOCKER, "run", "--name", self._last, *CONFINED, *named, "--entrypoint", program]
        return [*run, IMAGE, *arguments]

    @override
    def _options(self, settings: Mapping[str, str]) -> dict[str, Any]:
        return {"env": {**os.environ, **settings}, "start_new_session": True}

    @contextlib.asynccontextmanager
    @override
    async def running(self, *arguments: str, **settings: str) -> AsyncIterator[Running]:
        """Run it for the length of the block; the client's death would not end the container."""
        async with super().running(*arguments, **settings) as found:
            name = self._last
            try:
                yield found
            finally:
                if found.process.returncode is None:
                    await asyncio.to_thread(_docker, "rm", "--force", name, quiet=True)
