"""A newcomer against a client with thousands of queued tasks, all of the highest priority."""

import asyncio
from collections.abc import Iterator
from uuid import UUID

from asyncpg import Record

from benchmarks.creating import SCALED, limited
from benchmarks.figures import Figure, at_most
from benchmarks.noise import noisy
from benchmarks.scene import Connection, Scene, say, started

FLOODER = 10
"""The flooder's weight; a newcomer's is 1."""
HIGHEST = 9
NEWCOMERS = 10
UNDER_WAY = 2.0
FIRST = 2
"""How many of the flooder's may be on their way already."""

QUEUE = """
INSERT INTO tasks (id, client_id, state, model, input, metadata, priority, fingerprint,
                   submit_by, due_at)
SELECT gen_random_uuid(), $1, 'queued', 'm', '{"prompt": "a cat"}', '{}', $2, 'x',
       clock_timestamp() + interval '30 days', clock_timestamp()
FROM generate_series(1, $3::int)
"""

WATCH = """
CREATE TABLE bench_stored (task_id uuid, at timestamptz);
CREATE FUNCTION bench_stored() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bench_stored VALUES (NEW.id, clock_timestamp());
    RETURN NEW;
END $$;
CREATE CONSTRAINT TRIGGER bench_stored AFTER INSERT ON tasks DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION bench_stored();

CREATE TABLE bench_claims (task_id uuid, begun_at timestamptz);
CREATE FUNCTION bench_claims() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bench_claims VALUES (NEW.task_id, statement_timestamp());
    RETURN NEW;
END $$;
CREATE TRIGGER bench_claims AFTER INSERT OR UPDATE ON kie_slots
    FOR EACH ROW WHEN (NEW.task_id IS NOT NULL) EXECUTE FUNCTION bench_claims();
"""
"""Notes when a create commits and when a claim begins: a claim cannot see what commits later."""

BEFORE = """
SELECT count(*) FILTER (WHERE claim.begun_at > stored.at) AS seen, count(*) AS in_all
FROM tasks newcomer JOIN bench_stored stored ON stored.task_id = newcomer.id
JOIN tasks one ON one.submitted_at > newcomer.created_at
              AND one.submitted_at < newcomer.submitted_at
JOIN bench_claims claim ON claim.task_id = one.id
WHERE newcomer.id = $1 AND one.client_id = $2
"""

WAITED = "SELECT extract(epoch FROM submitted_at - created_at)::float FROM tasks WHERE id = $1"


async def insert_queued(sql: Connection, client: UUID, tasks: int, priority: int = 5) -> None:
    """Queue tasks past the gateway, for speed; as it would have left them."""
    await sql.execute(QUEUE, client, priority, tasks)
    await sql.execute("ANALYZE tasks")


def newcomer(server: str, tasks: int) -> Iterator[Figure]:
    """Count how many of the flooder's start between a newcomer's create and its start.

    A noisy client is beside them.
    """
    part = f"newcomer, {tasks} queued"
    settings = {"GATEWAY_KIE_MAX_RUNNING": "100000", "GATEWAY_KIE_CREATE_WINDOW": str(SCALED)}
    with started(server, limited(SCALED), settings) as running:

        async def run() -> list[Figure]:
            async with Scene.over(running) as scene:
                return await _come(scene, part, tasks)

        yield from asyncio.run(run())


async def _come(scene: Scene, part: str, tasks: int) -> list[Figure]:
    flooder = await scene.client("flooder", FLOODER)
    callers = [await scene.client(f"newcomer-{number}") for number in range(NEWCOMERS)]
    await insert_queued(scene.sql, flooder.id, tasks, HIGHEST)
    await scene.sql.execute(WATCH)
    say(f"{part}: under way")
    before: list[Record] = []
    waits: list[float] = []
    async with noisy(scene):
        for caller in callers:
            await asyncio.sleep(UNDER_WAY)
            task = await scene.create(caller, priority=HIGHEST)
            await _started(scene, task["id"])
            before += await scene.sql.fetch(BEFORE, UUID(task["id"]), flooder.id)
            waits.append(await scene.sql.fetchval(WAITED, UUID(task["id"])))
    seen, in_all = ([row[which] for row in before] for which in ("seen", "in_all"))
    return [
        at_most(part, "started before a newcomer that was to be seen, most", max(seen), FIRST),
        Figure(part=part, name="the same, all", value=str(seen)),
        Figure(part=part, name="started since the newcomer's insert, all", value=str(in_all)),
        Figure(part=part, name="a newcomer's wait, most", value=f"{max(waits):.2f} s"),
    ]


async def _started(scene: Scene, task_id: str) -> None:
    async with asyncio.timeout(60):
        while await scene.sql.fetchval(  # noqa: ASYNC110  # it is a query
            "SELECT submitted_at IS NULL FROM tasks WHERE id = $1", UUID(task_id)
        ):
            await asyncio.sleep(0.02)
