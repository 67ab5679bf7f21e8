"""A gateway with an archive, the host of the results, and a worker that copies when told."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.services.services import Services
from tests.gateway import Gateway
from tests.services.files.source import Source
from tests.upstream import Upstream, succeeded


def success(kie_task_id: str, result: object) -> dict[str, Any]:
    return succeeded(kie_task_id, resultJson=json.dumps(result))


@dataclass
class Stage:
    """A gateway without loops, a process that archives when told, and a host of files."""

    gateway: Gateway
    services: Services
    upstream: Upstream
    source: Source
    sql: Any
    directory: Path

    async def succeed(self, *urls: str, result: object = None, **members: object) -> dict[str, Any]:
        """Create a task, and let kie.ai say that it succeeded with these files."""
        task = await self.gateway.create(**members)
        body = success(task["kie_task_id"], result or {"resultUrls": list(urls)})
        answer = await self.gateway.call_back(self.upstream.callback_path, body)
        assert answer.status_code == 200
        return await self.gateway.task(task["id"])

    async def archive(self) -> None:
        """Take one turn of the loop that archives, and wait for what it began."""
        await self.services.archiver.archive_due()
        await self.services.archiver.ended()

    async def due(self) -> None:
        """Let all that is owed be due, and all leases be over."""
        await self.sql.execute(
            "UPDATE artifacts SET due_at = clock_timestamp(), leased_until = NULL"
            " WHERE due_at IS NOT NULL"
        )

    def stored(self) -> dict[str, bytes]:
        """Everything that is in the archive, by name."""
        return {
            str(path.relative_to(self.directory)): path.read_bytes()
            for path in self.directory.rglob("*")
            if path.is_file()
        }
