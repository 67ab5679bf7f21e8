"""Wake-ups: heard here and elsewhere, gathered, and loud when the connection is gone."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest

from app.store.connections.connecting import Connector
from app.store.signals import (
    BATCH,
    CHANNEL,
    FEED,
    POLL,
    QUEUE,
    ROOM,
    TASKS,
    Alarm,
    Signals,
    _set_or_closed,
    after,
)
from tests.stage import PATIENCE
from tests.store.stage import Sql


async def heard(event: asyncio.Event) -> None:
    async with asyncio.timeout(PATIENCE):
        await event.wait()
    event.clear()


@asynccontextmanager
async def running(signals: Signals) -> AsyncIterator["asyncio.Task[None]"]:
    """Run for the length of the block; whoever waits is woken when it listens."""
    with signals.subscribed("listening") as listening:
        task = asyncio.create_task(signals.run())
        try:
            await heard(listening)
            yield task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, ConnectionError, asyncpg.PostgresError):
                await task


async def kill_listeners(sql: Sql) -> None:
    killed = await sql.fetch(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND query LIKE 'LISTEN%' AND pid <> pg_backend_pid()"
    )
    assert len(killed) == 1


def test_an_announcement_wakes_whoever_waits_here_at_once(dsn: str) -> None:
    signals = Signals(dsn)
    with (
        signals.subscribed(QUEUE) as one,
        signals.subscribed(QUEUE) as two,
        signals.subscribed(POLL) as other,
    ):
        signals.announce(QUEUE)
        assert [event.is_set() for event in (one, two, other)] == [True, True, False]


def test_any_task_wakes_who_numbers_the_feed(dsn: str) -> None:
    signals = Signals(dsn)
    with signals.subscribed(TASKS) as woken:
        signals.announce(FEED, QUEUE)
        assert not woken.is_set()
        signals.announce(uuid.uuid4().hex)
        assert woken.is_set()


def test_who_left_is_forgotten(dsn: str) -> None:
    signals = Signals(dsn)
    with signals.subscribed(QUEUE) as stays:
        with signals.subscribed(QUEUE) as left:
            pass
        signals.announce(QUEUE)
        assert (stays.is_set(), left.is_set()) == (True, False)
    assert not signals._waiting


async def test_an_announcement_wakes_other_processes(dsn: str) -> None:
    here, there = Signals(dsn), Signals(dsn)
    topic = uuid.uuid4().hex
    async with running(here), running(there):
        with there.subscribed(topic) as woken, there.subscribed(POLL) as other:
            here.announce(topic, QUEUE)
            await heard(woken)
            assert not other.is_set()


async def test_what_was_announced_before_anyone_listened_goes_out_then(dsn: str) -> None:
    here, there = Signals(dsn), Signals(dsn)
    async with running(there):
        with there.subscribed(QUEUE) as woken:
            here.announce(QUEUE)
            async with running(here):
                await heard(woken)


async def test_starting_to_listen_wakes_everyone(dsn: str) -> None:
    signals = Signals(dsn)
    with signals.subscribed(QUEUE) as one, signals.subscribed(uuid.uuid4().hex) as two:
        async with running(signals):
            assert one.is_set()
            assert two.is_set()


async def test_a_lost_connection_is_an_error_and_the_next_run_works_and_wakes_everyone(
    dsn: str, sql: Sql
) -> None:
    here, there = Signals(dsn), Signals(dsn)
    with here.subscribed(QUEUE) as woken:
        async with running(here) as task:
            woken.clear()
            await kill_listeners(sql)
            async with asyncio.timeout(PATIENCE):
                with pytest.raises(ConnectionError):
                    await task
        assert not woken.is_set()
        async with running(here), running(there):
            await heard(woken)
            there.announce(QUEUE)
            await heard(woken)


async def test_a_session_that_is_ended_is_a_lost_connection(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the driver calls it, so that the log does not call it a defect."""

    async def ended(*_: object) -> None:
        reason = "terminating connection"
        raise asyncpg.AdminShutdownError(reason)

    monkeypatch.setattr(Signals, "_send_gathered", ended)
    with pytest.raises(ConnectionError):
        await Signals(dsn).run()


async def test_a_connection_that_is_closed_already_is_an_error_too(dsn: str) -> None:
    """It may close between two waits: then nobody is called back."""
    connection = await Connector(dsn)()
    await connection.close()
    async with asyncio.timeout(1):
        with pytest.raises((ConnectionError, asyncpg.InterfaceError)):
            await _set_or_closed(asyncio.Event(), connection)


async def test_where_nothing_listens_running_is_an_error() -> None:
    signals = Signals("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(OSError, match=r".*"):
        await signals.run()


async def test_a_thousand_announcements_are_few_messages_and_none_is_lost(
    dsn: str, sql: Sql
) -> None:
    topics = {uuid.uuid4().hex for _ in range(1000)}
    messages: list[str] = []
    complete = asyncio.Event()

    def listen(*about: object) -> None:
        messages.append(str(about[-1]))
        if topics <= {topic for message in messages for topic in message.split(",")}:
            complete.set()

    await sql.add_listener(CHANNEL, listen)
    signals = Signals(dsn)
    async with running(signals):
        for topic in topics:
            signals.announce(topic, QUEUE)
        await heard(complete)
    await sql.remove_listener(CHANNEL, listen)
    assert len(messages) <= -(-1001 // BATCH) + 1
    assert max(map(len, messages)) < 8000


async def test_a_repeated_announcement_is_sent_once(dsn: str, sql: Sql) -> None:
    messages: list[str] = []
    complete = asyncio.Event()

    def listen(*about: object) -> None:
        messages.append(str(about[-1]))
        complete.set()

    await sql.add_listener(CHANNEL, listen)
    signals = Signals(dsn)
    async with running(signals):
        for _ in range(1000):
            signals.announce(QUEUE)
        await heard(complete)
        signals.announce("last")
        await heard(complete)
    await sql.remove_listener(CHANNEL, listen)
    assert messages == [QUEUE, "last"]


# -- alarms


def rung(alarm: Alarm) -> bool:
    """Tell whether it rings by now: who waits would not."""
    return alarm._rings()


def at(alarm: Alarm, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let so many seconds have passed since the loop's clock was read last."""
    now = asyncio.get_running_loop().time() + seconds
    monkeypatch.setattr(alarm, "_clock", lambda: now)


async def test_an_alarm_rings_when_it_was_said_and_not_before(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals = Signals(dsn)
    with signals.alarm(POLL) as alarm:
        signals.announce(after(POLL, 30.0), after(QUEUE, 1.0))
        at(alarm, monkeypatch, 29.9)
        assert not rung(alarm)
        at(alarm, monkeypatch, 30.2)
        assert rung(alarm)
        alarm.clear(all_=False)
        assert not rung(alarm)


async def test_who_knows_what_comes_forgets_what_was_said(dsn: str) -> None:
    signals = Signals(dsn)
    with signals.alarm(POLL) as alarm:
        signals.announce(after(POLL, 30.0), POLL)
        alarm.clear(all_=False)
        assert len(alarm._set) == 1
        alarm.clear(all_=True)
        assert not alarm._set


async def test_who_waits_is_woken_by_an_earlier_instant(dsn: str) -> None:
    signals = Signals(dsn)
    with signals.alarm(POLL, QUEUE) as alarm:
        signals.announce(after(POLL, 50.0))
        asyncio.get_running_loop().call_soon(signals.announce, QUEUE)
        async with asyncio.timeout(PATIENCE):
            await alarm.wait(3600)


async def test_an_alarm_of_no_use_is_dropped(dsn: str) -> None:
    signals, of_use = Signals(dsn), False
    with signals.alarm(QUEUE, ROOM, only_if={ROOM: lambda: of_use}) as alarm:
        signals.announce(ROOM)
        assert not rung(alarm)
        assert not alarm._set
        of_use = True
        signals.announce(ROOM)
        assert rung(alarm)


async def test_others_are_told_in_how_many_seconds_and_we_are_not_told_again(dsn: str) -> None:
    here, there = Signals(dsn), Signals(dsn)
    topic = uuid.uuid4().hex
    async with running(here), running(there):
        with (
            here.alarm(POLL) as ours,
            there.alarm(POLL) as theirs,
            there.subscribed(topic) as woken,
        ):
            here.announce(after(POLL, 30.0), topic)
            (own,) = ours._set
            ours.clear(all_=True)
            await heard(woken)
            (told,) = theirs._set
            assert own - 1 < told < own + PATIENCE
            assert not ours._set
