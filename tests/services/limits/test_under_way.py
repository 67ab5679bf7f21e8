"""What is under way, and whose it is: counted to the byte, and forgotten."""

import asyncio
from collections.abc import Hashable
from contextlib import ExitStack
from contextvars import copy_context

import pytest

from app.domain.errors import OverloadedError
from app.domain.load import Bounds, Load
from app.services.limits.under_way import CURRENT, Place, UnderWay, became, resting, take

NOISY, QUIET = "noisy", "quiet"


def counted(bounds: Bounds | None = None) -> tuple[UnderWay, list[Hashable]]:
    refusals: list[Hashable] = []
    bounds = bounds or Bounds(requests=3, size=1000)
    return UnderWay(bounds, refusals.append), refusals


def test_what_has_ended_is_forgotten() -> None:
    under_way, _ = counted()
    with under_way.request(NOISY) as first, under_way.request(NOISY) as second:
        first.take(100)
        second.hold(10)
        second.hold(-4)
        assert under_way.of(NOISY) == under_way.total == Load(requests=2, size=106)
    assert under_way.of(NOISY) == under_way.total == Load()


def _shows_its_key(place: Place) -> None:
    CURRENT.set(place)
    take(7)
    became(QUIET)


def test_a_request_becomes_its_clients() -> None:
    under_way, _ = counted()
    with under_way.request("127.0.0.1") as place:
        copy_context().run(_shows_its_key, place)
        assert under_way.of("127.0.0.1") == Load()
        assert under_way.of(QUIET) == Load(requests=1, size=7)
    assert under_way.of(QUIET) == under_way.total == Load()


def test_one_too_many_of_the_noisy_is_refused_and_not_counted() -> None:
    under_way, refusals = counted()
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(under_way.request(NOISY))
        with pytest.raises(OverloadedError), under_way.request(NOISY):
            pass
        assert (under_way.of(NOISY).requests, refusals) == (3, [NOISY])
        stack.enter_context(under_way.request(QUIET))
        assert len(refusals) == 1


def test_who_has_more_bytes_gets_no_more() -> None:
    under_way, _ = counted()
    with under_way.request(NOISY) as one, under_way.request(NOISY), under_way.request(QUIET) as own:
        one.take(990)
        own.take(100)
        with pytest.raises(OverloadedError):
            one.take(1)


def test_what_only_waits_is_no_request_and_keeps_its_bytes() -> None:
    under_way, _ = counted()
    with under_way.request(QUIET) as place:
        place.take(5)
        token = CURRENT.set(place)
        with resting():
            with resting():
                assert under_way.total == Load(requests=0, size=5)
            assert under_way.total == Load(requests=0, size=5)
        CURRENT.reset(token)
        assert under_way.total == Load(requests=1, size=5)
    assert under_way.total == Load()


def test_what_ends_while_it_waits_is_forgotten() -> None:
    under_way, _ = counted()
    with under_way.request(QUIET) as place, place.resting():
        place.end()
    assert under_way.total == Load()


async def test_requests_begin_by_turns_and_not_all_at_once() -> None:
    """Between two beginnings the loop comes round: what is exempt is answered there."""
    under_way, _ = counted()
    began: list[Hashable] = []

    async def begin(whose: Hashable) -> None:
        await under_way.enter(whose)
        began.append(whose)

    async with asyncio.TaskGroup() as group:
        for whose in (NOISY, NOISY, NOISY, QUIET):
            group.create_task(begin(whose))
        group.create_task(_note(began, "callback"))
    assert began[:2] == [NOISY, "callback"]
    assert began.index(QUIET) < len(began) - 1


async def _note(began: list[Hashable], what: Hashable) -> None:
    began.append(what)


async def test_refusals_are_said_one_after_another_and_by_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    under_way, _ = counted()
    said: list[Hashable] = []

    async def refuse(whose: Hashable) -> None:
        await under_way.may_refuse(whose)
        said.append(whose)

    monkeypatch.setattr("app.services.limits.under_way.REFUSALS_PER_SECOND", 1 / 3600)
    refusing = [asyncio.create_task(refuse(whose)) for whose in [NOISY] * 10 + [QUIET]]
    rounds = [asyncio.create_task(asyncio.wait({*refusing}, timeout=0)) for _ in range(20)]
    await asyncio.gather(*rounds)
    assert said == [NOISY]
    monkeypatch.undo()
    under_way._refusing.leave(NOISY)  # its hour is over
    await asyncio.gather(*refusing)
    assert said[2] == QUIET  # one of the noisy was in the next line already
