"""URLs that are not called any more, and private networks by the client's hosts."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from app.outbound import guard
from app.outbound.registry import networks
from app.services.services import Services
from tests.fixtures.gateway import StartGateway, Wire
from tests.gateway import BODY, Gateway
from tests.services.callers import Caller, listening
from tests.upstream import Upstream, succeeded

DAY = 24 * 3600.0


@dataclass
class Stage:
    """A gateway without loops, a process that delivers when told, and a caller."""

    gateway: Gateway
    services: Services
    upstream: Upstream
    caller: Caller
    sql: Any

    async def settled(self, url: str = "") -> None:
        task = await self.gateway.create(webhook_url=url or self.caller.url)
        await self.gateway.call_back(self.upstream.callback_path, succeeded(task["kie_task_id"]))

    async def deliver(self, services: Services | None = None) -> None:
        """Try everything once that is pending."""
        await self.sql.execute("UPDATE deliveries SET due_at = now() WHERE state = 'pending'")
        await self.sql.execute("DELETE FROM delivery_urls")
        deliverer = (services or self.services).deliverer
        await deliverer.deliver_due()
        await deliverer.drain()

    async def passes(self, seconds: float) -> None:
        await self.sql.execute(
            "UPDATE failing_urls SET since = since - make_interval(secs => $1),"
            " failed_at = failed_at - make_interval(secs => $1)",
            seconds,
        )

    async def states(self) -> list[str]:
        found = await self.sql.fetch("SELECT state FROM deliveries ORDER BY id")
        return [row["state"] for row in found]

    async def failing(self) -> list[int]:
        """Return for each failing URL how many deliveries were exhausted."""
        found = await self.sql.fetch("SELECT exhausted FROM failing_urls ORDER BY url")
        return [row["exhausted"] for row in found]

    async def disabled(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (
            await self.gateway.http.get("/v1/deliveries/disabled-urls")
        ).json()["data"]
        return found


@pytest_asyncio.fixture
async def caller() -> AsyncIterator[Caller]:
    async with listening() as caller:
        yield caller


@pytest_asyncio.fixture
async def stage(
    start_gateway: StartGateway, wire: Wire, upstream: Upstream, caller: Caller, sql: Any
) -> Stage:
    gateway = await start_gateway(delivery_allow_loopback=True, submit_wait=5)
    services = await wire(delivery_allow_loopback=True, delivery_schedule=(0, 5))
    return Stage(gateway, services, upstream, caller, sql)


async def test_a_url_that_fails_for_five_days_is_disabled(stage: Stage) -> None:
    """Two deliveries to their end, and nothing but failures: its client and operators see it."""
    stage.caller.says(500)
    await stage.settled()
    await stage.settled()
    await stage.deliver()
    await stage.deliver()
    assert (await stage.states(), await stage.failing()) == (["exhausted"] * 2, [2])
    await stage.settled()
    await stage.passes(5 * DAY - 60)
    await stage.deliver()
    assert (await stage.states())[2:] == ["pending"]  # a minute is missing
    await stage.settled()
    await stage.passes(61)
    await stage.sql.execute("UPDATE deliveries SET leased_until = NULL")
    await stage.deliver()
    assert (await stage.states())[2:] == ["exhausted", "disabled"]
    (disabled,) = await stage.disabled()
    assert (disabled["url"], disabled["reason"]) == (stage.caller.url, "failing")
    noted = await stage.sql.fetch(
        "SELECT client, actor, detail FROM audit_entries WHERE action = 'url_disabled'"
    )
    assert [(row["client"], row["actor"]) for row in noted] == [("tests", "gateway")]
    assert "/hook" not in noted[0]["detail"]
    assert "failing" in noted[0]["detail"]


async def test_enabled_again_it_begins_anew(stage: Stage) -> None:
    stage.caller.says(500)
    await stage.sql.execute(
        "INSERT INTO failing_urls (client_id, url, since, exhausted)"
        " SELECT id, $1, now() - interval '6 days', 7 FROM clients",
        stage.caller.url,
    )
    await stage.settled()
    await stage.deliver()
    assert (await stage.states(), len(stage.caller.heard)) == (["disabled"], 1)
    await stage.settled()
    assert await stage.states() == ["disabled"] * 2
    body = {"url": stage.caller.url}
    assert (await stage.gateway.http.post("/v1/deliveries/enable", json=body)).status_code == 200
    assert await stage.disabled() == []
    await stage.settled()
    await stage.deliver()
    assert (await stage.states())[2:] == ["pending"]  # six days ago is forgotten
    stage.caller.says(200)
    await stage.deliver()
    assert ((await stage.states())[2:], await stage.failing()) == (["delivered"], [])


@pytest.mark.parametrize("success", ["between", "of another URL"])
async def test_a_success_of_its_own_clears_it(success: str, stage: Stage) -> None:
    other = stage.caller.url + "/other"
    stage.caller.answer = lambda heard: (200 if heard.path.endswith("other") else 500, {})
    await stage.settled()
    await stage.deliver()
    await stage.deliver()
    assert await stage.failing() == [1]
    if success == "between":
        stage.caller.says(200)
    await stage.settled(stage.caller.url if success == "between" else other)
    await stage.deliver()
    assert (await stage.states())[1:] == ["delivered"]
    assert await stage.failing() == ([] if success == "between" else [1])


async def test_one_exhausted_delivery_is_not_enough(stage: Stage) -> None:
    stage.caller.says(500)
    await stage.settled()
    await stage.deliver()
    await stage.passes(6 * DAY)
    await stage.deliver()
    assert (await stage.states(), await stage.failing()) == (["exhausted"], [1])
    await stage.settled()
    await stage.passes(6 * DAY)
    await stage.deliver()
    assert (await stage.states())[1:] == ["pending"]
    await stage.deliver()  # the second one's last attempt
    assert ((await stage.states())[1:], len(await stage.disabled())) == (["exhausted"], 1)


async def test_what_is_not_called_any_more_is_forgotten(stage: Stage) -> None:
    """A URL of its own for each task would else stay for each that failed."""
    stage.caller.says(500)
    for number in range(3):
        await stage.settled(f"{stage.caller.url}/{number}")
    await stage.deliver()
    await stage.passes(11 * DAY)
    await stage.sql.execute("DELETE FROM deliveries")
    await stage.settled()
    await stage.deliver()
    assert len(await stage.failing()) == 4
    await stage.deliver()
    assert len(await stage.failing()) == 1


async def test_under_listed_a_private_host_is_for_those_who_name_it(
    stage: Stage, start_gateway: StartGateway, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judged when the task is created, and again when its webhook is sent, by the hosts of then."""
    await stage.settled()  # under other settings
    monkeypatch.setattr(guard, "LOOPBACK", ())
    monkeypatch.setattr(guard, "PRIVATE", networks("127.0.0.0/8"))
    strict = await start_gateway(delivery_private_networks="listed")
    services = await wire(delivery_private_networks="listed")
    refused = await strict.post({**BODY, "webhook_url": stage.caller.url})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/webhook_url")
    for hosts in (None, ["other.test"], ["127.0.0.1"]):
        await stage.sql.execute("UPDATE clients SET webhook_hosts = $1", hosts)
        await stage.deliver(services)
    assert (await strict.post({**BODY, "webhook_url": stage.caller.url})).status_code == 201
    rows = await stage.sql.fetch("SELECT error FROM delivery_attempts ORDER BY number")
    said = "blocked: the URL is in a private network, and not among the webhook hosts"
    assert [row["error"] for row in rows] == [said, said, None]
    assert (await stage.states(), len(stage.caller.heard)) == (["delivered"], 1)


async def test_a_foreign_name_is_kept_in_one_spelling(stage: Stage) -> None:
    await stage.sql.execute("UPDATE clients SET webhook_hosts = '{xn--mnchen-3ya.example}'")
    for host in ("münchen.example", "MÜNCHEN.example", "xn--mnchen-3ya.example"):
        url = f"https://{host}/hook"
        assert (await stage.gateway.create(webhook_url=url))["webhook_url"] == url
    refused = await stage.gateway.post({**BODY, "webhook_url": "https://munchen.example/"})
    assert refused.status_code == 422
