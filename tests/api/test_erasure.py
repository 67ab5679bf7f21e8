"""What is erased is gone from every table, log, metric and answer: hunted for by marks.

Each text that a client, kie.ai or a receiver can write has a mark of its own. After the erasure
every column of every table is searched for all of them, bytes as bytes, hashes not.
"""

import io
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from app.services.services import Services
from tests.api.conftest import IssueKey, StartInside
from tests.api.stage import NOBODY, Sql
from tests.gateway import OPERATOR, Gateway
from tests.services.callers import Caller, listening
from tests.services.stage import ask, due_now
from tests.upstream import Upstream, accepted, failed, succeeded

MARKS = {
    name: f"zq{name}zq"
    for name in (
        *("model", "input", "metadatakey", "metadatavalue", "hookpath", "hookquery", "key"),
        *("kieid", "result", "resulturl", "failmessage", "raw", "junk", "callbackagent"),
        *("kierequestid", "answer", "answertype", "refusal", "useragent", "defaulthook"),
    )
}


@pytest_asyncio.fixture
async def caller() -> AsyncIterator[Caller]:
    async with listening() as caller:
        yield caller


async def found_marks(sql: Sql) -> set[str]:
    """Search every column of every table; bytes as bytes."""
    columns = await sql.fetch(
        "SELECT table_name, array_agg(CASE data_type WHEN 'bytea'"
        " THEN format('encode(%1$I, ''escape'') AS %1$I', column_name)"
        " ELSE format('%1$I::text', column_name) END) AS texts"
        " FROM information_schema.columns WHERE table_schema = 'public' GROUP BY table_name"
    )
    found = set()
    for table, texts in columns:
        for row in await sql.fetch(f'SELECT {", ".join(texts)} FROM "{table}"'):  # noqa: S608  # ours
            for column, text in row.items():
                found |= {f"{table}.{column}: {name}" for name in mentioned(text or "")}
    return found


def mentioned(text: str) -> set[str]:
    return {name for name, mark in MARKS.items() if mark in text}


async def furnish(
    gateway: Gateway, services: Services, upstream: Upstream, caller: Caller, sql: Sql
) -> list[str]:
    """Leave every mark in a client's two tasks, one failed and one succeeded; returns their ids."""

    async def create(_: Any) -> Any:
        return accepted(f"{MARKS['kieid']}{len(upstream.creates)}")

    upstream.on_create = create
    caller.body = MARKS["answer"].encode()
    caller.says(503, **{"Content-Type": f"text/{MARKS['answertype']}"})
    ids = []
    for number, end in enumerate((succeeded, failed)):
        body = {
            "model": MARKS["model"],
            "input": {"prompt": MARKS["input"]},
            "metadata": {MARKS["metadatakey"]: MARKS["metadatavalue"]},
            "webhook_url": f"{caller.url}/{MARKS['hookpath']}?q={MARKS['hookquery']}",
        }
        answer = await gateway.http.post(
            "/v1/tasks",
            json=body,
            headers={
                "Idempotency-Key": f"{MARKS['key']}{number}",
                "User-Agent": MARKS["useragent"],
            },
        )
        assert answer.status_code == 201, answer.text
        task = answer.json()
        ids.append(task["id"])
        record = end(task["kie_task_id"])
        record["msg"] = MARKS["raw"]
        if end is succeeded:
            record["data"]["resultJson"] = json.dumps(
                {
                    "resultUrls": [f"https://x.test/{MARKS['resulturl']}"],
                    "more": MARKS["result"],
                }
            )
        else:
            record["data"]["failMsg"] = MARKS["failmessage"]
        upstream.has(task["kie_task_id"], record)
        headers = {"User-Agent": MARKS["callbackagent"], "X-Request-ID": MARKS["kierequestid"]}
        for said in (record, f"not JSON: {MARKS['junk']}".encode()):
            answer = await gateway.call_back(upstream.callback_path, said, headers)
            assert answer.status_code == 200
        await due_now(sql)
        await ask(services)
    for _ in range(2):
        await services.deliverer.deliver_due()
        await services.deliverer.drain()
        await due_now(sql)
    await services.numbering.number()
    return ids


async def test_nothing_of_an_erased_client_is_left(
    start_inside: StartInside,
    upstream: Upstream,
    caller: Caller,
    sql: Sql,
    logged: io.StringIO,
) -> None:
    inside = await start_inside(delivery_allow_loopback=True)
    gateway, services = inside.gateway, inside.services
    ids = await furnish(gateway, services, upstream, caller, sql)
    paths = [one["callBackUrl"] for one in upstream.creates]
    held = {
        "hold_reason": "kie_busy",
        "hold_detail": MARKS["refusal"],
        "model": MARKS["model"],
    }
    await sql.execute(
        "INSERT INTO kie_breakers (client_id, hold_reason, hold_detail, model, held_until)"
        " SELECT id, $1, $2, $3, now() FROM clients",
        *held.values(),
    )
    await sql.execute(
        "UPDATE clients SET webhook_url = 'https://h.test/' || $1", MARKS["defaulthook"]
    )
    await services.sweeper.sweep()  # what was booked is in sums by now, metadata included
    before = await found_marks(sql)
    assert "usage_daily.value: metadatavalue" in before
    unseen = set(MARKS) - {place.partition(": ")[2] for place in before}
    assert unseen == {"useragent"}, "each other mark is somewhere, or this test shows nothing"

    erased = await services.erasure.client(OPERATOR, "tests")
    assert erased.left == {}
    for path, task_id in zip(paths, ids, strict=True):
        late = {"code": 200, "msg": MARKS["raw"], "data": {"taskId": MARKS["kieid"]}}
        headers = {"User-Agent": MARKS["callbackagent"]}
        assert (await gateway.call_back(path, late, headers)).status_code == 200
        assert await sql.fetchval("SELECT count(*) FROM tasks WHERE id = $1", UUID(task_id)) == 0
    await services.deliverer.deliver_due()
    await services.poller.poll_due()
    await services.numbering.number()
    assert await found_marks(sql) == {"usage_daily.model: model"}
    assert mentioned((await gateway.http.get("/metrics")).text) == set()
    # The log names ids, kie.ai's too, as docs/retention.md says: it is no part of the database.
    assert mentioned(logged.getvalue()) <= {"kieid", "kierequestid"}
    left = await sql.fetch("SELECT * FROM erased_tasks")
    assert {row["id"] for row in left} == {UUID(one) for one in ids}
    assert {row["key_digest"] for row in left} == {None}
    (client,) = await sql.fetch("SELECT * FROM clients")
    kept = {name: value for name, value in client.items() if value not in (None, b"", False)}
    assert kept.keys() == {"id", "name", "weight", "created_at", "erasing_at", "erased_at"}


async def test_nothing_of_an_erased_task_is_left(
    start_inside: StartInside,
    upstream: Upstream,
    caller: Caller,
    sql: Sql,
    new_key: IssueKey,
) -> None:
    inside = await start_inside(delivery_allow_loopback=True)
    gateway, services = inside.gateway, inside.services
    ids = await furnish(gateway, services, upstream, caller, sql)
    path = upstream.callback_path
    for task_id in ids:
        answer = await gateway.http.delete(f"/v1/tasks/{task_id}")
        assert (answer.status_code, answer.content) == (204, b"")
    await gateway.call_back(path, succeeded(MARKS["kieid"]), {"User-Agent": MARKS["junk"]})
    # The account remembers which model's create kie.ai took last; the books keep what was used.
    assert await found_marks(sql) == {
        "kie_account.succeeded_model: model",
        "usage_entries.model: model",
    }
    assert mentioned((await gateway.http.get("/v1/events")).text) == set()

    (gone, *_) = ids
    assert (await gateway.http.delete(f"/v1/tasks/{gone}")).status_code == 204
    for method, below in (
        ("GET", ""),
        ("GET", "?wait=1"),
        ("GET", "/events"),
        ("GET", "/callbacks"),
        ("GET", "/deliveries"),
        ("POST", "/cancel"),
        ("POST", "/refresh"),
    ):
        answer = await gateway.http.request(method, f"/v1/tasks/{gone}{below}")
        assert (answer.status_code, answer.json()["code"]) == (410, "task_erased"), below
    waited = await gateway.http.post("/v1/tasks/wait", json={"ids": [gone], "timeout": 0})
    assert (waited.status_code, waited.json()["code"]) == (410, "task_erased")
    assert (await gateway.http.get(f"/v1/tasks/{NOBODY}")).status_code == 404

    # Its key creates nothing, with whatever body, and is free for nobody but other clients.
    creates = len(upstream.creates)
    for body in ({"model": "m", "input": {}}, {"model": MARKS["model"], "input": {"a": 1}}):
        repeat = await gateway.post(body, key=f"{MARKS['key']}0")
        assert (repeat.status_code, repeat.json()["code"]) == (410, "task_erased")
    assert len(upstream.creates) == creates
    others = {"Authorization": f"Bearer {await new_key('other')}"}
    answer = await gateway.http.get(f"/v1/tasks/{gone}", headers=others)
    assert answer.status_code == 404
    answer = await gateway.http.delete(f"/v1/tasks/{gone}", headers=others)
    assert answer.status_code == 404
    theirs = {**others, "Idempotency-Key": f"{MARKS['key']}0"}
    answer = await gateway.http.post("/v1/tasks", json={"model": "m", "input": {}}, headers=theirs)
    assert answer.status_code == 201


async def test_an_open_task_is_not_erased(gateway: Gateway, sql: Sql) -> None:
    task = await gateway.create()
    answer = await gateway.http.delete(f"/v1/tasks/{task['id']}")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_erasable")
    assert await sql.fetchval("SELECT count(*) FROM tasks") == 1


async def test_who_may_not_own_the_tables_deletes_nothing_from_the_audit(
    start_inside: StartInside, sql: Sql, dsn: str
) -> None:
    services = (await start_inside()).services
    await sql.execute(
        "INSERT INTO audit_entries (at, actor, action) VALUES (now() - interval '401 days',"
        " 'gateway', 'paid_twice'), (now() - interval '399 days', 'gateway', 'paid_twice')"
    )
    assert await services.clients.prune_audit(OPERATOR, days=400) == 1
    newest, *_ = await services.clients.audit()
    assert (newest["action"], newest["detail"]["entries"]) == ("audit_pruned", "1")
    role = await asyncpg.connect(dsn)
    try:
        await role.execute("CREATE ROLE pruner; GRANT SELECT, DELETE ON audit_entries TO pruner")
        await role.execute("SET ROLE pruner")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await role.execute("DELETE FROM audit_entries")
    finally:
        await role.execute("RESET ROLE; DROP OWNED BY pruner; DROP ROLE pruner")
        await role.close()
