"""Bodies that nobody would write, sent to every operation that reads one.

Each answer is a documented one, a refusal is a problem document, and nothing is kept of what was
refused. Every run sends the same bodies.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest_asyncio
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from app.domain import exact_json as documents
from tests.api.stage import Sql, operations, problem
from tests.gateway import BODY, Gateway
from tests.stage import PATIENCE
from tests.upstream import Upstream, refused, succeeded

REPEATABLE = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=settings().max_examples * 3 // 2,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)

hostile_texts = st.text(max_size=40) | st.sampled_from(
    ["", "\0", "\ud800", "\udfff\ud83d", "\uffff", "\u202e", "🐱" * 300, "a" * 70_000, "{}", "null"]
)
numbers = (
    st.integers()
    | st.integers(10**300, 10**301)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.sampled_from([-0.0, 1e308, 5e-324, 2**63, -(2**63) - 1])
)
scalars = st.none() | st.booleans() | numbers | hostile_texts
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(hostile_texts, inner, max_size=5),
    max_leaves=25,
)
VALID: dict[str, dict[str, Any]] = {
    "create": {
        **BODY,
        "webhook_url": "https://h.test/hook",
        "metadata": {"order": "A-1017"},
        "priority": 5,
        "submit_within": 60,
    },
    "wait": {"ids": ["019a0000-0000-7000-8000-000000000000"], "mode": "any", "timeout": 0},
    "callback": succeeded("5" * 32),
}


@st.composite
def mutated(draw: st.DrawFn, valid: dict[str, Any]) -> Any:
    """Put anything in some places of a valid body, at any depth, or add or drop a member."""
    body: Any = json.loads(json.dumps(valid))
    for _ in range(draw(st.integers(1, 3))):
        here, path = body, draw(st.integers(0, 3))
        while path and isinstance(here, dict) and here:
            name = draw(st.sampled_from(sorted(here)))
            if path == 1 or not isinstance(here[name], dict):
                here[name] = draw(anything)
                break
            here, path = here[name], path - 1
        if not isinstance(here, dict):
            continue
        adds, drops = draw(st.booleans()), draw(st.booleans())
        if adds:
            here[draw(hostile_texts)] = draw(anything)
        elif here and drops:
            here.pop(draw(st.sampled_from(sorted(here))))
    return body


def written(body: object) -> bytes:
    """Write it down as lax senders do: NaN and lone surrogates included."""
    return json.dumps(body, ensure_ascii=True, allow_nan=True).encode()


@st.composite
def damaged(draw: st.DrawFn, valid: dict[str, Any]) -> bytes:
    """Cut a valid body short and change some bytes."""
    body = bytearray(written(valid))
    for _ in range(draw(st.integers(0, 4))):
        body[draw(st.integers(0, len(body) - 1))] = draw(st.integers(0, 255))
    return bytes(body[: draw(st.integers(0, len(body)))])


@st.composite
def nested(draw: st.DrawFn, valid: dict[str, Any]) -> bytes:
    """Nest a member deeper than anyone reads, or nearly so."""
    name = draw(st.sampled_from(sorted(valid)))
    depth = draw(st.sampled_from([1, 50, 98, 99, 100, 101, 500, 5_000, 100_000]))
    opened, closed = draw(st.sampled_from([("[", "]"), ('{"a":', "}")]))
    deep = opened * depth + "0" + closed * depth
    return json.dumps({**valid, name: "?"}).replace('"?"', deep).encode()


def bodies(kind: str) -> st.SearchStrategy[bytes]:
    valid = VALID[kind]
    return st.one_of(
        anything.map(written),
        mutated(valid).map(written),
        mutated(valid).map(written),
        damaged(valid),
        nested(valid),
        st.binary(max_size=200),
    )


@pytest_asyncio.fixture
async def fast(gateway: Gateway, upstream: Upstream) -> Gateway:
    """A gateway whose tasks fail at once."""
    upstream.answers(lambda: refused(422, "no"))
    return gateway


def documented(spec: dict[str, Any], path: str) -> set[int]:
    return {int(status) for status in operations(spec)[("POST", path)]["responses"]}


async def every(
    kind: str, check: Callable[[bytes], Coroutine[Any, Any, None]], *more: bytes
) -> None:
    """Check with every body; hypothesis blocks, so it gets a thread and the checks come back."""
    loop = asyncio.get_running_loop()

    @REPEATABLE
    @given(body=bodies(kind))
    def run(body: bytes) -> None:
        asyncio.run_coroutine_threadsafe(check(body), loop).result(PATIENCE)

    for body in more:
        run = example(body=body)(run)
    await asyncio.to_thread(run)


async def test_a_task_is_kept_if_and_only_if_it_is_answered(
    fast: Gateway, sql: Sql, upstream: Upstream, spec: dict[str, Any]
) -> None:
    kept, allowed, seen = 0, documented(spec, "/v1/tasks"), set()

    async def send(body: bytes) -> None:
        nonlocal kept
        answer = await fast.post(body)
        seen.add(answer.status_code)
        assert answer.status_code in allowed - {500, 503}
        if answer.status_code == 201:
            kept += 1
            sent = documents.parse(body)
            assert isinstance(sent, dict)
            read = await fast.http.get(answer.headers["location"])
            assert (read.status_code, read.content) == (200, answer.content)
        else:
            problem(answer)
        assert await sql.fetchval("SELECT count(*) FROM tasks") == kept == len(upstream.creates)

    await every("create", send, written(VALID["create"]))
    assert seen == {201, 400, 422}


async def test_a_wait_is_answered_or_refused(fast: Gateway, sql: Sql, spec: dict[str, Any]) -> None:
    task = await fast.create()
    allowed, seen = documented(spec, "/v1/tasks/wait"), set()

    async def send(body: bytes) -> None:
        answer = await fast.http.post("/v1/tasks/wait", content=body)
        seen.add(answer.status_code)
        assert answer.status_code in allowed - {500, 503}
        if answer.status_code != 200:
            problem(answer)

    await every("wait", send, written({**VALID["wait"], "ids": [task["id"]]}))
    assert {200, 400, 422} <= seen <= {200, 400, 404, 422}  # few bodies name a task that is none
    assert await sql.fetchval("SELECT count(*) FROM tasks") == 1


MANY = 40
"""Bodies for one task: beyond 50 only numbers are kept."""


async def test_a_callback_is_kept_byte_for_byte_whatever_it_is(
    gateway: Gateway, sql: Sql, upstream: Upstream, spec: dict[str, Any]
) -> None:
    """Nobody who has the address is ever told that what it said is wrong."""
    allowed = documented(spec, "/callbacks/kie/{task_id}/{token}")
    sent: list[bytes] = []
    tasks = [await gateway.create()]

    async def send(body: bytes) -> None:
        if len(sent) % MANY == 0:
            tasks.append(await gateway.create())
        answer = await gateway.call_back(upstream.callback_path, body)
        assert answer.status_code == 200
        assert answer.status_code in allowed
        sent.append(body)
        lost = await gateway.call_back(upstream.callback_path + "x", body)
        assert problem(lost)["status"] in allowed
        read = await gateway.http.get(tasks[-1]["urls"]["callbacks"])
        assert read.status_code == 200

    await every("callback", send)
    stored = await sql.fetch("SELECT body, times_seen FROM callbacks")
    kept: Counter[bytes] = Counter()
    for row in stored:
        kept[row["body"]] += row["times_seen"]
    assert kept == Counter(sent)
    assert len(sent) >= settings().max_examples
