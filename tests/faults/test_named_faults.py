"""Each of the simulator's named faults, and what the gateway makes of it, over real HTTP.

The gateway has its loops, HMAC keys and a public URL of its own. Questions that would come in a
minute are hastened by shifting the rows, not by waiting.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from app.config import Settings
from app.main import create_app
from simulator.faults import FAULTS
from simulator.server import Options
from simulator.server import create_app as create_simulator
from tests.gateway import Gateway
from tests.stage import eventually, serving, serving_at

HMAC_KEY = "webhook-hmac-key-not-to-be-shown"
SOON = 0.3
"""Seconds in the place of a fault's own, which are a user's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What the gateway makes of a fault."""

    state: str = "succeeded"
    settled_by: str | None = "callback"
    verdicts: frozenset[str] = frozenset({"applied"})
    """Verdicts that stand beside the task in the end; more of the same are allowed."""
    creates: int = 1
    billed: int = 1
    shows: Mapping[str, object] = field(default_factory=dict)
    """Fields of the task."""
    beside: tuple[str, ...] = ()
    """Faults that are needed for this one to be noticed."""
    seconds: float | None = None
    """The fault's parameter in this test."""


def refused(code: str, message: str) -> Made:
    shows = {"fail_code": code, "fail_message": message, "fail_source": "kie"}
    nothing: frozenset[str] = frozenset()
    return Made(state="failed", settled_by=None, verdicts=nothing, billed=0, shows=shows)


SENT_AGAIN = Made(creates=2)
LOST = Made(state="unconfirmed", settled_by=None, verdicts=frozenset(), billed=0)
FOUND_BY_CALLBACK = Made()
ASKED = Made(settled_by="query")
ASKED_LATER = Made(settled_by="query", beside=("callback-dropped",), seconds=SOON)


def doubted(verdict: str) -> Made:
    return Made(settled_by="query", verdicts=frozenset({verdict, "applied"}))


def failed(code: str | None) -> Made:
    return Made(state="failed", shows={"fail_code": code, "fail_source": "kie"})


MADE: Mapping[str, Made] = {
    "create-refused-400": refused("400", "Invalid request parameters"),
    "create-refused-401": SENT_AGAIN,
    "create-refused-402": SENT_AGAIN,
    "create-refused-404": refused("404", "Not Found"),
    "create-refused-405": SENT_AGAIN,
    "create-refused-413": refused("413", "The prompt is too long"),
    "create-refused-422": refused("422", "The prompt holds prohibited content"),
    "create-refused-429": SENT_AGAIN,
    "create-refused-430": SENT_AGAIN,
    "create-refused-433": SENT_AGAIN,
    "create-refused-451": refused("451", "Failed to fetch the image"),
    "create-refused-455": SENT_AGAIN,
    "create-refused-500-parameter": refused("500", "aspect_ratio is required"),
    "create-refused-500-credits": SENT_AGAIN,
    "create-refused-500-unknown": LOST,
    "create-refused-501": LOST,
    "create-refused-505": refused("505", "This feature is disabled"),
    "create-http-404": SENT_AGAIN,
    "create-http-429": SENT_AGAIN,
    "create-http-502": LOST,
    "create-closed-unread": LOST,
    "create-closed-after-reading": LOST,
    "create-hang": LOST,
    "create-http-502-after-accept": FOUND_BY_CALLBACK,
    "create-500-after-accept": FOUND_BY_CALLBACK,
    "create-cut-off-after-accept": FOUND_BY_CALLBACK,
    "create-half-answer": FOUND_BY_CALLBACK,
    "create-garbage-answer": FOUND_BY_CALLBACK,
    "create-empty-answer": FOUND_BY_CALLBACK,
    "create-hang-after-accept": FOUND_BY_CALLBACK,
    "create-slow": Made(seconds=SOON),
    "callback-dropped": ASKED,
    "callback-duplicated": Made(verdicts=frozenset({"applied", "duplicate"})),
    "callback-late": Made(seconds=SOON),
    "callback-early": Made(),
    "callback-forged": Made(verdicts=frozenset({"unverified", "applied"})),
    "callback-stale": doubted("stale"),
    "callback-unsigned": doubted("unverified"),
    "callback-progress-after-end": Made(verdicts=frozenset({"applied", "late"})),
    "callback-overtaken": Made(seconds=SOON),
    "callback-unparsable": doubted("unreadable"),
    "callback-ids-disagree": doubted("unverified"),
    "callback-foreign-url": Made(),
    "callback-retried": Made(verdicts=frozenset({"applied", "duplicate"})),
    "result-without-urls": Made(shows={"result": {"resultUrls": []}, "result_urls": []}),
    "result-object": Made(shows={"result_urls": []}),
    "result-json-object": Made(),
    "result-json-null": Made(shows={"result": None, "result_urls": []}),
    "result-json-empty": Made(shows={"result": None, "result_urls": []}),
    "result-json-absent": Made(shows={"result": None, "result_urls": []}),
    "result-fail-code-number": failed("422"),
    "result-fail-code-word": failed("GENERATION_FAILED"),
    "result-fail-code-null": failed("501"),
    "result-credits-2025": Made(shows={"credits_consumed": 4}),
    "result-credits-2026": Made(shows={"credits_consumed": 4}),
    "record-null": ASKED_LATER,
    "record-refused-404": ASKED_LATER,
    "record-refused-429": ASKED_LATER,
    "record-refused-455": ASKED_LATER,
    "record-refused-500": ASKED_LATER,
    "record-refused-501": Made(
        state="failed",
        settled_by="query",
        beside=("callback-dropped",),
        shows={"fail_code": "501"},
    ),
    "record-http-502": ASKED_LATER,
    "record-unknown-state": Made(settled_by="query", beside=("callback-dropped",)),
    "record-contradicts": Made(verdicts=frozenset({"applied", "disagreed"})),
    "record-input-object": Made(settled_by="query", beside=("callback-dropped",)),
}
"""Every fault's name, and what the gateway makes of it."""


def test_no_fault_is_without_an_answer() -> None:
    assert set(MADE) == set(FAULTS)


ASK_NOW = "UPDATE tasks SET due_at = now() WHERE due_at > now() AND state <> 'succeeded'"
PROBE_NOW = """
WITH held AS (
  UPDATE kie_account SET held_until = now() WHERE held_until > now() RETURNING id
)
SELECT pg_notify('kie_gateway', 'probe,queue') FROM held
"""
"""Ends the wait of a hold, and wakes the loops: theirs is longer than a test's patience."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A gateway and the simulator that it takes for kie.ai."""

    gateway: Gateway
    simulator: httpx.AsyncClient
    sql: Any

    async def provoke(self, name: str, made: Made) -> None:
        seconds = {} if made.seconds is None else {"seconds": made.seconds}
        faults = {name: seconds, **{other: {} for other in made.beside}}
        answer = await self.simulator.post("/simulator/next", json={"fault": faults})
        assert answer.status_code == 200, answer.text

    async def becomes(self, task_id: str, made: Made) -> dict[str, Any]:
        """Hasten what is owed until the task is as expected; no question overtakes a callback."""

        async def look() -> dict[str, Any] | None:
            if made.settled_by != "callback":
                await self.sql.execute(ASK_NOW)
            await self.sql.execute(PROBE_NOW)
            task = await self.gateway.task(task_id)
            seen = set(await self.gateway.verdicts(task_id))
            there = task["state"] == made.state and made.verdicts <= seen
            return task if there else None

        return await eventually(look)


@pytest_asyncio.fixture
async def stage(sql: Any, make_settings: Callable[..., Settings]) -> AsyncIterator[Stage]:
    options = Options(duration=0.2, hmac_key=HMAC_KEY, callback_retry_delay=0.05)
    async with serving(create_simulator(options)) as upstream:
        settings = make_settings(
            kie_base_url=upstream,
            kie_webhook_hmac_keys=(SecretStr(HMAC_KEY),),
            kie_timeout=1.0,
            submit_wait=0.5,
            kie_queries_per_second=20,
        )

        def own(url: str) -> Any:
            return create_app(settings.model_copy(update={"public_url": url}))

        async with (
            serving_at(own) as url,
            Gateway.at(url, settings) as gateway,
            httpx.AsyncClient(base_url=upstream, trust_env=False) as simulator,
        ):
            yield Stage(gateway, simulator, sql)


@pytest.mark.parametrize("name", MADE)
async def test_named(name: str, stage: Stage) -> None:
    made = MADE[name]
    await stage.provoke(name, made)
    created = await stage.gateway.create(model="google/nano-banana", input={"prompt": "a cat"})
    task = await stage.becomes(created["id"], made)
    assert task["settled_by"] == made.settled_by
    assert {field: task[field] for field in made.shows} == made.shows
    creates = (await stage.simulator.get("/simulator/creates")).json()["data"]
    ledger = (await stage.simulator.get("/simulator/ledger")).json()["data"]
    assert (len(creates), len(ledger)) == (made.creates, made.billed)


async def test_a_lost_create_is_never_sent_again(stage: Stage) -> None:
    await stage.provoke("create-hang", MADE["create-hang"])
    created = await stage.gateway.create()
    await stage.becomes(created["id"], MADE["create-hang"])
    for _ in range(3):
        other = await stage.gateway.create()
        await stage.gateway.reaches(other["id"], "succeeded")
    assert (await stage.gateway.task(created["id"]))["state"] == "unconfirmed"
    creates = (await stage.simulator.get("/simulator/creates")).json()["data"]
    assert len(creates) == 4
