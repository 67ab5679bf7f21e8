"""A pair of a client and a model is held: what makes it, what ends it, and who goes on."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.responses import PlainTextResponse, Response

from app.services.services import Services
from tests.fixtures.gateway import StartGateway, Wire
from tests.gateway import Gateway, issue_key
from tests.services.stage import (
    MODEL,
    Answer,
    account,
    breaker,
    has_creates,
    is_free,
    lost,
    pair_pause_of,
    probe_is_due,
    says,
    state,
    states,
    stays_held,
    turn,
)
from tests.stage import eventually
from tests.upstream import Upstream, accepted, refused

OTHER = "another-model"


def by_model(answers: Mapping[str, Answer]) -> Any:
    """Answer creates by their model; those that are not here are accepted."""
    numbers = iter(range(1, 10_000))

    async def create(body: Mapping[str, Any]) -> Response:
        answer = answers.get(body["model"])
        return answer() if answer else accepted(f"kie-{next(numbers)}")

    return create


async def another_client(gateway: Gateway, name: str = "another") -> Mapping[str, str]:
    """Return the headers of another client's requests."""
    return {"Authorization": f"Bearer {await issue_key(gateway.settings, name)}"}


# -- what holds a pair


def page(status: int) -> Answer:
    return lambda: PlainTextResponse("<html>", status)


TROUBLES: dict[str, tuple[Answer, str, int, float]] = {
    "maintenance": (says(455, "maintenance"), "kie_busy", 1, 1),
    "a proxy's page": (page(404), "kie_unreachable", 1, 1),
    "unknown words": (says(500, "a riddle"), "kie_unanswered", 3, 5),
    "lost": (lost, "kie_unanswered", 3, 5),
}
"""What a create meets, the hold, after how many, and the first wait."""


@pytest.mark.parametrize("name", TROUBLES)
async def test_it_holds_its_pair_and_no_other(
    name: str, gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    answer, reason, after, first = TROUBLES[name]
    upstream.on_create = by_model({MODEL: answer})
    for _ in range(after):
        await gateway.create()
    assert await is_not_held(sql)
    held = await breaker(sql)
    assert held is not None
    assert (held["hold_reason"], held["hold_tries"]) == (reason, 1)
    assert first <= await pair_pause_of(sql) <= 1.5 * first
    await stays_held(sql)

    waiting = await gateway.create()
    assert (waiting["state"], waiting["hold_reason"]) == ("queued", reason)
    assert waiting["estimated_start_at"] is None
    assert (await gateway.create(model=OTHER))["state"] == "running"
    gateway.http.headers.update(await another_client(gateway))
    upstream.on_create = None
    assert (await gateway.create())["state"] == "running"
    assert await turn(services) is not None
    assert await state(sql, waiting["id"]) == "queued"


async def test_what_a_proxy_finds_too_large_is_one_tasks_trouble(
    gateway: Gateway, upstream: Upstream, sql: Any
) -> None:
    upstream.answers(page(413))
    await gateway.create()
    assert await breaker(sql) is None
    assert await is_free(sql)
    upstream.on_create = None
    assert (await gateway.create())["state"] == "running"


async def is_not_held(sql: Any) -> bool:
    return (await account(sql))["hold_reason"] is None


async def test_it_says_why(gateway: Gateway, upstream: Upstream, sql: Any) -> None:
    upstream.answers(says(455, "back at noon"))
    await gateway.create()
    held = await breaker(sql)
    assert held is not None
    assert held["hold_detail"] == "455: back at noon"
    assert held["held_since"] is not None


async def test_what_it_tells_operators_holds_no_token(
    gateway: Gateway, upstream: Upstream, sql: Any
) -> None:
    async def quoting(body: Mapping[str, Any]) -> Response:
        return refused(455, f"cannot reach {body['callBackUrl']}")

    upstream.on_create = quoting
    await gateway.create()
    held = await breaker(sql)
    assert held is not None
    assert held["hold_detail"].startswith("455: cannot reach https://gateway.test/")
    assert upstream.callback_path.rpartition("/")[2] not in held["hold_detail"]


async def test_two_unknown_outcomes_are_chance_and_an_answer_breaks_the_row(
    gateway: Gateway, upstream: Upstream, sql: Any
) -> None:
    answers = iter([lost(), lost(), accepted("an-id"), lost(), lost(), refused(422, "no"), lost()])
    upstream.answers(lambda: next(answers))
    made = [(await gateway.create())["state"] for _ in range(7)]
    lost_twice = ["unconfirmed"] * 2
    assert made == [*lost_twice, "running", *lost_twice, "failed", "unconfirmed"]
    known = await breaker(sql)
    assert known is not None
    assert (known["hold_reason"], known["unknowns"]) == (None, 1)


async def test_nothing_is_remembered_of_a_pair_that_works(
    gateway: Gateway, upstream: Upstream, sql: Any
) -> None:
    upstream.answers(lost)
    await gateway.create()
    assert await breaker(sql) is not None
    upstream.on_create = None
    await gateway.create()
    assert await breaker(sql) is None
    assert await is_free(sql)


# -- how long, and what ends it


PAUSES = {
    "kie_busy": (says(455, "maintenance"), [1, 2, 4, 8, 16, 32, 60, 60]),
    "kie_unanswered": (lost, [5, 10, 20, 40, 80, 160, 300, 300]),
}


@pytest.mark.parametrize("reason", PAUSES)
async def test_the_back_off_grows_and_an_accepted_create_resets_it(
    reason: str, gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    answer, expected = PAUSES[reason]
    needed = 3 if reason == "kie_unanswered" else 1
    upstream.answers(answer)
    for _ in range(needed):
        await gateway.create()
    waits = [await pair_pause_of(sql)]
    await stays_held(sql)
    for _ in expected:  # an unknown outcome uses its task up
        await gateway.create()
    assert len(upstream.creates) == needed

    for _ in expected[1:]:
        await probe_is_due(sql)
        assert await turn(services) == 0
        waits.append(await pair_pause_of(sql))
    assert len(upstream.creates) == needed + len(expected) - 1
    for wait, least in zip(waits, expected, strict=True):
        assert least <= wait <= 1.5 * least

    upstream.on_create = None
    await probe_is_due(sql)
    assert await turn(services) == 0
    assert await breaker(sql) is None


@pytest.mark.parametrize("end", ["accepted", "refused"])
async def test_whatever_kie_judged_frees_it(
    end: str, gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    upstream.answers(says(455, "maintenance"))
    made = [(await gateway.create())["id"]]
    await stays_held(sql)
    made += [(await gateway.create())["id"] for _ in range(2)]
    answers = {"accepted": lambda: accepted("an-id"), "refused": says(422, "a bad prompt")}
    upstream.answers(answers[end])
    await probe_is_due(sql)
    assert await turn(services) == 0
    assert len(upstream.creates) == 2
    assert await breaker(sql) is None
    upstream.on_create = None
    assert await turn(services) == 0
    first = {"accepted": "running", "refused": "failed"}[end]
    assert [await state(sql, one) for one in made] == [first, "running", "running"]


async def test_a_probe_is_one_task_however_many_look(
    start_gateway: StartGateway, wire: Wire, upstream: Upstream, sql: Any
) -> None:
    gateway = await start_gateway(submit_wait=0)
    replicas = [await wire() for _ in range(3)]
    upstream.answers(says(455, "maintenance"))
    await gateway.create()
    await eventually(lambda: is_known(sql))
    await stays_held(sql)
    for _ in range(8):
        await gateway.create()
    go = upstream.holds()
    await probe_is_due(sql)
    turns = [replica.submitter.submit_due(50) for replica in replicas]
    await asyncio.gather(*turns, *(gateway.create() for _ in range(4)))
    assert sorted(await states(sql)) == ["queued"] * 12 + ["submitting"]
    # Nothing but an answer can open it, and nobody asks again at once.
    assert [await replica.submitter.submit_due(50) for replica in replicas] == [None] * 3
    go.set()
    await eventually(lambda: is_forgotten(sql))
    assert len(upstream.creates) == 2


async def is_known(sql: Any) -> bool | None:
    return await breaker(sql) is not None or None


async def is_forgotten(sql: Any) -> bool | None:
    return await breaker(sql) is None or None


LATE: dict[str, Answer] = {
    "accepted": lambda: accepted("an-id"),
    "refused for the request": says(422, "no"),
    "maintenance": says(455, "maintenance"),
    "lost": lost,
}


@pytest.mark.parametrize("late", LATE)
async def test_what_was_under_way_neither_prolongs_nor_ends_it(
    late: str, start_gateway: StartGateway, upstream: Upstream, sql: Any
) -> None:
    gateway = await start_gateway(submit_wait=0)
    arrived, go = asyncio.Event(), asyncio.Event()

    async def create(body: Mapping[str, Any]) -> Response:
        if body["input"].get("late"):
            return refused(455, "maintenance")
        arrived.set()
        await go.wait()
        return LATE[late]()

    upstream.on_create = create
    await gateway.create()
    await arrived.wait()
    await gateway.create(input={"late": True})
    await eventually(lambda: is_known(sql))
    await stays_held(sql)
    before = await breaker(sql)
    go.set()
    await eventually(lambda: _slots_settled(sql))
    assert await breaker(sql) == before


async def _slots_settled(sql: Any) -> bool | None:
    query = "SELECT count(*) = 0 FROM kie_slots WHERE task_id IS NOT NULL"
    return await sql.fetchval(query) or None


async def test_a_probe_whose_process_dies_is_unconfirmed_and_another_follows(
    start_gateway: StartGateway, wire: Wire, upstream: Upstream, sql: Any
) -> None:
    gateway = await start_gateway(submit_wait=0)
    dying, living = await wire(), await wire()
    upstream.answers(says(455, "maintenance"))
    await gateway.create()
    await eventually(lambda: is_known(sql))
    await stays_held(sql)
    await gateway.create()
    go = upstream.holds()
    await probe_is_due(sql)
    assert await dying.submitter.submit_due(50) == 0
    await eventually(lambda: has_creates(upstream, 2))
    await sql.execute("UPDATE tasks SET leased_until = now() WHERE state = 'submitting'")
    assert await living.sweeper.sweep() == 0
    upstream.on_create = None
    assert await turn(living) == 0
    assert await states(sql) == ["unconfirmed", "running"]
    assert await breaker(sql) is None
    go.set()
    await dying.submitter.drain()


# -- one client's trouble is nobody else's


async def test_one_client_with_two_misspelt_models_holds_nobody_else(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    """Not even where it was the only one with work when it met them."""
    misspelt = ("nano-bananna", "veo-33")
    upstream.on_create = by_model(dict.fromkeys(misspelt, says(500, "a riddle")))
    for number in range(20):
        await gateway.create(model=misspelt[number % 2])
    held = await account(sql)
    assert held["hold_reason"] == "kie_unanswered"
    assert held["hold_client_id"] is not None  # its own alone
    assert len(upstream.creates) == 3

    gateway.http.headers.update(await another_client(gateway))
    made = [await gateway.create() for _ in range(5)]
    assert {task["state"] for task in made} == {"running"}
    assert await is_free(sql)
    for _ in range(5):
        await turn(services)
    assert sum(create["model"] in misspelt for create in upstream.creates) <= 6
    assert (await gateway.create())["state"] == "running"


async def test_where_another_is_active_one_clients_models_do_not_hold_the_account(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    mine = dict(gateway.http.headers)
    gateway.http.headers.update(await another_client(gateway))
    running = await gateway.create()
    assert running["state"] == "running"
    gateway.http.headers.update(mine)
    models = [f"misspelt-{number}" for number in range(4)]
    upstream.on_create = by_model(dict.fromkeys(models, says(500, "a riddle")))
    for number in range(3 * len(models)):
        await gateway.create(model=models[number % 4])
    await stays_held(sql)
    for number in range(18):
        await gateway.create(model=models[number % 4])
    await turn(services)
    assert await is_not_held(sql)
    assert len(upstream.creates) == 1 + 3 * len(models)


async def test_two_clients_troubles_over_two_models_hold_the_account(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    upstream.answers(lost)
    await gateway.create(model="one")
    await gateway.create(model="one")
    mine = dict(gateway.http.headers)
    gateway.http.headers.update(await another_client(gateway))
    await gateway.create(model="two")
    held = await account(sql)
    assert (held["hold_reason"], held["hold_client_id"]) == ("kie_unanswered", None)
    await stays_held(sql)
    waiting = await gateway.create(model="three")
    assert (waiting["state"], waiting["hold_reason"]) == ("queued", "kie_unanswered")
    gateway.http.headers.update(mine)
    assert (await gateway.create(model="four"))["state"] == "queued"
    assert len(upstream.creates) == 3
    upstream.on_create = None
    await probe_is_due(sql)
    assert [await turn(services), await turn(services)] == [0, 0]
    assert await is_free(sql)
    assert sorted(await states(sql)) == ["running"] * 2 + ["unconfirmed"] * 3


# -- where a probe of the account goes


async def test_a_probe_of_the_account_goes_to_the_pair_that_succeeded_last(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    await gateway.create(model="proven")
    upstream.answers(says(429, "slow down"))
    await gateway.create(model="first in the queue", priority=9)
    await stays_held(sql)
    for model in ("second", "proven", "proven"):
        await gateway.create(model=model, priority=5)
    upstream.on_create = None
    await sql.execute("UPDATE tasks SET due_at = now()")
    await sql.execute("UPDATE kie_account SET held_until = now()")
    assert await turn(services) == 0
    assert [create["model"] for create in upstream.creates[2:]] == ["proven"]


async def test_without_one_it_goes_rather_to_a_pair_that_is_not_held(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    upstream.answers(says(455, "maintenance"))
    await gateway.create(model="held", priority=9)
    upstream.answers(says(429, "slow down"))
    await gateway.create(model="other", priority=1)
    await probe_is_due(sql)
    upstream.on_create = None
    assert await turn(services) == 0
    assert [create["model"] for create in upstream.creates] == ["held", "other", "other"]


async def test_the_last_success_is_remembered_once_a_second(
    gateway: Gateway, upstream: Upstream, sql: Any
) -> None:
    for model in ("first", "second"):
        await gateway.create(model=model)
    assert (await account(sql))["succeeded_model"] == "first"
    await sql.execute("UPDATE kie_account SET succeeded_at = now() - interval '1 s'")
    await gateway.create(model="third")
    assert (await account(sql))["succeeded_model"] == "third"
    upstream.answers(lost)
    await gateway.create(model="fourth")
    assert (await account(sql))["succeeded_model"] == "third"
