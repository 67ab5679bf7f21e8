"""Creates at the account's limit: none too many, none too few, shared by weight, and foretold."""

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain, repeat
from typing import TypeAlias

from benchmarks.figures import Figure, at_least, at_most
from benchmarks.noise import noisy
from benchmarks.scene import Caller, Row, Scene, refused, say, started
from benchmarks.stand import cpu_seconds, percentile

WEIGHTS = (1, 1, 2, 4, 8)
CALLS = 20
REAL, SPEED = 10.0, 20.0
"""Seconds of kie.ai's window, and how many times as fast a scaled one is."""
SCALED = REAL / SPEED
LATENCY = (0.33, 0.91)
"""Seconds that kie.ai's answers to creates take, as recorded."""
FOR_EVER = "3600"
WARM = 40
USED = 90.0
UNEVEN = 5.0
ASTRAY_SHARE, ASTRAY_SECONDS = 0.2, 1.0
FORETOLD = 90.0

WATCH = """
CREATE TABLE bench_slots (slot int, taken_at timestamptz, idle float, took float);
CREATE FUNCTION bench_slots() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.task_id IS NOT NULL THEN
        INSERT INTO bench_slots (slot, taken_at, idle)
        VALUES (NEW.slot, NEW.taken_at, extract(epoch FROM NEW.taken_at - OLD.free_at));
    ELSE
        UPDATE bench_slots SET took = NEW.took WHERE slot = OLD.slot AND taken_at = OLD.taken_at;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER bench_slots AFTER UPDATE ON kie_slots
    FOR EACH ROW WHEN (NEW.kind = 'create') EXECUTE FUNCTION bench_slots();
"""
"""Notes for how long each slot was free before it was taken again, and how long its create took."""

TROUBLE = """
SELECT to_state, reason, count(*) AS tasks FROM task_events
WHERE from_state = 'submitting' AND to_state <> 'running' GROUP BY to_state, reason
"""
"""Creates that met something else than a limit: each may have held the whole account."""

Estimates: TypeAlias = dict[str, tuple[float, float]]
"""By task, in unix seconds: when it was read, and when the task was said to start."""


def scaled(server: str, tasks: int, processes: int, speed: float) -> Iterator[Figure]:
    """Open the queue to five clients' tasks that waited in a pause, `speed` times as fast.

    kie.ai's window and its answers are faster; our own way and others' load on the machine are not.
    """
    part = f"x {speed:g}, {processes} process{'es' if processes > 1 else ''}"
    window = REAL / speed
    with started(
        server,
        limited(window),
        {"GATEWAY_KIE_MAX_RUNNING": "100000", "GATEWAY_KIE_CREATE_WINDOW": str(window)},
        workers=processes - 1,
    ) as running:
        before = sum(map(cpu_seconds, running.pids))

        async def run() -> list[Figure]:
            async with Scene.over(running) as scene:
                return await _opened(scene, part, tasks, window)

        yield from asyncio.run(run())
        spent = sum(map(cpu_seconds, running.pids)) - before
        yield Figure(
            part=part, name="CPU of the gateway per task", value=f"{1000 * spent / tasks:.1f} ms"
        )


def real(server: str, tasks: int) -> Iterator[Figure]:
    """Create under the real constants, with a noisy client beside."""
    with started(server, limited(REAL), {"GATEWAY_KIE_MAX_RUNNING": "1000"}) as running:

        async def run() -> list[Figure]:
            async with Scene.over(running) as scene:
                await scene.sql.execute(WATCH)
                caller = await scene.client("alone")
                say(f"real: creating {tasks} tasks")
                async with noisy(scene):
                    await scene.create_many([caller] * tasks)
                    await scene.sent(patience=60 + tasks)
                creates = await scene.simulator("creates")
                delays = await _delays(scene, "real", creates, skipped=0)
                return [*_limits("real", creates, REAL), *delays]

        yield from asyncio.run(run())


def limited(window: float) -> list[str]:
    least, most = (bound * window / REAL for bound in LATENCY)
    return [
        *("--creates-per-window", str(CALLS), "--window-seconds", str(window)),
        *("--create-latency", f"{least}:{most}", "--duration", FOR_EVER),
    ]


async def _opened(scene: Scene, part: str, tasks: int, window: float) -> list[Figure]:
    callers = [
        await scene.client(f"client-{number}", weight) for number, weight in enumerate(WEIGHTS)
    ]
    say(f"{part}: warming up: how long creates take has to be known before anything is foretold")
    await scene.create_many([callers[0]] * WARM)
    await scene.sent(patience=60)
    await scene.pause()
    each = tasks // len(callers)
    say(f"{part}: creating {each} tasks of each client while admission is paused")
    await scene.create_many(list(chain.from_iterable(repeat(callers, each))))
    say(f"{part}: open")
    await scene.sql.execute(WATCH)
    await scene.resume()
    estimates = await _estimates(scene, callers)
    say(f"{part}: {len(estimates)} estimates read")
    await scene.sent(patience=60 + 2 * window * tasks / CALLS)
    creates = (await scene.simulator("creates"))[WARM:]
    return [
        *_limits(part, creates, window),
        *await _delays(scene, part, creates, skipped=CALLS),
        _shares(part, await _starters(scene, creates), each),
        *_foretold(part, estimates, await _starts(scene)),
    ]


async def _estimates(scene: Scene, callers: Sequence[Caller]) -> Estimates:
    pages = await asyncio.gather(*(scene.queued(caller) for caller in callers))
    return {
        row["id"]: (read_at, _instant(row["estimated_start_at"]))
        for read_at, row in chain.from_iterable(pages)
        if row["estimated_start_at"]
    }


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _limits(part: str, creates: Sequence[Row], window: float) -> list[Figure]:
    """Compare with the fastest way there is: `CALLS` at once, and again whenever a window ends."""
    arrived = [row["arrivedAt"] for row in creates if row["outcome"] == "accepted"]
    took = max(arrived) - min(arrived)
    needed = window * ((len(arrived) - 1) // CALLS)
    return [
        at_most(part, "creates answered 429", refused(creates), 0),
        at_least(part, "share of the allowed rate used", 100 * needed / took, USED, " %"),
        at_most(part, "creates in a window, most", _most(sorted(arrived), window), CALLS),
    ]


def _most(arrived: Sequence[float], window: float) -> int:
    """Count the creates of the fullest window; `arrived` in order."""
    return max(bisect_left(arrived, start + window) - place for place, start in enumerate(arrived))


async def _delays(scene: Scene, part: str, creates: Sequence[Row], *, skipped: int) -> list[Figure]:
    """Say where a slot's time goes beside the window; `skipped` were free before it began."""
    slots = (await scene.sql.fetch("SELECT idle, took FROM bench_slots ORDER BY taken_at, slot"))[
        skipped:
    ]
    claimed = {
        row["kie_task_id"]: row["submitted_at"].timestamp()
        for row in await scene.sql.fetch("SELECT kie_task_id, submitted_at FROM tasks")
    }
    trouble = [
        f"{row['tasks']} {row['to_state']}: {row['reason']}"
        for row in await scene.sql.fetch(TROUBLE)
    ]
    sending = [row["arrivedAt"] - claimed[row["taskId"]] for row in creates if row["taskId"]]
    return [
        Figure(part=part, name="creates in trouble", value="; ".join(trouble) or "none"),
        _spread(part, "a slot is free", [row["idle"] for row in slots]),
        _spread(part, "from the claim to the arrival", sending),
        _spread(part, "from the claim to the answer", [row["took"] for row in slots]),
    ]


def _spread(part: str, name: str, seconds: Sequence[float]) -> Figure:
    p50, p95 = (1000 * percentile(seconds, share) for share in (0.5, 0.95))
    mean = 1000 * sum(seconds) / len(seconds)
    return Figure(part=part, name=name, value=f"mean {mean:.0f}, p50 {p50:.0f}, p95 {p95:.0f} ms")


async def _starters(scene: Scene, creates: Sequence[Row]) -> list[str]:
    """Name the client of each accepted create, in the order of arrival."""
    owners = {
        row["kie_task_id"]: row["name"]
        for row in await scene.sql.fetch(
            "SELECT kie_task_id, name FROM tasks JOIN clients ON clients.id = client_id"
        )
    }
    return [owners[row["taskId"]] for row in creates if row["outcome"] == "accepted"]


def _shares(part: str, starters: Sequence[str], each: int) -> Figure:
    """Compare the shares with the weights for as long as all clients have work."""
    begun: Counter[str] = Counter()
    for name in starters:
        begun[name] += 1
        if begun[name] == each:
            break
    total = sum(begun.values())
    fair = [total * weight / sum(WEIGHTS) for weight in WEIGHTS]
    counts = [begun[f"client-{number}"] for number in range(len(WEIGHTS))]
    say(f"{part}: starts {counts}, by weight {[round(one, 1) for one in fair]}")
    worst = max(abs(count - due) / due for count, due in zip(counts, fair, strict=True))
    return at_most(part, "worst share against its weight", 100 * worst, UNEVEN, " %")


async def _starts(scene: Scene) -> dict[str, float]:
    rows = await scene.sql.fetch("SELECT id, submitted_at FROM tasks")
    return {str(row["id"]): row["submitted_at"].timestamp() for row in rows}


def _foretold(part: str, estimates: Estimates, starts: dict[str, float]) -> list[Figure]:
    errors = [
        (abs(said - starts[task]), max(ASTRAY_SECONDS, ASTRAY_SHARE * (starts[task] - read_at)))
        for task, (read_at, said) in estimates.items()
    ]
    good = sum(error <= allowed for error, allowed in errors)
    off = [error for error, _ in errors]
    return [
        Figure(part=part, name="estimates read", value=str(len(errors))),
        at_least(part, "estimates within 20 % or 1 s", 100 * good / len(errors), FORETOLD, " %"),
        Figure(part=part, name="an estimate's error, p90", value=f"{percentile(off, 0.9):.2f} s"),
    ]
