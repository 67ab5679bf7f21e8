"""What people saw kie.ai answer: through the real receiver and client, down to the caller.

Each fact is told by callback (with the record behind it) and by kie.ai's record alone, with
callbacks on and without a public URL. Time passes by shifting rows.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.responses import JSONResponse, PlainTextResponse

from app.services.services import Services
from tests.fixtures.gateway import StartGateway, Wire
from tests.gateway import Gateway
from tests.services.stage import ask, due_now
from tests.upstream import Upstream


@pytest.fixture
def start_gateway(start_shared: StartGateway) -> StartGateway:
    """Few for all of these tests: they leave nothing in a gateway but rows."""
    return start_shared


A, B = "https://tempfile.test/a.png", "https://tempfile.test/b.mp4"
TURNED = {"state": "fail", "failCode": "524", "failMsg": "generate task timeout."}
REASON = "Content review failed, please change the prompt."
TRANSCRIPT = "word " * 320_000


def urls(*found: str) -> str:
    return json.dumps({"resultUrls": found})


def done(**members: Any) -> dict[str, Any]:
    return {"state": "success", "resultJson": urls(A), "creditsConsumed": 4.0, **members}


@dataclass(frozen=True)
class Fact:
    """What kie.ai says, and what the task then shows."""

    record: Mapping[str, Any]
    """The `data` of the record at last."""
    shows: Mapping[str, Any]
    callback: Mapping[str, Any] | None = None
    """The `data` of the callback, where it differs; envelope members beside it by `code`, `msg`."""
    before: Sequence[Mapping[str, Any]] = ()
    """What the record says first, asked 20 s apart."""
    envelope: Mapping[str, Any] = field(default_factory=lambda: {"code": 200, "msg": "ok"})


def succeeds(*found: str, **shows: Any) -> dict[str, Any]:
    return {"state": "succeeded", "result_urls": list(found), "fail_code": None, **shows}


def fails(code: str, fail_class: str, **shows: Any) -> dict[str, Any]:
    return {"state": "failed", "fail_code": code, "fail_class": fail_class, **shows}


FAILS = {"code": 501, "msg": "Playground task failed."}

FACTS: Mapping[str, Fact] = {
    "a success callback without its result": Fact(
        done(), succeeds(A, credits_consumed=4), {"state": "success"}
    ),
    "a success callback with an empty result": Fact(
        done(), succeeds(A), {"state": "success", "resultJson": ""}
    ),
    "a result that comes second in the record too": Fact(
        done(),
        succeeds(A, credits_consumed=4),
        {"state": "success", "resultJson": None},
        before=[done(resultJson="", creditsConsumed=None)] * 2,
    ),
    "credits only in the record": Fact(
        done(creditsConsumed=4.5),
        succeeds(A, credits_consumed=4.5),
        {"state": "success", "resultJson": urls(A)},
    ),
    "a notice of completion": Fact(done(), succeeds(A), {}),
    "the real reason only in the record": Fact(
        {"state": "fail", "failCode": "1501", "failMsg": REASON, "creditsConsumed": 0},
        fails("1501", "content", fail_message=REASON, retryable=False, credits_consumed=0),
        {"state": "fail"},
        envelope=FAILS,
    ),
    "a failure that turns around": Fact(
        done(), succeeds(A, fail_class=None), TURNED, before=[TURNED] * 3, envelope=FAILS
    ),
    "resultUrls as JSON text": Fact(
        done(resultJson=json.dumps({"resultUrls": json.dumps([A, B])})), succeeds(A, B)
    ),
    "resultUrls as one text": Fact(done(resultJson=json.dumps({"resultUrls": A})), succeeds(A)),
    "resultJson twice encoded": Fact(done(resultJson=json.dumps(urls(A, B))), succeeds(A, B)),
    "resultJson as an object": Fact(done(resultJson={"resultUrls": [A]}), succeeds(A)),
    "no URLs at all": Fact(
        done(resultJson=json.dumps({"resultObject": {"text": "hello"}})),
        succeeds(result={"resultObject": {"text": "hello"}}),
    ),
    "a transcript of 1.6 MB": Fact(
        done(resultJson=json.dumps({"resultObject": TRANSCRIPT})),
        succeeds(result={"resultObject": TRANSCRIPT}),
    ),
    "an input that comes back escaped twice": Fact(
        done(param=json.dumps({"input": json.dumps({"prompt": '"' * 300_000})})), succeeds(A)
    ),
    **{
        f"the end word {word}": Fact(done(state=word), succeeds(A))
        for word in ("succeeded", "succeed", "completed", "done", "SUCCESS")
    },
    **{
        f"the end word {word}": Fact(
            {"state": word, "failCode": "422", "failMsg": "blocked"},
            fails("422", "content", fail_message="blocked"),
            envelope=FAILS,
        )
        for word in ("failed", "error", "FAIL")
    },
    "a model that was withdrawn": Fact(
        {"state": "fail", "failCode": 500, "failMsg": "", "creditsConsumed": 0},
        fails("500", "provider", credits_consumed=0),
        envelope=FAILS,
    ),
}


async def _ask(services: Services, sql: Any, seconds: float = 20.0) -> None:
    await sql.execute(
        "UPDATE tasks SET held_since = held_since - make_interval(secs => $1)", seconds
    )
    await due_now(sql)
    await ask(services)


@pytest.mark.parametrize(
    "way",
    ["callback", pytest.param("callback lost", marks=pytest.mark.long), "no public URL"],
)
@pytest.mark.parametrize("name", FACTS)
async def test_what_kie_says_reaches_the_caller(
    name: str,
    way: str,
    start_gateway: StartGateway,
    wire: Wire,
    upstream: Upstream,
    sql: Any,
) -> None:
    fact = FACTS[name]
    settings = {"public_url": None} if way == "no public URL" else {}
    gateway = await start_gateway(kie_confirm="auto", **settings)
    services = await wire(kie_confirm="auto", **settings)
    task = await gateway.create()
    kie_task_id = task["kie_task_id"]
    if way == "callback":
        data = {"taskId": kie_task_id, **(fact.record if fact.callback is None else fact.callback)}
        answer = await gateway.call_back(upstream.callback_path, {**fact.envelope, "data": data})
        assert answer.status_code == 200
    for record in (*fact.before, fact.record):
        told = {"taskId": kie_task_id, **record}
        upstream.records[kie_task_id] = {"code": 200, "msg": "success", "data": told}
        await _ask(services, sql)
    after = await gateway.task(task["id"])
    assert {name: after[name] for name in fact.shows} == fact.shows
    assert after["confirmed"]


# -- what kie.ai answers to a create


OPTION = "output_format is not within the range of allowed options"
CREATES: Mapping[str, tuple[Any, dict[str, Any]]] = {
    "a value that is not allowed": (
        {"code": 500, "msg": OPTION, "data": None},
        fails("500", "input", fail_message=OPTION, kie_message=OPTION, retryable=False),
    ),
    "a text that is too long": (
        {"code": 500, "msg": "The text length cannot exceed the maximum limit", "data": None},
        fails("500", "input"),
    ),
    "an operation that was withdrawn": (
        {"code": 500, "msg": "Operation not found: google/nano-banana", "data": None},
        fails("500", "input"),
    ),
    "no credits under 500": (
        {
            "code": 500,
            "msg": "Credits insufficient : Your current balance isn't enough to run this "
            "request. Please top up to continue.",
            "data": None,
        },
        {"state": "queued", "fail_class": None},
    ),
    "no credits under 422": (
        {"code": 422, "msg": "Insufficient credits, please top up", "data": None},
        {"state": "queued"},
    ),
    "maintenance under 500": (
        {"code": 500, "msg": "The model is being maintained, please try again later"},
        {"state": "queued"},
    ),
    "words that nobody knows": (
        {"code": 500, "msg": "Server exception", "data": None},
        {"state": "unconfirmed", "kie_message": "Server exception", "kie_task_id": None},
    ),
    "code zero": ({"code": 0, "msg": "success", "data": {"taskId": "k"}}, {"kie_task_id": "k"}),
    "the id at the root": ({"code": 200, "msg": "success", "taskId": "k"}, {"kie_task_id": "k"}),
    "data is the id": (
        {"code": 200, "msg": "success", "data": f"{7:032x}"},
        {"state": "running", "kie_task_id": f"{7:032x}"},
    ),
    "a proxy's page": (PlainTextResponse("<html>", 404), {"state": "queued", "fail_code": None}),
    "a proxy's 422": (PlainTextResponse("<html>", 422), {"state": "queued"}),
    "a proxy's 413": (PlainTextResponse("<html>", 413), {"state": "queued"}),
}


@pytest.mark.parametrize("public_url", ["https://gateway.test", None])
@pytest.mark.parametrize("name", CREATES)
async def test_what_kie_answers_to_a_create(
    name: str, public_url: str | None, start_gateway: StartGateway, upstream: Upstream
) -> None:
    answer, shows = CREATES[name]
    upstream.answers(lambda: JSONResponse(answer) if isinstance(answer, dict) else answer)
    gateway: Gateway = await start_gateway(public_url=public_url)
    task = await gateway.create()
    assert {name: task[name] for name in shows} == shows
