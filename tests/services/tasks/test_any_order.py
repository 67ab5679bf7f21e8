"""Callbacks, queries, answers, cancels, lapses and deaths in any order, against real PostgreSQL."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import httpx
import pytest
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from typing_extensions import override

from app.config import Settings
from app.domain.task import ARROWS, FINAL, State
from tests.services.world import Send, World, run

NUMBER = strategies.integers(min_value=0, max_value=10_000)
ENDS = {"succeeded": "succeeded", "failed": "failed"}


def _envelope(code: int, message: str) -> httpx.Response:
    return httpx.Response(200, json={"code": code, "msg": message, "data": None})


def _unsent(_: Send) -> httpx.Response:
    key: Any = None
    raise aiohttp.ClientConnectorError(key, OSError("refused"))


def _lost(_: Send) -> httpx.Response:
    raise aiohttp.ServerDisconnectedError


REFUSALS: dict[str, Callable[[Send], httpx.Response]] = {
    "busy": lambda _: _envelope(429, "Too many requests"),
    "account": lambda _: _envelope(402, "Insufficient credits"),
    "request": lambda _: _envelope(422, "Bad input"),
    "lost and not taken": _lost,
    "broken": lambda _: httpx.Response(502, text="bad gateway"),
    "unsent": _unsent,
}


class AnyOrder(RuleBasedStateMachine):
    """What must hold after each step, whatever came before it."""

    world: World
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self.vouched: dict[Any, tuple[str, Any]] = {}
        run(self.loop, self.world.open())

    @override
    def teardown(self) -> None:
        try:
            self._comes_to_rest()
        finally:
            run(self.loop, self.world.close())
            self.world.__init__(  # type: ignore[misc]  # as new for the next example
                self.world.settings, self.world.dsn
            )

    # -- what happens

    @rule()
    def create(self) -> None:
        run(self.loop, self.world.create())

    @rule()
    def submit(self) -> None:
        run(self.loop, self.world.submit())

    @precondition(lambda self: self.world.waiting())
    @rule(number=NUMBER, in_time=strategies.booleans())
    def accept(self, number: int, in_time: bool) -> None:  # noqa: FBT001  # hypothesis's choice
        """Take and bill a create; the answer may be lost."""
        send = self._pick(self.world.waiting(), number)
        taken = send.taken or self.world.bill(send)
        data = {"code": 200, "msg": "success", "data": {"taskId": taken.kie_task_id}}
        answer = _lost if not in_time else lambda _: httpx.Response(200, json=data)
        run(self.loop, self.world.answer(send, answer))

    @precondition(lambda self: self.world.waiting())
    @rule(number=NUMBER)
    def take_without_answer(self, number: int) -> None:
        """Bill a create whose answer is still to come: its callback may come first."""
        send = self._pick(self.world.waiting(), number)
        if send.taken is None:
            self.world.bill(send)

    @precondition(lambda self: self.world.waiting())
    @rule(number=NUMBER, how=strategies.sampled_from(sorted(REFUSALS)))
    def refuse(self, number: int, how: str) -> None:
        send = self._pick(self.world.waiting(), number)
        answer = _lost if send.taken else REFUSALS[how]  # what was taken is never refused
        run(self.loop, self.world.answer(send, answer))

    @precondition(lambda self: self.world.billed)
    @rule(number=NUMBER, end=strategies.sampled_from(sorted(ENDS)))
    def end(self, number: int, end: str) -> None:
        taken = self._pick(self.world.billed, number)
        if taken.end == "running":
            taken.end = end

    @precondition(lambda self: self.world.billed)
    @rule(number=NUMBER)
    def call_back(self, number: int) -> None:
        taken = self._pick(self.world.billed, number)
        run(self.loop, self.world.call_back(taken, taken.record))

    @rule()
    def ask(self) -> None:
        run(self.loop, self.world.ask())

    @rule()
    def fall_silent_or_speak(self) -> None:
        self.world.silent = not self.world.silent

    @rule()
    def sweep(self) -> None:
        run(self.loop, self.world.services.sweeper.sweep())

    @rule()
    def probe(self) -> None:
        run(self.loop, self.world.services.account.probe_due())

    @rule(number=NUMBER)
    def cancel(self, number: int) -> None:
        rows = [row for row in run(self.loop, self.world.rows()) if row["state"] == "queued"]
        if rows:
            task_id = self._pick(rows, number)["id"]
            run(self.loop, self.world.services.commands.cancel(self.world.client_id, task_id))

    @rule(seconds=strategies.sampled_from([1, 5, 31, 120, 4000]))
    def time_passes(self, seconds: float) -> None:
        run(self.loop, self.world.passes(seconds))

    @rule()
    def die(self) -> None:
        run(self.loop, self.world.die())

    # -- what holds

    @invariant()
    def at_most_one_is_billed(self) -> None:
        tasks = [one.task_id for one in self.world.billed]
        assert len(set(tasks)) == len(tasks)

    @invariant()
    def nothing_is_billed_that_is_canceled_or_refused(self) -> None:
        taken = {one.task_id for one in self.world.billed}
        for row in run(self.loop, self.world.rows()):
            refused = row["state"] == "failed" and row["settled_by"] is None
            if refused and row["fail_source"] == "kie":
                assert row["id"] not in taken

    @invariant()
    def a_vouched_end_stays(self) -> None:
        for row in run(self.loop, self.world.rows()):
            if row["settled_by"] is not None:
                end = (row["state"], row["kie_task_id"])
                assert self.vouched.setdefault(row["id"], end) == end

    @invariant()
    def every_step_is_an_arrow(self) -> None:
        query = "SELECT task_id, from_state, to_state FROM task_events ORDER BY task_id, id"
        last: dict[Any, str] = {}
        for event in run(self.loop, self.world.sql.fetch(query)):
            left, target = event["from_state"], event["to_state"]
            assert last.get(event["task_id"]) == left
            assert left is None or State(target) in ARROWS[State(left)]
            last[event["task_id"]] = target
        rows = run(self.loop, self.world.rows())
        assert last == {row["id"]: row["state"] for row in rows}

    def _comes_to_rest(self) -> None:
        """Let kie.ai end and tell what it took, and all bounds pass: then everything rests."""
        self.world.silent = False
        for send in self.world.waiting():
            run(self.loop, self.world.answer(send, _lost))
        for taken in self.world.billed:
            taken.end = "succeeded" if taken.end == "running" else taken.end
            run(self.loop, self.world.call_back(taken, taken.record))
        for seconds in (0, 31, 31, 4000, 4000, 4000):
            run(self.loop, self.world.passes(seconds))
            run(self.loop, self.world.services.sweeper.sweep())
            run(self.loop, self.world.ask())
        rows = run(self.loop, self.world.rows())
        assert {State(row["state"]) for row in rows} <= FINAL
        told = {one.task_id: one.end for one in self.world.billed}
        assert {row["id"]: row["state"] for row in rows if row["id"] in told} == told

    @staticmethod
    def _pick(options: list[Any], number: int) -> Any:
        return options[number % len(options)]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def test_whatever_comes_in_any_order(
    dsn: str, make_settings: Callable[..., Settings], loop: asyncio.AbstractEventLoop
) -> None:
    AnyOrder.world = World(make_settings(), dsn)
    AnyOrder.loop = loop
    run_state_machine_as_test(
        AnyOrder,
        settings=settings(
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
