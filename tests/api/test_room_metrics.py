"""What `/metrics` tells of the admission: holds, room, and work that nobody does, truthfully."""

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import SecretStr

from app.domain.admission import BRAKES, PAUSES
from app.metrics import catalogue
from app.store.backlog import Backlog
from tests.api.conftest import Scratch
from tests.api.stage import Sql
from tests.fixtures.gateway import StartGateway, Wire
from tests.scrape import samples

PAUSE = "UPDATE kie_account SET paused_at = now()"
RESUME = "UPDATE kie_account SET paused_at = NULL"
WAITING = """UPDATE tasks SET due_at = now() - interval '50 s', created_at = now() - interval '50 s'
WHERE state = 'queued'"""
SLOTS = """INSERT INTO kie_slots (kind, slot, free_at, taken_at)
SELECT 'create', number, now() + interval '{free_in} s', now() - interval '60 s'
FROM generate_series(1, {slots}) AS number"""
HELD = """UPDATE kie_account SET hold_reason = '{reason}', held_since = now() - interval '90 s',
held_at = now(), held_until = now() + interval '{until} s'"""

PROBING = """UPDATE tasks SET state = 'submitting', due_at = NULL, leased_until = now() + '9 s'
WHERE id = (SELECT max(id::text)::uuid FROM tasks)"""
CROWDED = """UPDATE kie_account SET creates_allowed = 1,
throttled_at = now() - interval '{since} s'"""
ADMITTED = "UPDATE kie_slots SET taken_at = now() - interval '6 s'"


@dataclass(frozen=True, slots=True)
class Scene:
    """What has happened to an account whose one queued task has been due for 50 s."""

    happened: str
    submit: float
    probe: float = 0.0
    settings: tuple[tuple[str, Any], ...] = ()


SCENES = {
    "nothing": Scene("SELECT 1", 50),
    "paused": Scene(PAUSE, 0),
    "its client is paused": Scene("UPDATE client_queues SET paused_at = now()", 0),
    "held": Scene(HELD.format(reason="kie_busy", until=30), 0),
    "a hold whose wait is over": Scene(HELD.format(reason="kie_busy", until=-20), 20),
    "one task probes already": Scene(
        f"{HELD.format(reason='kie_busy', until=-20)}; {PROBING}",
        0,
    ),
    "the credit call comes first": Scene(HELD.format(reason="kie_account", until=-20), 0, 20),
    "a paused account is not probed": Scene(
        f"{HELD.format(reason='kie_account', until=-20)}; {PAUSE}", 0
    ),
    "no slot": Scene(SLOTS.format(free_in=5, slots=20), 0),
    "one slot of many": Scene(SLOTS.format(free_in=5, slots=19), 50),
    "slots that came free": Scene(SLOTS.format(free_in=-10, slots=20), 10),
    "others use all but one, which is taken": Scene(
        f"{SLOTS.format(free_in=5, slots=1)}; {CROWDED.format(since=5)}",
        0,
    ),
    "others leave one more than before": Scene(
        f"{SLOTS.format(free_in=5, slots=1)}; {CROWDED.format(since=17)}",
        7,
    ),
    "others are there, and it does not matter": Scene(
        "UPDATE kie_account SET creates_allowed = 15, throttled_at = now()", 50
    ),
    "no seat": Scene("UPDATE tasks SET due_at = due_at", 0, settings=(("kie_max_running", 1),)),
    "a seat came free after the last admission": Scene(
        f"{SLOTS.format(free_in=-50, slots=1)}; {ADMITTED}",
        6,
        settings=(("kie_max_running", 2),),
    ),
    "not due": Scene("UPDATE tasks SET due_at = now() + interval '9 s'", 0),
    "too late": Scene("UPDATE tasks SET submit_by = now()", 0),
    "nothing waits": Scene("DELETE FROM task_events; DELETE FROM tasks", 0),
}


@pytest.mark.parametrize("name", SCENES)
async def test_submit_is_overdue_only_where_something_could_be_sent(
    start_gateway: StartGateway, wire: Wire, sql: Sql, name: str
) -> None:
    scene = SCENES[name]
    gateway = await start_gateway()
    await gateway.create()
    await sql.execute(PAUSE)
    await gateway.create()
    if name == "one task probes already":
        await gateway.create()
    for statement in ("DELETE FROM kie_slots", RESUME, WAITING):
        await sql.execute(statement)
    await sql.execute(scene.happened)

    found = await _look(await wire(**dict(scene.settings)))

    assert scene.submit <= found.overdue["submit"] <= scene.submit + (5 if scene.submit else 0)
    assert scene.probe <= found.overdue["probe"] <= scene.probe + (5 if scene.probe else 0)


async def _look(services: Any) -> Backlog:
    found = await services.metrics_page.backlog()
    assert isinstance(found, Backlog)
    return found


async def test_holds_and_room_are_shown(start_gateway: StartGateway, sql: Sql) -> None:
    gateway = await start_gateway(kie_max_running=30)
    await gateway.create()
    await sql.execute(f"{HELD.format(reason='kie_account', until=30)}; {PAUSE}")
    await sql.execute("UPDATE tasks SET parked_at = now()")
    page = samples((await gateway.http.get("/metrics")).text)
    held = {
        reason: page[f'kie_gateway_admission_held{{reason="{reason}"}}']
        for reason in catalogue.HOLDS
    }
    assert {reason for reason, value in held.items() if value} == {
        "kie_account",
        "admission_paused",
    }
    assert page["kie_gateway_create_slots_free"] == 19
    assert page["kie_gateway_running_seats_free"] == 29
    assert page["kie_gateway_tasks_set_aside"] == 1


async def test_nothing_of_it_is_told_while_the_database_is_away(
    start_gateway: StartGateway, scratch: Scratch
) -> None:
    gateway = await start_gateway(database_url=SecretStr(scratch.dsn))
    await scratch.goes_away()
    page = samples((await gateway.http.get("/metrics")).text)
    gone = ("admission_held", "create_slots", "running_seats", "tasks_set_aside", "overdue")
    assert [name for name in page if name.startswith(tuple(f"kie_gateway_{n}" for n in gone))] == []


def test_the_reasons_are_the_domains_own() -> None:
    assert set(catalogue.HOLDS) == {*PAUSES, *BRAKES}
