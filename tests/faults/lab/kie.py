"""kie.ai's side of a run: the simulator steered, and what it knows afterwards."""

import re
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import httpx

from simulator.server import Options, create_app
from tests.faults.lab.audit import Bill
from tests.faults.lab.truth import Facts, facts
from tests.faults.test_named_faults import MADE, parameters
from tests.stage import serving

HMAC_KEY = "webhook-hmac-key-not-to-be-shown"
DURATION = 0.3
TRIES = 4
"""kie.ai's POSTs of one callback."""
UNPROVING_CREATES = frozenset(name for name, made in MADE.items() if made.unproven)
"""Faults after which nobody can know whether the create happened."""
UNTRUE = frozenset(name for name, made in MADE.items() if made.otherwise)
"""Faults by which kie.ai's record is not what it holds to be true."""

_TASK = re.compile(r"/callbacks/kie/([0-9a-f-]{36})/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What kie.ai knows after a run, by the gateway's ids of tasks."""

    bills: Sequence[Bill]
    muddled: frozenset[str]
    """Tasks a create of which was answered in a way that proves nothing."""
    unread: bool
    """There were creates that kie.ai did not even read."""
    refused_for_limits: Sequence[str | None]
    over: frozenset[str]
    """Billed tasks of which no callback is to come any more."""

    def hopeless(self, ids: Collection[str]) -> list[str]:
        """Return those of which kie.ai will not tell unasked: not billed, or told in vain."""
        billed = {bill.task_id for bill in self.bills}
        return [each for each in ids if each not in billed or each in self.over]


class Kie:
    """The simulator, asked over HTTP."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(str(self._http.base_url))
        return parts.hostname or "", parts.port or 0

    async def begin(
        self,
        faults: Collection[str],
        count: int,
        rates: Mapping[str, Any],
        limits: Mapping[str, int],
    ) -> None:
        """Forget the last run, and treat the next `count` creates, and all others, so."""
        (await self._http.delete("/simulator/ledger")).raise_for_status()
        (await self._http.put("/simulator/faults", json=rates)).raise_for_status()
        (await self._http.put("/simulator/account", json=limits)).raise_for_status()
        if faults:
            order = {"fault": {name: parameters(name) for name in faults}, "count": count}
            (await self._http.post("/simulator/next", json=order)).raise_for_status()

    async def known(self) -> Known:
        ledger = await self._data("/simulator/ledger")
        truth = await self._data("/simulator/truth")
        creates = await self._data("/simulator/creates")
        attempts = (await self._http.get("/simulator/callbacks")).json()
        heard = Counter(attempt["taskId"] for attempt in attempts if attempt["status"] == 200)
        last = {attempt["taskId"] for attempt in attempts if attempt["attempt"] >= TRIES}
        muddled = [_task(row) for row in creates if UNPROVING_CREATES & {*row["faults"]}]
        return Known(
            bills=[
                Bill(
                    task_id=_task(row) or "",
                    kie_task_id=row["taskId"],
                    heard=heard[row["taskId"]],
                    facts={} if UNTRUE & {*row["faults"]} else _facts(row, true),
                )
                for row, true in zip(ledger, truth, strict=True)
            ],
            muddled=frozenset(filter(None, muddled)),
            unread=None in muddled,
            refused_for_limits=[
                _task(row) for row in creates if row["code"] == 429 and not row["faults"]
            ],
            over=frozenset(
                _task(row) or ""
                for row in ledger
                if row["taskId"] in heard.keys() | last or "callback-dropped" in row["faults"]
            ),
        )

    async def next_create(self, since: float) -> float | None:
        """Return when kie.ai accepted the first create since then; unix seconds."""
        ledger = await self._data("/simulator/ledger")
        return min((at for row in ledger if (at := row["createdAt"]) >= since), default=None)

    async def longest_pause(self, since: float, until: float) -> float:
        """Return the most seconds of that time in which kie.ai accepted no create."""
        ledger = await self._data("/simulator/ledger")
        found = sorted(at for row in ledger if since <= (at := row["createdAt"]) <= until)
        pauses: list[float] = [b - a for a, b in pairwise((since, *found, until))]
        return max(pauses)

    async def _data(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self._http.get(path)).json()["data"]
        return found


def _task(row: Mapping[str, Any]) -> str | None:
    found = _TASK.search(row["callBackUrl"] or "")
    return found[1] if found else None


def _facts(row: Mapping[str, Any], true: Mapping[str, Any]) -> Facts:
    """Read the rows of the ledger and of the truth about one task."""
    return facts(true) | {"kie_created_at": int(row["createdAt"] * 1000)}


@asynccontextmanager
async def standing_in(seed: int) -> AsyncIterator[Kie]:
    """Serve a simulator of this lab's own."""
    options = Options(
        duration=DURATION,
        hmac_key=HMAC_KEY,
        seed=seed,
        start_credits=Decimal(1_000_000),
        callback_retry_delay=1.0,
    )
    async with (
        serving(create_app(options)) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http,
    ):
        yield Kie(http)
