"""The stage of these tests."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from app.services.services import Services
from tests.gateway import Gateway
from tests.services.files.source import source
from tests.services.files.stage import Stage
from tests.upstream import Upstream


@pytest.fixture
def archived(tmp_path: Path) -> dict[str, Any]:
    """The settings of a process with an archive."""
    return {
        "archive_url": f"file://{tmp_path}/archive",
        "archive_allow_loopback": True,
        "archive_max_bytes": 2**20,
        "archive_schedule": (0, 60, 3600),
        "archive_stall": 5,
    }


@pytest_asyncio.fixture
async def stage(
    start_gateway: Callable[..., Awaitable[Gateway]],
    wire: Callable[..., Awaitable[Services]],
    upstream: Upstream,
    sql: Any,
    archived: dict[str, Any],
    tmp_path: Path,
) -> AsyncIterator[Stage]:
    async with source() as at:
        gateway = await start_gateway(submit_wait=5, **archived)
        services = await wire(**archived)
        yield Stage(gateway, services, upstream, at, sql, tmp_path / "archive")
