"""Usage and budgets over HTTP: refusals, tables, and who sees what."""

import csv
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest_asyncio
from pydantic import SecretStr

from app.services.services import Services
from tests.api.conftest import Inside, StartInside
from tests.api.stage import problem
from tests.gateway import BODY, Gateway
from tests.store.stage import Sql
from tests.upstream import Upstream, succeeded

ADMIN_KEY = "q8Wm3Zt6Rk1Vx9Lp4Ns7Bd2Hf5Gj0Yc"
BUDGET = "/v1/admin/clients/tests/budgets/day"


class Place:
    """A gateway, its services, and its operator."""

    def __init__(self, inside: Inside, operator: httpx.AsyncClient, upstream: Upstream) -> None:
        self.gateway: Gateway = inside.gateway
        self.services: Services = inside.services
        self.operator = operator
        self._upstream = upstream

    async def ended(self, cost: float, **members: Any) -> dict[str, Any]:
        """Create a task that succeeds and costs so much."""
        task = await self.gateway.create(**members)
        body = succeeded(task["kie_task_id"], consumeCredits=cost)
        assert (await self.gateway.call_back(self._upstream.callback_path, body)).status_code == 200
        return task

    async def bound(self, credits_: float, **members: Any) -> dict[str, Any]:
        answer = await self.operator.put(BUDGET, json={"credits": credits_, **members})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def get(self, path: str) -> dict[str, Any]:
        answer = await self.gateway.http.get(path)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest_asyncio.fixture
async def place(start_inside: StartInside, upstream: Upstream) -> AsyncIterator[Place]:
    inside = await start_inside(admin_key=SecretStr(ADMIN_KEY))
    key = {"Authorization": f"Bearer {ADMIN_KEY}"}
    url = inside.gateway.http.base_url
    async with httpx.AsyncClient(base_url=url, headers=key, trust_env=False) as operator:
        yield Place(inside, operator, upstream)


async def test_over_a_hard_budget_a_create_is_402(place: Place, sql: Sql) -> None:
    """And code 433 for kie.ai's own API; nothing of it is stored, and a repeat is no create."""
    first = await place.gateway.post(key="one")
    body = succeeded(first.json()["kie_task_id"], consumeCredits=4.5)
    path = place._upstream.callback_path
    assert (await place.gateway.call_back(path, body)).status_code == 200
    shown = await place.bound(8)
    assert (shown["spent"], shown["reserved"], shown["remaining"]) == (4.5, 0, 3.5)
    refused = await place.gateway.post()
    found = refused.json()
    assert (refused.status_code, found["code"]) == (402, "budget_exceeded")
    assert (found["period"], found["cost"], found["remaining"]) == ("day", 4.5, 3.5)
    assert found["renews_at"].endswith("T00:00:00Z")
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    assert found["renews_at"] in found["detail"]
    dropin = await place.gateway.http.post("/api/v1/jobs/createTask", json=dict(BODY))
    assert dropin.status_code == 200
    assert (dropin.json()["code"], dropin.json()["data"]) == (433, None)
    assert "budget" in dropin.json()["msg"]
    assert await sql.fetchval("SELECT count(*) FROM tasks") == 1
    assert (await place.gateway.post(key="one")).status_code == 200
    assert (await place.operator.delete(BUDGET)).status_code == 204
    assert (await place.gateway.post()).status_code == 201


async def test_an_unknown_cost_has_a_code_of_its_own(place: Place) -> None:
    await place.bound(100)
    assert (await place.gateway.post()).status_code == 201
    refused = await place.gateway.post()
    assert (refused.status_code, refused.json()["code"]) == (402, "model_cost_unknown")
    assert refused.headers["retry-after"] == "10"


async def test_budgets_are_set_shown_and_cleared(place: Place) -> None:
    set_ = await place.bound(12.5, mode="warn", thresholds=[100, 50, 50])
    assert (set_["credits"], set_["mode"], set_["thresholds"]) == (12.5, "warn", [50, 100])
    assert (await place.operator.get(BUDGET)).json() == set_
    assert (await place.get("/v1/budget"))["data"] == [set_]
    listed = (await place.operator.get("/v1/admin/budgets")).json()["data"]
    assert listed == [{"client": "tests", **set_}]
    assert (await place.operator.get("/v1/admin/clients/tests/budgets")).json()["data"] == [set_]
    assert (await place.operator.delete(BUDGET)).status_code == 204
    for method, path in (
        ("DELETE", BUDGET),
        ("GET", BUDGET),
        ("GET", BUDGET.replace("tests", "x")),
    ):
        assert problem(await place.operator.request(method, path))["code"] == "not_found"
    answer = await place.operator.put(BUDGET.replace("tests", "x"), json={"credits": 1})
    assert problem(answer)["code"] == "not_found"
    audit = (await place.operator.get("/v1/admin/audit")).json()["data"]
    assert [entry["action"] for entry in audit][:2] == ["budget_cleared", "budget_set"]
    assert audit[1]["detail"]["credits"] == "12.5"


async def test_credit_is_the_own_budget_for_who_may_not_see_the_balance(place: Place) -> None:
    path = "/api/v1/chat/credit"
    refused = await place.get(path)
    assert (refused["code"], refused["data"]) == (422, None)
    await place.ended(4)
    await place.bound(10.5)
    assert await place.get(path) == {"code": 200, "msg": "success", "data": 6.5}
    assert place._upstream.credit_calls == 0


async def test_usage_as_json_and_as_csv(place: Place) -> None:
    """A spreadsheet runs nothing of what callers wrote."""
    await place.ended(4.25, metadata={"team": "=HYPERLINK(1)"})
    await place.ended(2, metadata={"team": "blue, green"}, model="m")
    await place.services.sweeper.sweep()
    await place.ended(0.5)
    found = await place.get("/v1/usage?group_by=day,metadata.team")
    today = place.services.usage.today().isoformat()
    rows = {row["metadata.team"]: row for row in found["data"]}
    assert {row["day"] for row in rows.values()} == {today}
    assert rows["=HYPERLINK(1)"]["credits"] == 4.25
    assert rows[None]["tasks"] == {"succeeded": 1, "failed": 0, "canceled": 0, "expired": 0}
    assert found["total"]["credits"] == 6.75
    assert found["total"]["tasks"]["succeeded"] == 3
    assert (found["to"], found["group_by"]) == (today, ["day", "metadata.team"])
    answer = await place.gateway.http.get(
        "/v1/usage?group_by=metadata.team", headers={"Accept": "text/csv"}
    )
    assert answer.headers["content-type"].startswith("text/csv")
    head, *lines = csv.reader(io.StringIO(answer.text))
    assert head == [
        *("metadata.team", "succeeded", "failed", "canceled", "expired", "credits", "seconds")
    ]
    assert [line[0] for line in lines] == ["", "'=HYPERLINK(1)", "blue, green"]
    assert [line[5] for line in lines] == ["0.5", "4.25", "2"]
    everything = await place.operator.get("/v1/admin/usage?group_by=client,model&client=tests")
    assert {row["client"] for row in everything.json()["data"]} == {"tests"}
    page = await place.get("/v1/usage?group_by=model&limit=1")
    rest = await place.get(f"/v1/usage?group_by=model&limit=1&cursor={page['next_cursor']}")
    assert [row["model"] for row in page["data"] + rest["data"]] == [BODY["model"], "m"]
    assert rest["next_cursor"] is None
    assert (await place.get("/v1/usage?from=2020-01-01&to=2020-02-01"))["data"] == []


async def test_no_value_and_the_empty_one_are_two_groups(place: Place) -> None:
    for metadata in ({"team": ""}, {}, {"team": "x"}):
        await place.ended(1, metadata=metadata)
    found: list[str | None] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await place.get(f"/v1/usage?group_by=metadata.team&limit=1{cursor}")
        found += [row["metadata.team"] for row in page["data"]]
        cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
    assert found == [None, "", "x"]


async def test_what_is_preferred_is_answered(place: Place) -> None:
    for accept, kind in {
        "text/csv, application/json": "text/csv",
        "application/json, text/csv": "application/json",
        "application/json;q=0.1, text/csv": "text/csv",
        "TEXT/CSV;charset=utf-8; q=0.2, application/json;q=0.3": "application/json",
        "text/csv;q=0": "application/json",
        "*/*": "application/json",
    }.items():
        answer = await place.gateway.http.get("/v1/usage", headers={"Accept": accept})
        assert answer.headers["content-type"].partition(";")[0] == kind, accept


async def test_what_cannot_be_asked_is_named(place: Place) -> None:
    for query, parameter in {
        "from=yesterday": "from",
        "from=2026-02-30": "from",
        "from=2020-01-01&to=2026-01-01": "from",
        "from=2026-02-02&to=2026-02-01": "from",
        "from=0001-01-01T00:00:00%2B23:59": "from",
        "to=0001-01-01": "to",
        "from=9999-12-31": "from",
        "group_by=client": "group_by",
        "group_by=metadata.": "group_by",
        "group_by=fail_class,metadata.team": "group_by",
        "group_by=day&cursor=e30": "cursor",
        "group_by=day&cursor=WyJhIiwiYiJd": "cursor",
        "limit=0": "limit",
        "days=3": "days",
    }.items():
        found = problem(await place.gateway.http.get(f"/v1/usage?{query}"))
        assert found["code"] == "invalid_request", query
        assert found["errors"][0]["parameter"] == parameter, query
        if parameter in ("from", "to"):
            answer = await place.operator.get(f"/v1/admin/reconciliation?{query}")
            assert problem(answer)["errors"][0]["parameter"] == parameter, query
    answer = await place.operator.get("/v1/admin/usage?client=nobody")
    assert problem(answer)["code"] == "not_found"
    answer = await place.operator.put(BUDGET, content=json.dumps({"credits": 1e20}))
    assert problem(answer)["errors"][0]["pointer"] == "/credits"


async def test_a_delivery_of_a_budget_is_about_no_task(place: Place, sql: Sql) -> None:
    await sql.execute(
        "UPDATE clients SET webhook_url = 'https://hooks.test/kie',"
        " webhook_events = '{budget.threshold}'"
    )
    await place.bound(5)
    await place.ended(4)
    await place.services.sweeper.sweep()
    [found] = (await place.get("/v1/deliveries"))["data"]
    assert (found["event"], found["task_id"]) == ("budget.threshold", None)
    one = await place.get(f"/v1/deliveries/{found['id']}")
    assert one["id"] == found["id"]
