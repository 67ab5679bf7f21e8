"""What was learned of models: made anew by one process, known to all, shown to who may see it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import structlog

from app.domain.models import ENOUGH, EVERYBODY, looks_withdrawn, share, statistics
from app.domain.pace import Pace, Paces
from app.metrics import Metrics
from app.store.connections.engine import Database, Row
from app.store.spend import models

EVERY = 60.0
"""Seconds between two looks."""

log = structlog.get_logger(__name__)


class Models:
    """Keeps the statistics of models, and this process's memory of their pace."""

    def __init__(
        self,
        database: Database,
        working: Database,
        paces: Paces,
        metrics: Metrics,
        *,
        learns: bool = True,
    ) -> None:
        """`learns`: False for a process that only takes callbacks and may not read these."""
        self._database = database
        self._working = working
        self._paces = paces
        self._metrics = metrics
        self._learns = learns
        self._withdrawn: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Look, for ever, as every process does that asks or answers."""
        while self._learns:
            await self.look()
            await asyncio.sleep(EVERY)
        await asyncio.Event().wait()

    async def look(self) -> None:
        """Make the statistics anew where it is this process's turn, and learn from them."""
        async with self._working.begin() as connection:
            if await models.claim_refresh(connection, every=EVERY - 1):
                await models.keep(connection, statistics(await models.seen(connection)))
        async with self._working.read() as connection:
            found = await models.of(connection)
        self._paces.learn({row["model"]: pace for row in found if (pace := _pace(row)) is not None})
        self._show({row["model"] for row in found if _withdrawn(row)})

    def _show(self, withdrawn: set[str]) -> None:
        self._metrics.show_withdrawn(len(withdrawn))
        for model in sorted(withdrawn - self._withdrawn):
            log.warning("model.fails", model=model)
        self._withdrawn = frozenset(withdrawn)

    async def of_client(self, client_id: UUID) -> list[Mapping[str, Any]]:
        """Return what the client's own tasks say of the models that it used in the last week."""
        async with self._database.read(client_id) as connection:
            found = await models.of(connection, client_id)
            held = await models.held(connection, client_id)
        return [_shown(row, held.get(row["model"])) for row in found if row["tasks_7d"] > 0]

    async def of_all(self) -> list[Mapping[str, Any]]:
        """Return the same of the tasks of all clients."""
        async with self._database.read() as connection:
            found = await models.of(connection, EVERYBODY)
            held = await models.held(connection, None)
        return [_shown(row, held.get(row["model"])) for row in found if row["tasks_7d"] > 0]


def _pace(row: Row) -> Pace | None:
    known = row["seconds_p50"] is not None and row["measured"] >= ENOUGH
    return Pace(float(row["seconds_p50"]), float(row["seconds_p95"])) if known else None


def _withdrawn(row: Row) -> bool:
    return looks_withdrawn(row["succeeded_24h"], row["faults_24h"])


def _shown(row: Row, held: Row | None) -> Mapping[str, Any]:
    """Return a model as answers and commands show it."""
    breaker = None
    if held is not None:
        breaker = {"hold_reason": held["hold_reason"], "held_until": held["held_until"]}
    return {
        "model": row["model"],
        "last_24h": _span(row, "24h"),
        "last_7d": _span(row, "7d"),
        "credits": {"p50": row["credits_p50"], "p90": row["credits_p90"]},
        "seconds": {"p50": row["seconds_p50"], "p95": row["seconds_p95"]},
        "last_success_at": row["last_success_at"],
        "withdrawn": _withdrawn(row),
        "breaker": breaker,
    }


def _span(row: Row, name: str) -> Mapping[str, Any]:
    tasks, succeeded = max(0, row[f"tasks_{name}"]), max(0, row[f"succeeded_{name}"])
    return {"tasks": tasks, "succeeded": succeeded, "success_share": share(succeeded, tasks)}


def flat(shown: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], list[list[object]]]:
    """Return the head and the rows of a table of them."""
    head = ("model", "tasks 24h", "ok 24h", "tasks 7d", "ok 7d", "credits p50", "p90")
    rows = [
        [
            one["model"],
            one["last_24h"]["tasks"],
            _percent(one["last_24h"]["success_share"]),
            one["last_7d"]["tasks"],
            _percent(one["last_7d"]["success_share"]),
            *one["credits"].values(),
            *one["seconds"].values(),
            one["last_success_at"] and f"{one['last_success_at']:%Y-%m-%d %H:%M}",
            _condition(one),
        ]
        for one in shown
    ]
    return (*head, "seconds p50", "p95", "last success", "condition"), rows


def _percent(part: float | None) -> str | None:
    return None if part is None else f"{part:.1%}"


def _condition(one: Mapping[str, Any]) -> str:
    words = ["every task fails: withdrawn?"] if one["withdrawn"] else []
    if one["breaker"]:
        words.append(f"held: {one['breaker']['hold_reason']}")
    return "; ".join(words)
