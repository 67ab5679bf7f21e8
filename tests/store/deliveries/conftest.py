"""A task whose end is delivered."""

from uuid import UUID

import pytest_asyncio

from app.domain.task import State
from tests.store.stage import Sql, put_task


@pytest_asyncio.fixture
async def task_id(sql: Sql, client_id: UUID) -> UUID:
    return await put_task(sql, client_id, State.SUCCEEDED)
