"""A database that comes back without what was committed pays nothing again; one that is whole goes
on by itself. Real servers are put back, followed, promoted and moved under real processes."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from app.config import Settings
from app.store import schema
from tests import postgres
from tests.gateway import SECRET, Gateway
from tests.processes.stage import KIE_API_KEY, Stage
from tests.stage import eventually
from tests.upstream import Upstream, succeeded

SECONDS = 60.0
"""Within which work resumes, or the hold shows."""
RESTORED = "database_restored"
QUEUED = 12
PAUSES = {
    True: "UPDATE kie_account SET paused_at = now()",
    False: "UPDATE kie_account SET paused_at = NULL",
}


@dataclass
class Drill:
    """A server of its own, a kie.ai, and the commands over both."""

    make: postgres.Servers
    server: postgres.Server
    stage: Stage
    upstream: Upstream

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Gateway]:
        async with self.stage.running("serve") as process:
            url = await process.ready()
            async with Gateway.at(url, self.settings) as gateway:
                self.stage.secrets.add(gateway.api_key)
                yield gateway

    @property
    def settings(self) -> Settings:
        return Settings(database_url=SecretStr(self.server.dsn), secret_keys=(SecretStr(SECRET),))

    async def say(self, *commands: Sequence[str]) -> list[str]:
        """Run commands, each to its good end; returns what they print."""
        ended = await self.stage.run_each(commands)
        assert [one.status for one in ended] == [0] * len(commands), ended
        return [one.out for one in ended]

    async def pause(self, *, paused: bool) -> None:
        """As `admission pause` and `resume` do, without a process of their own."""
        await asyncio.to_thread(self.server.execute, PAUSES[paused])

    async def queue(self, gateway: Gateway) -> list[str]:
        """Have tasks wait in the queue; returns their ids."""
        await self.pause(paused=True)
        return [(await gateway.create())["id"] for _ in range(QUEUED)]

    async def send_and_finish(self, gateway: Gateway, count: int) -> None:
        """Have them sent and ended."""

        async def sent() -> bool | None:
            return len(self.upstream.urls) == count or None

        await eventually(sent, SECONDS)
        for kie_task_id, url in self.upstream.urls.items():
            path = "/" + url.split("/", 3)[3]
            assert (await gateway.call_back(path, succeeded(kie_task_id))).status_code == 200
            self.upstream.records[kie_task_id] = succeeded(kie_task_id)

    async def shows(self, gateway: Gateway, reason: str | None) -> float:
        """Wait until `/readyz` says what holds the account; returns how long that took."""
        began = asyncio.get_running_loop().time()

        async def look() -> bool | None:
            try:
                answer = await gateway.http.get("/readyz")
            except httpx.TransportError:
                return None
            said = answer.json()["checks"].get("admission", "")
            found = f"held: {reason}" in said if reason else said == "ok"
            return (found and answer.status_code == 200) or None

        await eventually(look, SECONDS)
        return asyncio.get_running_loop().time() - began

    async def create_is_sent(self, gateway: Gateway) -> None:
        """Show that sending goes on."""
        before = len(self.upstream.creates)

        async def sent() -> bool | None:
            return len(self.upstream.creates) > before or None

        await gateway.create()
        await eventually(sent, SECONDS)


@pytest.fixture
def servers() -> Iterator[postgres.Servers]:
    with postgres.servers() as make:
        yield make


@pytest_asyncio.fixture
async def drill(
    servers: postgres.Servers, upstream: Upstream, tmp_path: Path
) -> AsyncIterator[Drill]:
    server = await asyncio.to_thread(servers.new)
    await asyncio.to_thread(schema.upgrade, server.dsn)
    settings = {
        "GATEWAY_DATABASE_URL": server.dsn,
        "GATEWAY_SECRET_KEYS": json.dumps([SECRET]),
        "GATEWAY_KIE_API_KEY": KIE_API_KEY,
        "GATEWAY_KIE_BASE_URL": upstream.url,
        "GATEWAY_PUBLIC_URL": "https://gateway.test/base",
        "GATEWAY_KIE_CONFIRM": "after",
        "GATEWAY_KIE_CREATES_PER_10S": "1000",
        "GATEWAY_KIE_MAX_RUNNING": "1000",
        "GATEWAY_LISTEN": "127.0.0.1:0",
    }
    stage = Stage(tmp_path, settings)
    yield Drill(servers, server, stage, upstream)
    assert stage.leaks() == []


async def _doctor(drill: Drill) -> str:
    ended = await drill.stage.run("doctor")
    assert ended.status == 1
    return ended.out


@pytest.mark.long
async def test_a_backup_put_back_under_a_living_process_pays_nothing_again(drill: Drill) -> None:
    async with drill.serving() as gateway:
        waiting = await drill.queue(gateway)
        backup = await asyncio.to_thread(drill.server.backup)
        await drill.pause(paused=False)
        await drill.send_and_finish(gateway, QUEUED)

        await asyncio.to_thread(drill.server.put_back, backup)
        await drill.pause(paused=False)
        await drill.shows(gateway, RESTORED)

        said, reviewed = await drill.say(
            ("admission", "status", "--json"), ("tasks", "review", "--json")
        )
        status = json.loads(said)
        assert (status["hold_reason"], status["paused_at"]) == (RESTORED, None)
        assert "commits are lost" in status["hold_detail"]
        assert RESTORED in await _doctor(drill)
        assert len(drill.upstream.creates) == QUEUED, "nothing was paid again"
        assert sorted(row["id"] for row in json.loads(reviewed)) == sorted(waiting)

        # One is found in kie.ai's log and bound; the others are said to be worth a second payment.
        (kie_task_id, url), *_ = drill.upstream.urls.items()
        bound = next(one for one in waiting if one in url)
        await drill.say(
            ("tasks", "bind", bound, kie_task_id), ("admission", "resume", "--restored")
        )

        async def sent() -> bool | None:
            return len(drill.upstream.creates) == 2 * QUEUED - 1 or None

        await eventually(sent, SECONDS)
        assert (await gateway.task(bound, wait=20))["state"] == "succeeded"
        await drill.shows(gateway, None)


@pytest.mark.long
async def test_a_recovered_database_is_held_by_a_process_that_starts_afresh(drill: Drill) -> None:
    async with drill.serving() as gateway:
        await drill.queue(gateway)
        backup = await asyncio.to_thread(drill.server.backup)
        await drill.pause(paused=False)
        await drill.send_and_finish(gateway, QUEUED)

    await asyncio.to_thread(lambda: drill.server.put_back(backup, new_timeline=True))
    await drill.pause(paused=False)
    async with drill.serving() as gateway:
        await drill.shows(gateway, RESTORED)
        assert len(drill.upstream.creates) == QUEUED
        await drill.say(("admission", "resume", "--restored"))
        await drill.create_is_sent(gateway)


def _takes_over(primary: postgres.Server, standby: postgres.Server) -> None:
    """Lose the primary, and have the standby answer in its place."""
    primary.kill()
    standby.stop()
    standby.port = primary.port
    standby.start()
    standby.promote()


@pytest.mark.long
async def test_a_failover_without_loss_goes_on_by_itself(
    drill: Drill, record_property: Any
) -> None:
    standby = await asyncio.to_thread(drill.make.standby, drill.server)
    await asyncio.to_thread(
        drill.server.execute,
        "ALTER SYSTEM SET synchronous_standby_names = 'standby'",
        "SELECT pg_reload_conf()",
    )
    async with drill.serving() as gateway, drill.serving() as other:
        await drill.create_is_sent(gateway)
        await asyncio.to_thread(_takes_over, drill.server, standby)
        took = await drill.shows(gateway, None)
        await drill.create_is_sent(gateway)
        await drill.create_is_sent(other)
        record_property("resumed_after", took)
    actions = await asyncio.to_thread(
        standby.fetch, "SELECT array_agg(action ORDER BY id) FROM audit_entries"
    )
    assert [one for one in actions if one.startswith("database")] == ["database_accepted"]
    assert len(drill.upstream.creates) == 3


@pytest.mark.long
async def test_a_failover_that_lost_an_admission_holds(drill: Drill) -> None:
    standby = await asyncio.to_thread(drill.make.standby, drill.server)
    async with drill.serving() as gateway, drill.serving():
        await drill.queue(gateway)
        last = await asyncio.to_thread(drill.server.fetch, "SELECT pg_current_wal_lsn()::text")

        def has_it() -> bool:
            found = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn"
            return bool(standby.fetch(found, last))

        await asyncio.to_thread(postgres.wait, has_it, "the standby has the queue")
        await asyncio.to_thread(
            standby.execute,
            "ALTER SYSTEM SET primary_conninfo = ''",
            "SELECT pg_reload_conf()",
        )
        await drill.pause(paused=False)
        await drill.send_and_finish(gateway, QUEUED)

        await asyncio.to_thread(_takes_over, drill.server, standby)
        await drill.pause(paused=False)
        await drill.shows(gateway, RESTORED)
        assert len(drill.upstream.creates) == QUEUED


@pytest.mark.long
async def test_a_move_has_to_be_announced(drill: Drill) -> None:
    async with drill.serving() as gateway:
        await drill.create_is_sent(gateway)
    unannounced = await asyncio.to_thread(_dump, drill.server)
    await drill.say(("admission", "expect-move"))
    async with drill.serving() as gateway:
        await gateway.create()
        await drill.shows(gateway, "database_moving")
    assert len(drill.upstream.creates) == 1, "the old database sends nothing any more"
    announced = await asyncio.to_thread(_dump, drill.server)

    await asyncio.to_thread(_move_in, drill, unannounced)
    async with drill.serving() as gateway:
        await drill.shows(gateway, RESTORED)
        assert len(drill.upstream.creates) == 1

    await asyncio.to_thread(_move_in, drill, announced)
    async with drill.serving() as gateway:
        await drill.shows(gateway, None)
        await drill.create_is_sent(gateway)
    expected = "SELECT move_expected_until FROM kie_account"
    assert await asyncio.to_thread(drill.server.fetch, expected) is None, "it counts once"


def _dump(server: postgres.Server) -> str:
    return server.run("pg_dump", "-d", server.dsn, at_data=False)


def _move_in(drill: Drill, dump: str) -> None:
    """Put a dump into a server anew, which answers in the old one's place."""
    drill.server.stop()
    server = drill.make.new()
    file = server.data.with_suffix(".sql")
    file.write_text(dump)
    file.chmod(0o644)
    server.run("psql", "-q", "-d", server.dsn, "-f", str(file), at_data=False)
    server.stop()
    server.port = drill.server.port
    server.start()
    drill.server = server
