"""`kgw-file:{id}` in an input: kept as it is, checked at the create, a URL when it is sent."""

import json
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest_asyncio

from tests.api.conftest import IssueKey, StartGateway
from tests.api.stage import Refusal, Sql, check_nothing_happened, check_refusal
from tests.gateway import BODY, Gateway
from tests.upstream import Upstream

PNG = b"\x89PNG\r\n\x1a\n" + bytes(1000)
INPUT = (
    '{"image_urls":[NAMED,NAMED],"seed":123456789012345678901234567890,"n":1.10,"deep":{"a":NAMED},'
    '"prompt":"see \\"FILE\\" or FILE","FILE":"as a name"}'
)
AGE = "UPDATE files SET expires_at = clock_timestamp() - interval '1 second'"


@pytest_asyncio.fixture
async def gateway(start_uploading: StartGateway) -> Gateway:
    return await start_uploading()


async def uploaded(gateway: Gateway) -> dict[str, Any]:
    answered = await gateway.http.post("/v1/files", files={"file": ("a.png", PNG)})
    assert answered.status_code == 201, answered.text
    file: dict[str, Any] = answered.json()
    return file


async def test_a_reference_becomes_the_url_and_nothing_else_changes(
    gateway: Gateway, upstream: Upstream
) -> None:
    file = await uploaded(gateway)
    named = f'"{file["reference"]}"'
    text = INPUT.replace("NAMED", named).replace("FILE", file["reference"])
    created = await gateway.post(b'{"model":"m","input":' + text.encode() + b"}")
    assert created.status_code == 201, created.text
    task = (await gateway.http.get(created.headers["location"])).json()
    assert task["input"] == json.loads(text)
    expected = INPUT.replace("NAMED", f'"{file["url"]}"').replace("FILE", file["reference"])
    assert f'"input":{expected}'.encode() in upstream.bodies[0]
    read = json.loads(upstream.bodies[0], parse_float=Decimal)["input"]
    assert read["n"] == Decimal("1.10")


async def test_a_reference_is_checked_before_the_task_exists(
    gateway: Gateway, upstream: Upstream, sql: Sql, new_key: IssueKey
) -> None:
    file = await uploaded(gateway)
    anothers = {"Authorization": f"Bearer {await new_key('another')}"}
    body = {"model": "m", "input": {"a/b": ["x", file["reference"]]}}
    stranger = await gateway.http.post("/v1/tasks", json=body, headers=anothers)
    says = Refusal(status=422, code="invalid_request", pointer="/input/a~1b/1", says="of yours")
    check_refusal(stranger, says)
    unknown = await gateway.post({"model": "m", "input": {"image": f"kgw-file:{uuid4()}"}})
    nobodys = Refusal(status=422, code="invalid_request", pointer="/input/image", says="of yours")
    assert check_refusal(unknown, nobodys)["errors"][0]["detail"] in stranger.text
    for bad in ("kgw-file:", "kgw-file:x", f"kgw-file:{file['id']} ", f"kgw-file:{file['id']}0"):
        answered = await gateway.post({"model": "m", "input": {"image": bad}})
        check_refusal(answered, Refusal(status=422, code="invalid_request", pointer="/input/image"))
    many = {"model": "m", "input": {"images": [file["reference"]] * 101}}
    check_refusal(
        await gateway.post(many), Refusal(status=422, code="invalid_request", pointer="/input")
    )
    await sql.execute(AGE)
    expired = await gateway.post({"model": "m", "input": {"image": file["reference"]}})
    check_refusal(expired, Refusal(status=422, code="file_expired", pointer="/input/image"))
    kies = await gateway.http.post(
        "/api/v1/jobs/createTask", json={"model": "m", "input": {"image": file["reference"]}}
    )
    assert kies.json()["code"] == 422
    await check_nothing_happened(sql, upstream)


async def test_a_repeated_create_has_its_answer_after_its_file_has_expired(
    gateway: Gateway, sql: Sql
) -> None:
    body = {**BODY, "input": {"image": (await uploaded(gateway))["reference"]}}
    first = await gateway.post(body, key="k")
    await sql.execute(AGE)
    again = await gateway.post(body, key="k")
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])


async def test_a_task_whose_file_expires_in_the_queue_fails_and_is_never_sent(
    start_uploading: StartGateway, upstream: Upstream, sql: Sql
) -> None:
    gateway = await start_uploading(kie_creates_per_10s=1)
    file = await uploaded(gateway)
    await gateway.create()
    task = await gateway.create(input={"image": file["reference"]})
    assert task["state"] == "queued"
    await sql.execute(AGE)
    await sql.execute("DELETE FROM kie_slots")
    await gateway.create()
    failed = await gateway.reaches(task["id"], "failed")
    assert (failed["fail_code"], failed["fail_source"]) == ("file_expired", "gateway")
    assert (failed["fail_class"], failed["retryable"]) == ("input", False)
    assert failed["credits_consumed"] is None
    assert len(upstream.creates) == 1
