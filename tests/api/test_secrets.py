"""Promise 8, hunted for: after a whole life of a task no answer and no log line tells a secret."""

import asyncio
import io
import json
import re
import sys

import httpx
import pytest

from tests.api.stage import NOBODY, Sql
from tests.fixtures.gateway import StartGateway
from tests.gateway import BODY, SECRET, Gateway, issue_key
from tests.stage import PATIENCE
from tests.upstream import BALANCE, Upstream, refused, succeeded

KIE_KEY = "sk-not-to-be-shown"
HOOK = "https://h.test/hooks/of-one-client"
OWN_HOOK = "https://h.test/own"


CREATES = {"/v1/tasks": "webhook_url", "/api/v1/jobs/createTask": "callBackUrl"}
"""Both ways to create, with the member that has the caller's URL."""


async def _a_life(
    gateway: Gateway, upstream: Upstream, *, client_key: str, hook: str, way: str
) -> tuple[str, str]:
    """Create a task and settle it; kie.ai quotes all it knows. Returns its id and its token."""
    headers = {"Authorization": f"Bearer {client_key}"}
    answer = await gateway.http.post(
        way,
        json={"model": "m", "input": {"prompt": "a cat"}, CREATES[way]: hook},
        headers=headers,
    )
    named = answer.headers.get("x-kie-gateway-task") or answer.json()["id"]
    task = (await gateway.http.get(f"/v1/tasks/{named}", headers=headers)).json()
    url = upstream.creates[-1]["callBackUrl"]
    told = succeeded(
        task["kie_task_id"],
        param=json.dumps({"callBackUrl": url, "remainedCredits": BALANCE}),
        resultJson=json.dumps({"resultUrls": ["https://h.test/1.png"], "echo": url}),
    )
    upstream.records[task["kie_task_id"]] = told
    path = upstream.callback_path
    for body in (
        told,
        {"code": 500, "msg": f"cannot reach {url}"},
        b"no JSON, but " + url.encode(),
    ):
        await gateway.call_back(path, body, {"X-Request-ID": "theirs"})
    await gateway.call_back(path + "x", told)
    return task["id"], url.rpartition("/")[2]


async def _every_answer(gateway: Gateway, task_id: str) -> dict[str, httpx.Response]:
    """Ask for everything that can be got, and for some things that cannot."""
    spec = (await gateway.http.get("/openapi.json")).json()
    (told, *_) = (await gateway.http.get("/v1/deliveries")).json()["data"]
    filled = {"task_id": task_id, "delivery_id": told["id"], "n": 1, "file_id": NOBODY}
    paths = [path.format(**filled) for path, item in spec["paths"].items() if "get" in item]
    paths += [f"/api/v1/jobs/recordInfo?taskId={task_id}", "/api/v1/jobs/recordInfo?taskId=x"]
    paths += ["/openapi.json", "/docs", "/docs/start.js", "/metrics", "/nowhere", "/v1/tasks/x"]
    assert f"/v1/tasks/{task_id}/callbacks" in paths
    return {path: await gateway.http.get(path) for path in paths}


@pytest.mark.parametrize(
    ("confirm", "way"), [("before", "/v1/tasks"), *(("after", way) for way in CREATES)]
)
async def test_no_secret_is_told(
    start_gateway: StartGateway,
    sql: Sql,
    upstream: Upstream,
    logged: io.StringIO,
    confirm: str,
    way: str,
) -> None:
    gateway = await start_gateway(worker=True, kie_confirm=confirm)
    other_key = await issue_key(gateway.settings, "other")
    other_id, other_token = await _a_life(
        gateway, upstream, client_key=other_key, hook=HOOK, way=way
    )
    task_id, token = await _a_life(
        gateway, upstream, client_key=gateway.api_key, hook=OWN_HOOK, way=way
    )
    await gateway.reaches(task_id, "succeeded")
    answers = await _every_answer(gateway, task_id)
    repeated = await gateway.http.get(f"/v1/tasks/{other_id}")
    assert repeated.status_code == 404
    hidden = await gateway.http.get(f"/api/v1/jobs/recordInfo?taskId={other_id}")
    assert hidden.json() == {"code": 422, "msg": "recordInfo is null", "data": None}
    bodies = [row["body"].decode() for row in await sql.fetch("SELECT body FROM deliveries")]
    assert [secret for secret in (token, other_token, str(BALANCE)) if secret in str(bodies)] == []

    told = "\n".join(f"{answer.headers}\n{answer.text}" for answer in answers.values())
    everywhere = told + repeated.text + hidden.text + logged.getvalue()
    assert OWN_HOOK in answers[f"/api/v1/jobs/recordInfo?taskId={task_id}"].text
    secrets = (token, other_token, gateway.api_key, other_key, SECRET, KIE_KEY, str(BALANCE), HOOK)
    assert [secret for secret in secrets if secret in everywhere] == []
    assert OWN_HOOK in answers["/v1/deliveries"].text
    assert OWN_HOOK not in logged.getvalue()
    assert other_id not in told
    # The hunt is over something: both are in the answers and in the log.
    assert task_id in told
    assert task_id in logged.getvalue()
    assert "[redacted]" in answers[f"/v1/tasks/{task_id}/callbacks"].text
    # Nor is it stored: a copy of the database opens no URL.
    holding = "SELECT count(*) FROM callbacks WHERE position($1::bytea IN body) > 0"
    assert await sql.fetchval(holding, b"[redacted]") > 0
    assert await sql.fetchval(holding, token.encode()) == 0


async def test_a_refusal_that_quotes_our_url_is_shown_without_the_token(
    gateway: Gateway, upstream: Upstream, logged: io.StringIO
) -> None:
    upstream.answers(lambda: refused(422, f"bad callBackUrl {upstream.creates[-1]['callBackUrl']}"))
    task = await gateway.create()
    token = upstream.creates[-1]["callBackUrl"].rpartition("/")[2]
    assert task["state"] == "failed"
    assert task["fail_message"].startswith("bad callBackUrl https://gateway.test/base/callbacks/")
    assert "[redacted]" in task["fail_message"]
    assert token not in logged.getvalue() + json.dumps(task)


async def test_a_refusal_in_an_envelope_is_without_the_token_too(
    start_gateway: StartGateway, upstream: Upstream
) -> None:
    gateway = await start_gateway(submit_wait=10)
    upstream.answers(lambda: refused(422, f"bad callBackUrl {upstream.creates[-1]['callBackUrl']}"))
    answer = await gateway.http.post("/api/v1/jobs/createTask", json=dict(BODY))
    token = upstream.creates[-1]["callBackUrl"].rpartition("/")[2]
    assert answer.json()["msg"].endswith("[redacted]")
    assert token not in answer.text


async def test_a_defect_tells_its_caller_nothing(
    gateway: Gateway, sql: Sql, logged: io.StringIO
) -> None:
    """A broken table stands for any defect; the log has the details, without secrets."""
    await sql.execute("ALTER TABLE tasks RENAME COLUMN model TO model_")
    try:
        answer = await gateway.post({**BODY, "webhook_url": HOOK})
        dropped_in = await gateway.http.post(
            "/api/v1/jobs/createTask", json={**BODY, "callBackUrl": HOOK}
        )
    finally:
        await sql.execute("ALTER TABLE tasks RENAME COLUMN model_ TO model")
    content = answer.json()
    assert (answer.status_code, content["code"]) == (500, "internal_error")
    assert "model_" not in answer.text
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    broken, _ = [line for line in lines if line["event"] == "request.broken"]
    assert (dropped_in.status_code, dropped_in.json()) == (
        200,
        {"code": 500, "msg": "Server exception, please try again later", "data": None},
    )
    assert broken["request_id"] == content["request_id"] == answer.headers["x-request-id"]
    assert "UndefinedColumn" in broken["exception"]
    secrets = (gateway.api_key, SECRET, KIE_KEY, HOOK)
    assert [secret for secret in secrets if secret in logged.getvalue()] == []


async def test_no_token_is_logged_where_uvicorn_starts_the_app(dsn: str) -> None:
    """The other door of `app/main.py`: uvicorn's own access log would print whole paths."""
    path = "/callbacks/kie/019a0000-0000-7000-8000-000000000000/a-token-of-the-tests"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app", "--port", "0"),
        env={
            "GATEWAY_DATABASE_URL": dsn,
            "GATEWAY_SECRET_KEYS": json.dumps([SECRET]),
            "GATEWAY_ALLOW_UNSAFE_FSYNC": "true",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = process.stdout
    assert output is not None
    said = b""
    try:
        async with asyncio.timeout(6 * PATIENCE), httpx.AsyncClient(trust_env=False) as http:
            while (found := re.search(rb"running on (http://[\d.]+:\d+)", said)) is None:
                line = await output.readline()
                assert line, said
                said += line
            answer = await http.post(found[1].decode() + path)
            process.terminate()
            said += await output.read()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    assert answer.status_code == 404
    assert b"callback.wrong_token" in said
    assert b"a-token-of-the-tests" not in said
