"""Runs commands from the image's files as an engine would: its user, its environment, read-only."""

import asyncio
import contextlib
import os
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.image.build import Built
from tests.processes.stage import PATIENCE, Ended, Running


@dataclass
class Container:
    """The image's files and user. As root that user is the image's, else it is our own."""

    built: Built
    logs: Path
    _started: int = 0

    @property
    def user(self) -> int:
        given, _ = self.built.stage.last("USER").rest.split(":")
        return int(given) if os.geteuid() == 0 else os.geteuid()

    async def run(self, *arguments: str, **settings: str) -> Ended:
        """Run the image's command with the arguments to its end."""
        return await self.call([*self._entry_point, *arguments], settings)

    async def call(self, command: list[str], settings: Mapping[str, str]) -> Ended:
        process = await asyncio.create_subprocess_exec(
            *self._command(command, settings),
            **self._options(settings),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        try:
            async with asyncio.timeout(PATIENCE):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return Ended(status=process.returncode, out=out.decode(), err=err.decode())

    @contextlib.asynccontextmanager
    async def running(self, *arguments: str, **settings: str) -> AsyncIterator[Running]:
        """Run it for the length of the block; whatever still runs at the end is killed."""
        self._started += 1
        given = arguments or tuple(self.built.stage.last("CMD").arguments())
        log = self.logs / f"{self._started}-{given[0]}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *self._command([*self._entry_point, *given], settings),
                **self._options(settings),
                stdout=output,
                stderr=output,
            )
        try:
            yield Running(process, log)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def _command(self, command: list[str], settings: Mapping[str, str]) -> list[str]:
        """Return what runs the command; here it runs itself, and the settings are in `_options`."""
        del settings
        return command

    @property
    def health_check(self) -> list[str]:
        program, *arguments = self.built.stage.health_check
        return [self._found(program), *arguments]

    @property
    def _entry_point(self) -> list[str]:
        program, *arguments = self.built.stage.last("ENTRYPOINT").arguments()
        return [self._found(program), *arguments]

    def _found(self, program: str) -> str:
        """Find a program in the image alone: the base image's stand-in has nothing to add."""
        directory = self.built.environment["PATH"].split(":")[0]
        assert Path(directory).is_relative_to(self.built.root), directory
        return str(Path(directory) / program)

    def _options(self, settings: Mapping[str, str]) -> dict[str, Any]:
        """Give nothing of our own environment; what an engine gives, and the settings."""
        rights: dict[str, Any] = {}
        if os.geteuid() == 0:
            rights = {"user": self.user, "group": self.user, "extra_groups": []}
        environment = {"HOME": "/", **self.built.environment, **settings}
        return {"env": environment, "cwd": "/", "start_new_session": True, **rights}
