"""`kie_gateway_overdue_seconds{work="deliver"}`: whether anybody delivers, whoever is slow."""

from typing import Any
from uuid import uuid4

import pytest

from tests.api.stage import Sql
from tests.api.test_metrics import scrape
from tests.fixtures.gateway import StartGateway
from tests.gateway import Gateway
from tests.scrape import samples
from tests.upstream import Upstream, succeeded

SERIES = 'kie_gateway_overdue_seconds{work="deliver"}'

CASES: dict[str, tuple[list[dict[str, Any]], float]] = {
    "nothing there": ([], 0),
    "nothing due": ([{"due": -60}], 0),
    "due": ([{"due": 50}], 50),
    "the oldest counts": ([{"due": 50}, {"due": 70}, {"due": 5}], 70),
    "over all hosts": ([{"due": 50}, {"due": 70, "host": "b"}, {"due": 5, "host": "c"}], 70),
    "its lease is over": ([{"due": 50, "leased": -5}], 50),
    "under way": ([{"due": 50, "leased": 5}], 0),
    "behind one that is under way": ([{"due": 50}, {"due": 70, "leased": 5}], 0),
    "another host is called": ([{"due": 50}, {"due": 70, "leased": 5, "host": "b"}], 50),
    "its host is held": ([{"due": 50, "held": 5}], 0),
    "its host was held until just now": ([{"due": 50, "held": -20}], 20),
    "its host was held long ago": ([{"due": 50, "held": -80}], 50),
    "delivered": ([{"due": 50, "state": "delivered"}], 0),
}


async def put(gateway: Gateway, upstream: Upstream, sql: Sql, given: list[dict[str, Any]]) -> None:
    """Put deliveries into the outbox; times in seconds, `due` ago, the others from now on."""
    task = await gateway.create(webhook_url="https://h.test/")
    await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    for one in given:
        host, state = one.get("host", "a"), one.get("state", "pending")
        await sql.execute(
            "INSERT INTO deliveries (id, client_id, task_id, event, url, host, body, state,"
            " due_at, leased_until) SELECT $1, client_id, task_id, event, 'https://' || $2, $2,"
            " body, $3, CASE WHEN $3 = 'pending' THEN now() - make_interval(secs => $4) END,"
            " now() + make_interval(secs => $5) FROM deliveries WHERE host = 'h.test'",
            *(uuid4(), host, state, float(one["due"]), one.get("leased")),
        )
        if "held" in one:
            await sql.execute(
                "INSERT INTO delivery_urls (client_id, lane, host, failures, held_until)"
                " SELECT client_id, hashtextextended(url, 0), host, 3,"
                " now() + make_interval(secs => $2) FROM deliveries WHERE host = $1",
                *(host, float(one["held"])),
            )
    await sql.execute("DELETE FROM deliveries WHERE host = 'h.test'")


@pytest.mark.parametrize("name", CASES)
async def test_what_nobody_delivers_is_overdue(
    start_gateway: StartGateway, upstream: Upstream, sql: Sql, name: str
) -> None:
    given, expected = CASES[name]
    gateway = await start_gateway()
    await put(gateway, upstream, sql, given)
    overdue = samples(await scrape(gateway))[SERIES]
    assert expected <= overdue < expected + (10 if expected else 1)
