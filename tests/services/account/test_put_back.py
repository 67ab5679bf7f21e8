"""A real server that is put back to a backup, under services that remember more."""

import asyncio
from collections.abc import Callable

from pydantic import SecretStr

from app.config import Settings
from app.domain.restore import Verdict
from app.store import schema
from app.wiring import wired
from tests import postgres
from tests.services.world import DRAFT
from tests.stage import eventually
from tests.upstream import Upstream


async def test_what_was_sent_after_the_backup_is_not_sent_again(
    make_settings: Callable[..., Settings], upstream: Upstream
) -> None:
    with postgres.servers() as make:
        server = await asyncio.to_thread(make.new)
        await asyncio.to_thread(schema.upgrade, server.dsn)
        settings = make_settings(database_url=SecretStr(server.dsn))
        async with wired(settings, server.dsn) as services:
            assert await services.witness.beat("serve") is Verdict.ACCEPT
            await services.keys.create("tests")
            client_id = await asyncio.to_thread(server.fetch, "SELECT id FROM clients")
            backup = await asyncio.to_thread(server.backup)
            await services.creates.create(client_id, DRAFT, None)
            await services.submitter.drain()
            assert len(upstream.creates) == 1

            await asyncio.to_thread(server.put_back, backup)
            await services.creates.create(client_id, DRAFT, None)
            await services.submitter.drain()
            assert len(upstream.creates) == 1, "nothing is sent before anybody has judged"

            async def judged() -> Verdict | None:
                return await services.witness.beat("serve")

            assert await eventually(judged) is Verdict.HOLD
            assert (await services.pauses.status()).account["hold_reason"] == "database_restored"
