"""Follows one due row through the code: `python -m tests.trip [CHECKOUT]`.

A task runs at a stand-in kie.ai that has finished it and calls nobody back; the row is due, and one
turn of the poll loop asks, hears that it succeeded and settles it. Meanwhile every entry of a
function of `app` is recorded that *carries the row*: one of its local names (`self` left out) is
the task's id or kie.ai's id of it, or something with one of them in it, to a depth of two. So
pools, transactions and clocks are not part of the trip. Also left out are generated constructors,
the log, and what is counted and who is woken after the commit.

The entries' modules in their order are the trail; neighbours that are the same are one *stay*.
**Modules** are the distinct ones, **returns** the stays less the modules: how often the row comes
back into a module that it had left. A return of control to a caller is none, the next function that
the caller passes the row to in its own module is.

Two trails are counted: *the way*, of what services pass the row to, and *all*, with what `domain`,
`store` and `kie` do inside, which are mostly readers of fields and bytes. Only public doors and the
poll loop's turn are named here, so that any commit's code can be measured.
"""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, is_dataclass
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, NamedTuple, Self
from uuid import UUID

LEFT_OUT = (
    *("app.log", "app.metrics", "app.store.signals", "app.services.consequences"),
    *("app.services.wait", "app.services.tasks.waiters"),  # who is woken
)
SERVICES = "app.services."
GENERATED = re.compile(r"__create_fn__|<(lambda|\w+comp|genexpr)>$")
"""What a class or a function around it is written with."""
DEPTH = 2
TURNS = (("poller", "poll_due"), ("asker", "ask_due"))
"""What the turn of the poll loop is called, and was."""


class Entry(NamedTuple):
    """A function that was entered with the row, and whether a service passed it on."""

    module: str
    function: str
    sent: bool


@dataclass(frozen=True, slots=True)
class Trip:
    """The functions that a row was carried through."""

    entries: Sequence["Entry"]

    @property
    def stays(self) -> list[tuple[str, list[str]]]:
        return [
            (module, [entry.function for entry in entered])
            for module, entered in groupby(self.entries, key=lambda entry: entry.module)
        ]

    @property
    def modules(self) -> int:
        return len({module for module, _ in self.stays})

    @property
    def returns(self) -> int:
        return len(self.stays) - self.modules

    @property
    def way(self) -> "Trip":
        """What the services did, without the inside of what they called."""
        return Trip([entry for entry in self.entries if entry.sent])


def carries(value: object, row: Collection[object], depth: int = DEPTH) -> bool:
    """Tell whether the row's ids are in `value`."""
    match value:
        case UUID():
            return value in row
        case str() | bytes():
            text = value if isinstance(value, str) else value.decode(errors="replace")
            return any(isinstance(name, str) and name in text for name in row)
        case Mapping():
            inside: Collection[object] = list(value.values())
        case list() | tuple() | set() | frozenset():
            inside = value
        case _ if is_dataclass(value):
            inside = [getattr(value, field.name, None) for field in fields(value)]
        case _:
            return False
    return depth > 0 and any(carries(one, row, depth - 1) for one in inside)


class Trace:
    """Records who is entered with the row while it is on."""

    def __init__(self, row: Collection[object]) -> None:
        self._row = row
        self._seen: dict[FrameType, bool] = {}
        """Whether each frame carries the row; frames are kept, or another could pass for one."""
        self.entries: list[Entry] = []

    def __enter__(self) -> Self:
        sys.setprofile(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _enter(self, frame: FrameType, event: str, _: object) -> None:
        module, code = _module(frame), frame.f_code
        if event != "call" or not module.startswith("app.") or module.startswith(LEFT_OUT):
            return
        if (
            frame in self._seen
            or code.co_name.startswith("<")
            or "__create_fn__" in code.co_qualname
        ):
            return  # resumed and not entered; part of a function; generated
        local = [value for name, value in frame.f_locals.items() if name not in {"self", "cls"}]
        self._seen[frame] = any(carries(value, self._row) for value in local)
        if self._seen[frame]:
            name = module.removeprefix("app.")
            self.entries.append(Entry(name, code.co_qualname, self._is_sent(frame)))

    def _is_sent(self, frame: FrameType) -> bool:
        """Tell whether a service passed the row on, or begins with it."""
        caller = frame.f_back
        while caller is not None and not self._seen.get(caller):
            caller = caller.f_back
        return _module(caller or frame).startswith(SERVICES)


def _module(frame: FrameType) -> str:
    name: str = frame.f_globals.get("__name__", "")
    return name


@asynccontextmanager
async def _due_row(dsn: str) -> AsyncIterator[tuple[set[object], Callable[[], Awaitable[object]]]]:
    """Lend a due row's ids, and what polls and settles it."""
    import asyncpg  # noqa: PLC0415  # not before the checkout is chosen
    import httpx  # noqa: PLC0415
    from pydantic import SecretStr  # noqa: PLC0415

    from app.config import Settings  # noqa: PLC0415
    from app.main import create_app  # noqa: PLC0415
    from app.wiring import wired  # noqa: PLC0415
    from simulator.server import Options  # noqa: PLC0415
    from simulator.server import create_app as create_simulator  # noqa: PLC0415
    from tests.stage import serving  # noqa: PLC0415

    quiet = create_simulator(Options(duration=0, faults={"callback-dropped": 1}))
    async with serving(quiet) as kie:
        settings = Settings(
            database_url=SecretStr(dsn),
            secret_keys=(SecretStr("a-secret-of-the-trips-not-to-be-shown"),),
            kie_base_url=kie,
            kie_api_key=SecretStr("k" * 40),
            allow_unsafe_fsync=True,
        )
        async with (
            serving(create_app(settings, worker=False)) as url,
            wired(settings, dsn) as services,
            httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http,
        ):
            key = (await services.keys.create("trip")).api_key
            made = await http.post(
                "/v1/tasks",
                json={"model": "google/nano-banana", "input": {"prompt": "a cat"}},
                headers={"Authorization": f"Bearer {key}"},
            )
            sql = await asyncpg.connect(dsn)
            await sql.execute("UPDATE tasks SET due_at = now()")
            row = await sql.fetchrow("SELECT id, kie_task_id FROM tasks")
            assert row is not None, made.text
            assert row["kie_task_id"], made.text
            task_id = row["id"]

            async def settled() -> None:
                service, turn = _turn(services)
                await turn()
                await service.drain()

            yield {task_id, task_id.hex, str(task_id), row["kie_task_id"]}, settled
            assert await sql.fetchval("SELECT state FROM tasks") == "succeeded"
            await sql.close()


def _turn(services: object) -> tuple[Any, Callable[[], Awaitable[object]]]:
    for name, turn in TURNS:
        if service := getattr(services, name, None):
            return service, getattr(service, turn)
    message = f"nobody polls: none of {TURNS}"
    raise SystemExit(message)


async def followed(dsn: str) -> Trip:
    """Follow a row through the `app` that is imported, over a migrated database."""
    async with _due_row(dsn) as (row, settled):
        with Trace(row) as trace:
            await settled()
    return Trip(trace.entries)


def main(arguments: Sequence[str]) -> None:
    sys.path.insert(0, str(Path(arguments[0] if arguments else ".").resolve()))
    from app.embedded import running  # noqa: PLC0415  # not before the checkout is chosen
    from app.store import schema  # noqa: PLC0415

    with TemporaryDirectory(prefix="kie-gateway-trip-") as scratch, running(Path(scratch)) as dsn:
        schema.upgrade(dsn)
        trip = asyncio.run(followed(dsn))
    for name, trail in (("all", trip), ("the way", trip.way)):
        for module, functions in trail.stays:
            sys.stdout.write(f"  {module:<32} {', '.join(functions)}\n")
        sys.stdout.write(f"{name}: {trail.modules} modules, {trail.returns} returns\n")


if __name__ == "__main__":
    main(sys.argv[1:])
