"""Each of the simulator's named faults, and what the gateway makes of it, over real HTTP.

The gateway has its loops, HMAC keys and a public URL of its own. Questions that would come in a
minute are hastened by shifting the rows, not by waiting.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from app.config import Settings
from app.main import create_app
from simulator.faults import CREATE_REFUSALS, END_WORDS, FAULTS
from simulator.server import Options
from simulator.server import create_app as create_simulator
from tests.faults.lab.truth import facts, lacking
from tests.faults.shifting import ASK_NOW, PROBE_NOW, SKIP, waking
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
    held: bool = False
    """kie.ai is asked about the end until the time for that is over."""
    before: int = 0
    """Tasks that kie.ai took before it."""
    unproven: bool = False
    """kie.ai's answer to the create does not tell whether there is a task."""
    otherwise: bool = False
    """kie.ai's record shows another end than the callback."""

    @property
    def called_back(self) -> bool:
        """Whether no question may overtake its callback."""
        held = "held" in self.verdicts and "callback-dropped" not in self.beside
        return self.settled_by == "callback" or held


NOTHING: frozenset[str] = frozenset()
SHOWN = ("result", "result_urls", "credits_consumed", "fail_code", "fail_message")
"""Facts of kie.ai's that a task shows."""


def refused(name: str) -> Made:
    refusal = CREATE_REFUSALS[name]
    shows = {"fail_code": str(refusal.code), "fail_message": refusal.message, "fail_source": "kie"}
    return Made(state="failed", settled_by=None, verdicts=NOTHING, billed=0, shows=shows)


SENT_AGAIN = Made(creates=2)
LOST = Made(state="unconfirmed", settled_by=None, verdicts=NOTHING, billed=0, unproven=True)
EARLY = Made(settled_by="query", verdicts=frozenset({"unverified", "applied"}))
"""A callback tells of a task without an id, and kie.ai's record that it is ours."""
FOUND = replace(EARLY, unproven=True)
ASKED = Made(settled_by="query")
ASKED_LATER = Made(settled_by="query", beside=("callback-dropped",), seconds=SOON)
ASKED_FIRST = Made(settled_by="query", beside=("callback-dropped",))
ASKED_AT_ONCE = Made(settled_by="query", verdicts=frozenset({"held", "applied"}))
"""A success that shows no result: the record has it."""
NO_RESULT = replace(ASKED_AT_ONCE, held=True, shows={"result": None, "result_urls": []})
CORRECTED = Made(verdicts=frozenset({"applied", "disagreed"}))
"""Who forged a callback is believed until kie.ai is asked, and not longer."""


def unknown(name: str) -> Made:
    """Expect words that nobody knows: kept, and shown."""
    return replace(LOST, shows={"kie_message": CREATE_REFUSALS[name].message})


def doubted(verdict: str) -> Made:
    return Made(settled_by="query", verdicts=frozenset({verdict, "applied"}))


def failed(code: str | None, **shows: object) -> Made:
    return Made(state="failed", shows={"fail_code": code, "fail_source": "kie", **shows})


FOR_GOOD = (
    *("create-refused-400", "create-refused-404", "create-refused-413", "create-refused-422"),
    *("create-refused-451", "create-refused-505"),
    *("create-refused-500-parameter", "create-refused-500-option", "create-refused-500-length"),
    *("create-refused-500-operation", "create-refused-500-file-type"),
    *("create-refused-500-file-size", "create-refused-500-ratio"),
    "create-refused-500-input-file",
)
"""Refusals of the request itself."""
FOR_NOW = (
    *("create-refused-401", "create-refused-402", "create-refused-405", "create-refused-429"),
    *("create-refused-430", "create-refused-433", "create-refused-455"),
    *("create-refused-400-credits", "create-refused-422-credits", "create-refused-500-credits"),
    "create-refused-500-maintenance",
)
"""Refusals about the account, or of the moment."""
PAGES = (
    *("create-http-400", "create-http-404", "create-http-413", "create-http-422"),
    "create-http-429",
)
"""What something on the way answers before a request is worked on."""
UNANSWERED = (
    *("create-http-502", "create-closed-unread", "create-closed-after-reading", "create-hang"),
)
TAKEN_UNHEARD = (
    *("create-http-502-after-accept", "create-500-after-accept", "create-cut-off-after-accept"),
    *("create-half-answer", "create-garbage-answer", "create-empty-answer"),
    "create-hang-after-accept",
)
HIDDEN = (
    *("record-null", "record-refused-404", "record-refused-429", "record-refused-455"),
    *("record-refused-500", "record-http-502"),
)
ODD_RECORDS = (
    *("record-unknown-state", "record-input-object", "record-without-param"),
    "record-param-escaped",
)

MADE: Mapping[str, Made] = {
    **{name: refused(name) for name in FOR_GOOD},
    **dict.fromkeys((*FOR_NOW, *PAGES), SENT_AGAIN),
    **dict.fromkeys(UNANSWERED, LOST),
    "create-refused-500-unknown": unknown("create-refused-500-unknown"),
    "create-refused-501": unknown("create-refused-501"),
    "create-same-id": replace(LOST, before=1),
    **dict.fromkeys(TAKEN_UNHEARD, FOUND),
    "create-500-with-id-after-accept": replace(ASKED_FIRST, unproven=True),
    "create-code-zero": Made(),
    "create-id-at-root": Made(),
    "create-data-is-id": Made(),
    "create-slow": replace(EARLY, seconds=SOON),
    "callback-dropped": ASKED,
    "callback-duplicated": Made(verdicts=frozenset({"applied", "duplicate"})),
    "callback-late": Made(seconds=SOON),
    "callback-early": EARLY,
    "callback-forged": Made(verdicts=frozenset({"unverified", "applied"})),
    "callback-stale": doubted("stale"),
    "callback-unsigned": doubted("unverified"),
    "callback-progress-after-end": Made(verdicts=frozenset({"applied", "late"})),
    "callback-overtaken": Made(seconds=SOON),
    "callback-unparsable": doubted("unreadable"),
    "callback-ids-disagree": doubted("unverified"),
    "callback-foreign-url": Made(),
    "callback-forged-signed": CORRECTED,
    "callback-forged-after": CORRECTED,
    "callback-forged-instead": CORRECTED,
    "callback-without-result": ASKED_AT_ONCE,
    "callback-result-empty": ASKED_AT_ONCE,
    "callback-code-only-success": ASKED_AT_ONCE,
    "callback-without-credits": Made(),
    "callback-general-reason": failed(
        "1501", fail_message="Content review failed, please change the prompt."
    ),
    "callback-retried": Made(verdicts=frozenset({"applied", "duplicate"})),
    "result-without-urls": replace(
        NO_RESULT, shows={"result": {"resultUrls": []}, "result_urls": []}
    ),
    "result-object": Made(shows={"result_urls": []}),
    "result-json-object": Made(),
    "result-json-null": NO_RESULT,
    "result-json-empty": NO_RESULT,
    "result-json-absent": NO_RESULT,
    "result-json-twice": Made(),
    "result-urls-text": Made(),
    "result-urls-json-text": Made(),
    "result-large": Made(),
    **{f"result-word-{word}": Made() for word in END_WORDS["success"]},
    **{f"result-word-{word}": failed("500") for word in END_WORDS["fail"]},
    "result-fail-code-number": failed("422"),
    "result-fail-code-word": failed("GENERATION_FAILED"),
    "result-fail-code-null": failed("501"),
    "result-timeout": Made(
        state="failed",
        settled_by="query",
        verdicts=frozenset({"held", "applied"}),
        held=True,
        shows={"fail_code": "524", "fail_class": "timeout"},
    ),
    "result-timeout-then-success": replace(
        ASKED_AT_ONCE, seconds=3 * SOON, beside=("callback-dropped",)
    ),
    "result-withdrawn": failed("500", credits_consumed=0),
    "result-credits-2025": Made(),
    "result-credits-2026": Made(),
    "result-files": Made(),
    **{name: Made() for name, fault in FAULTS.items() if fault.kind == "file"},
    **dict.fromkeys(HIDDEN, replace(ASKED_LATER, seconds=2 * SOON)),
    "record-refused-501": replace(
        ASKED_FIRST, state="failed", shows={"fail_code": "501"}, otherwise=True
    ),
    **dict.fromkeys(ODD_RECORDS, ASKED_FIRST),
    "record-contradicts": Made(
        state="failed",
        settled_by="query",
        verdicts=frozenset({"applied", "disagreed"}),
        otherwise=True,
    ),
    "record-foreign-url": CORRECTED,
    "record-result-late": replace(ASKED_AT_ONCE, seconds=SOON),
    "record-credits-late": Made(seconds=SOON),
}
"""Every fault's name, and what the gateway makes of it."""


def parameters(name: str) -> dict[str, float]:
    """Give the parameters of a fault as the simulator takes them."""
    seconds = MADE[name].seconds
    return {} if seconds is None else {"seconds": seconds}


def test_no_fault_is_without_an_answer() -> None:
    assert set(MADE) == set(FAULTS)


AFTER_A_WORD = " AND (finished_at IS NOT NULL OR held_since IS NOT NULL)"


@dataclass(frozen=True, slots=True)
class Stage:
    """A gateway and the simulator that it takes for kie.ai."""

    gateway: Gateway
    simulator: httpx.AsyncClient
    sql: Any

    async def provoke(self, name: str, made: Made) -> None:
        for _ in range(made.before):
            task = await self.gateway.create()
            await self.gateway.reaches(task["id"], "running", "succeeded")
        faults = {each: parameters(each) for each in (name, *made.beside)}
        answer = await self.simulator.post("/simulator/next", json={"fault": faults})
        assert answer.status_code == 200, answer.text

    async def becomes(self, task_id: str, made: Made) -> dict[str, Any]:
        """Hasten what is owed until the task is as expected, or patience ends."""
        found: dict[str, Any] = {}

        async def look() -> bool | None:
            nonlocal found
            await self._hasten(made)
            found = await self.gateway.task(task_id)
            seen = set(await self.gateway.verdicts(task_id))
            there = found["state"] == made.state and made.verdicts <= seen
            return (there and await self.unlike(found, made) == []) or None

        with contextlib.suppress(TimeoutError):  # who asserts says what is missing
            await eventually(look)
        return found

    async def _hasten(self, made: Made) -> None:
        """Make due what waits for a later minute."""
        update = SKIP if made.held else ASK_NOW + AFTER_A_WORD * made.called_back
        await self.sql.execute(waking(update, "poll"))
        for statement in PROBE_NOW:
            await self.sql.execute(statement)

    async def unlike(self, task: dict[str, Any], made: Made) -> list[str]:
        """Name what of the task is not as expected, or not as kie.ai has it."""
        wrong = [name for name in made.shows if task[name] != made.shows[name]]
        rows = await self.rows("truth")
        own = next((row for row in rows if task["id"] in row["callBackUrl"]), None)
        if own is None or made.otherwise or task["settled_by"] is None:
            return wrong
        return wrong + lacking(task, facts(own), SHOWN)

    async def rows(self, what: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.simulator.get(f"/simulator/{what}")).json()[
            "data"
        ]
        return found


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


TOLD_ELSEWHERE = ("result-", "create-refused-")
"""Beginnings of names whose every shape and word `tests/kie` and the field facts read as well."""
NAMES = [
    pytest.param(name, marks=pytest.mark.long) if name.startswith(TOLD_ELSEWHERE) else name
    for name in MADE
]


@pytest.mark.parametrize("name", NAMES)
async def test_named(name: str, stage: Stage) -> None:
    made = MADE[name]
    await stage.provoke(name, made)
    created = await stage.gateway.create(model="google/nano-banana", input={"prompt": "a cat"})
    task = await stage.becomes(created["id"], made)
    assert (task["state"], task["settled_by"]) == (made.state, made.settled_by)
    assert made.verdicts <= set(await stage.gateway.verdicts(task["id"]))
    assert await stage.unlike(task, made) == []
    creates, ledger = await stage.rows("creates"), await stage.rows("ledger")
    counts = (len(creates) - made.before, len(ledger) - made.before)
    assert counts == (made.creates, made.billed)


@pytest.mark.parametrize("hidden", HIDDEN)
async def test_a_create_whose_answer_and_first_record_are_missing_is_found(
    hidden: str, stage: Stage
) -> None:
    lost = "create-cut-off-after-accept"
    made = replace(MADE[lost], beside=(hidden,))
    await stage.provoke(lost, made)
    created = await stage.gateway.create()
    task = await stage.becomes(created["id"], made)
    assert (task["state"], await stage.unlike(task, made)) == ("succeeded", [])


async def test_a_lost_create_is_never_sent_again(stage: Stage) -> None:
    await stage.provoke("create-hang", MADE["create-hang"])
    created = await stage.gateway.create()
    await stage.becomes(created["id"], MADE["create-hang"])
    for _ in range(3):
        other = await stage.gateway.create()
        await stage.gateway.reaches(other["id"], "succeeded")
    assert (await stage.gateway.task(created["id"]))["state"] == "unconfirmed"
    assert len(await stage.rows("creates")) == 4
