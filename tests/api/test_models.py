"""Models and reconciliation over HTTP: learned from tasks, own ones only, and what is alarmed."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest_asyncio
from pydantic import SecretStr
from structlog.testing import capture_logs

from app.services.services import Services
from app.wiring import utc_now
from tests.api.conftest import Inside, StartInside
from tests.gateway import Gateway, issue_key
from tests.services.stage import ask, slots_are_free
from tests.store.stage import Sql
from tests.upstream import Upstream, credits_left, failed, succeeded

ADMIN_KEY = "q8Wm3Zt6Rk1Vx9Lp4Ns7Bd2Hf5Gj0Yc"
SOON = "UPDATE kie_account SET models_due_at = NULL, balance_due_at = NULL"


def success(kie_id: str, cost: float, seconds: float) -> dict[str, Any]:
    ended = 1_755_599_634_000 + int(seconds * 1000)
    return succeeded(kie_id, consumeCredits=cost, costTime=seconds, completeTime=ended)


class Place:
    """A gateway, its services, its operator, and a kie.ai with a balance."""

    def __init__(
        self, inside: Inside, operator: httpx.AsyncClient, upstream: Upstream, sql: Sql
    ) -> None:
        self.gateway: Gateway = inside.gateway
        self.services: Services = inside.services
        self.operator = operator
        self.upstream = upstream
        self.sql = sql
        self.balance = 1000.0
        upstream.on_credit = self._credit

    async def _credit(self) -> Any:
        return credits_left(self.balance)

    async def ended(self, cost: float | None, *, seconds: float = 12, **members: Any) -> str:
        """Create a task that succeeds and costs so much, or (None) fails."""
        task = await self.gateway.create(**members)
        kie_id = task["kie_task_id"]
        body = failed(kie_id, failCode="500", failMsg="Internal Error, Please try again later.")
        if cost is not None:
            body = success(kie_id, cost, seconds)
        await self.reported(kie_id, body)
        return str(task["id"])

    async def reported(self, kie_id: str, record: dict[str, Any]) -> None:
        """Have kie.ai asked about a task, and answer so."""
        self.upstream.records[kie_id] = record
        await self.sql.execute("UPDATE tasks SET due_at = now() WHERE kie_task_id = $1", kie_id)
        await ask(self.services)
        await slots_are_free(self.sql)

    async def learn(self) -> None:
        await self.services.sweeper.sweep()
        await self.sql.execute(SOON)
        await self.services.models.look()

    async def read(self) -> None:
        """Have the balance read."""
        await self.services.sweeper.sweep()
        await self.sql.execute(SOON)
        await self.services.reconciliation.turn()

    async def get(self, path: str, http: httpx.AsyncClient | None = None) -> dict[str, Any]:
        answer = await (http or self.gateway.http).get(path)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest_asyncio.fixture
async def place(start_inside: StartInside, upstream: Upstream, sql: Sql) -> AsyncIterator[Place]:
    inside = await start_inside(admin_key=SecretStr(ADMIN_KEY), kie_confirm="off", public_url=None)
    key = {"Authorization": f"Bearer {ADMIN_KEY}"}
    url = inside.gateway.http.base_url
    async with httpx.AsyncClient(base_url=url, headers=key, trust_env=False) as operator:
        yield Place(inside, operator, upstream, sql)


async def test_models_are_learned_from_tasks(place: Place) -> None:
    """And each client sees what its own say."""
    for cost in (4, 4, 4.5):
        await place.ended(cost)
    await place.ended(None)
    await place.learn()
    (own,) = (await place.get("/v1/models"))["data"]
    assert own == own | {
        "model": "google/nano-banana",
        "last_24h": {"tasks": 4, "succeeded": 3, "success_share": 0.75},
        "credits": {"p50": 4, "p90": 4.5},
        "withdrawn": False,
        "breaker": None,
    }
    assert own["seconds"] == {"p50": 12, "p95": 12}
    since = datetime.fromisoformat(own["last_success_at"])
    assert utc_now() - since < timedelta(minutes=1)
    key = await issue_key(place.gateway.settings, "other")
    other = httpx.AsyncClient(
        base_url=place.gateway.http.base_url, headers={"Authorization": f"Bearer {key}"}
    )
    async with other:
        assert (await place.get("/v1/models", other))["data"] == []
        before = (await place.get("/v1/models"))["data"]
        await other.post("/v1/tasks", json={"model": "google/nano-banana", "input": {}})
        kie_id = place.upstream.last_id
        await place.reported(kie_id, success(kie_id, 400, 900))
        await place.learn()
        assert (await place.get("/v1/models"))["data"] == before
    (all_,) = (await place.get("/v1/admin/models", place.operator))["data"]
    assert (all_["last_7d"]["tasks"], all_["credits"]["p90"]) == (5, 400)


async def test_a_model_of_which_every_task_fails_is_shown_and_logged_once(place: Place) -> None:
    for _ in range(5):
        await place.ended(None, model="gone")
    with capture_logs() as logs:
        await place.learn()
        await place.learn()
    assert [line["model"] for line in logs if line["event"] == "model.fails"] == ["gone"]
    (gone,) = (await place.get("/v1/admin/models", place.operator))["data"]
    assert gone["withdrawn"] is True
    page = (await place.gateway.http.get("/metrics")).text
    assert "kie_gateway_models_failing 1.0" in page
    await place.ended(4, model="gone")
    await place.learn()
    assert (await place.get("/v1/models"))["data"][0]["withdrawn"] is False


async def test_tasks_say_when_they_may_end_and_are_asked_about_then(place: Place) -> None:
    for _ in range(10):
        await place.ended(4, seconds=600)
    unknown = await place.gateway.create(model="another")
    await place.learn()
    task = await place.gateway.create()
    shown = await place.gateway.task(task["id"])
    assert shown["state"] == "running"
    sent = datetime.fromisoformat(shown["submitted_at"])
    ends = datetime.fromisoformat(shown["estimated_finish_at"])
    assert ends - sent == timedelta(seconds=600)
    assert (await place.gateway.task(unknown["id"]))["estimated_finish_at"] is None
    query = "SELECT extract(epoch FROM due_at - submitted_at)::float FROM tasks WHERE id::text = $1"
    assert 9 < await place.sql.fetchval(query, task["id"]) < 15  # the first early look
    assert await place.sql.fetchval(query, unknown["id"]) < 6
    past = "UPDATE tasks SET due_at = now(), submitted_at = submitted_at - interval '61 s'"
    await place.sql.execute(f"{past} WHERE id::text = $1", task["id"])
    await ask(place.services)
    assert 535 < await place.sql.fetchval(query, task["id"]) < 545


async def test_what_the_balance_lost_is_explained_or_alarmed(place: Place) -> None:
    await place.read()
    await place.ended(4)
    place.balance -= 4
    await place.read()
    path = "/v1/admin/reconciliation"
    found = await place.get(path, place.operator)
    assert found["unexplained_24h"] == 0
    (day,) = found["data"]
    assert (day["lost"], day["explained"], day["unexplained"]) == (4, 4, 0)
    place.balance -= 4  # nobody's
    with capture_logs() as logs:
        await place.read()
        await place.read()
    lines = [line for line in logs if line["event"] == "account.unexplained_loss"]
    assert [float(line["credits"]) for line in lines] == [4]
    found = await place.get(path, place.operator)
    assert (found["unexplained_24h"], found["total"]["unexplained"]) == (4, 4)
    page = (await place.gateway.http.get("/metrics")).text
    assert "kie_gateway_unexplained_credits 4.0" in page
    place.balance += 1000
    await place.read()
    assert (await place.get(path, place.operator))["total"]["top_ups"] == 1000
    yesterday = (utc_now() - timedelta(days=1)).date()
    past = await place.get(f"{path}?from={yesterday}&to={yesterday}", place.operator)
    assert (past["data"], past["total"]) == ([], None)


async def test_a_reading_is_a_query_among_others_and_taken_by_one(place: Place) -> None:
    queries = place.services.reconciliation
    await place.sql.execute(
        "INSERT INTO kie_slots (kind, slot, free_at, taken_at) SELECT 'query', number,"
        " clock_timestamp() + interval '1 minute', now() FROM generate_series(1, 10) AS number"
    )
    assert await queries.turn() == 2
    assert place.upstream.credit_calls == 0
    await place.sql.execute("UPDATE kie_slots SET free_at = now() WHERE slot = 4")
    await place.sql.execute(SOON)
    assert await queries.turn() == 60
    assert await queries.turn() == 60  # not due yet
    assert place.upstream.credit_calls == 1
    assert await place.sql.fetchval("SELECT count(*) FROM balance_readings") == 1
    free = "SELECT free_at > now(), task_id FROM kie_slots WHERE slot = 4"
    (slot,) = await place.sql.fetch(free)
    assert tuple(slot) == (True, None)
