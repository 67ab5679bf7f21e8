"""`kie-gateway deliveries`, and what operators set: `clients set`, `keys rotate-secret`."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from tests.gateway import Gateway, issue_key
from tests.processes.conftest import At, Connection
from tests.processes.stage import SECRETS, Ended, Stage
from tests.upstream import Upstream, succeeded

HOOK = "https://h.test/hook"
GATEWAY = {"KIE_GATEWAY_URL": "http://127.0.0.1:9", "KIE_GATEWAY_API_KEY": "kgw_x"}


@dataclass(frozen=True, slots=True)
class Caller:
    """Runs `kie-gateway deliveries` with a URL and a key in the environment."""

    stage: Stage
    gateway: Gateway
    upstream: Upstream
    sql: Connection

    async def runs(self, *arguments: str) -> Ended:
        known = {
            "KIE_GATEWAY_URL": str(self.gateway.http.base_url),
            "KIE_GATEWAY_API_KEY": self.gateway.api_key,
        }
        return await self.stage.run("deliveries", *arguments, **known)

    async def ended(self, state: str, url: str = HOOK) -> str:
        """Put a delivery at its end; returns its id."""
        task = await self.gateway.create(webhook_url=url)
        await self.gateway.call_back(self.upstream.callback_path, succeeded(task["kie_task_id"]))
        await self.sql.execute(
            "UPDATE deliveries SET state = $1, due_at = NULL, finished_at = now()"
            " WHERE task_id::text = $2",
            state,
            task["id"],
        )
        (shown,) = (await self.gateway.http.get(task["urls"]["deliveries"])).json()["data"]
        assert shown["state"] == state
        return str(shown["id"])


@pytest_asyncio.fixture(scope="module")
async def serving_url(stage: Stage) -> AsyncIterator[str]:
    async with stage.running("serve", "--no-worker") as serving:
        yield await serving.ready()


@pytest_asyncio.fixture
async def caller(
    stage: Stage, serving_url: str, at: At, upstream: Upstream, sql: Connection
) -> Caller:
    return Caller(stage, await at(serving_url), upstream, sql)


@pytest.mark.long
async def test_look_repeat_and_enable(caller: Caller) -> None:
    lost, told = await caller.ended("exhausted"), await caller.ended("delivered")
    gone = await caller.ended("disabled", "https://gone.test/")
    await caller.sql.execute(
        "INSERT INTO disabled_urls (client_id, url) SELECT id, 'https://gone.test/' FROM clients"
    )
    listed = await caller.runs("list")
    assert listed.status == 0, listed
    assert [line.split()[0] for line in listed.out.splitlines()[1:]] == [gone, told, lost]
    (only,) = (await caller.runs("list", "--state", "exhausted", "--json")).json
    assert (only["id"], only["attempts"]) == (lost, [])
    of_task = await caller.runs("list", "--task", only["task_id"], "--json")
    assert of_task.json == [only]

    one = await caller.runs("redeliver", told)
    assert (one.status, len(one.out.split())) == (0, 1), one
    many = await caller.runs("redeliver", "--exhausted")
    assert (many.status, many.err) == (0, "1 sent again\n")
    assert (await caller.runs("list", "--state", "pending", "--json")).json[0]["id"] == (
        many.out.strip()
    )

    refused = await caller.runs("redeliver", gone)
    assert refused.said("url_disabled: ", status=1), refused
    left_out = await caller.runs("redeliver", "--disabled", "--since", "2026-01-01T00:00:00")
    assert left_out.err.splitlines() == [
        "0 sent again",
        "left out, since it had answered 410: https://gone.test/",
    ]
    enabled = await caller.runs("enable", "https://gone.test/")
    assert (enabled.status, enabled.out) == (0, "enabled https://gone.test/\n")
    again = await caller.runs("enable", "https://gone.test/")
    assert again.said("not_found: ", status=1)
    later = await caller.runs(
        "redeliver", "--since", "2026-01-01", "--until", "2100-01-01T00:00:00Z"
    )
    assert later.err == "2 sent again\n"  # but for what is on its way since


async def test_another_clients_are_not_there(caller: Caller) -> None:
    mine = await caller.ended("exhausted")
    other = await issue_key(caller.gateway.settings, "other")
    caller.stage.secrets.add(other)
    known = {
        "KIE_GATEWAY_URL": str(caller.gateway.http.base_url),
        "KIE_GATEWAY_API_KEY": other,
    }
    assert (await caller.stage.run("deliveries", "list", "--json", **known)).json == []
    refused = await caller.stage.run("deliveries", "redeliver", mine, **known)
    assert refused.said("not_found: ", status=1)


WRONG = {
    "nothing": (("redeliver",), "name either one delivery or", 2),
    "both": (("redeliver", "x", "--exhausted"), "name either one delivery or", 2),
    "two states": (
        ("redeliver", "--exhausted", "--disabled"),
        "--exhausted and --disabled are calls of their own",
        2,
    ),
    "no instant": (("redeliver", "--since", "yesterday"), "--since: should be as", 2),
    "nobody there": (("list",), "no answer from http://127.0.0.1:9", 1),
    "nobody there either": (("enable", HOOK), "no answer from http://127.0.0.1:9", 1),
}


async def test_wrong_use(stage: Stage) -> None:
    found = await stage.run_each(
        [("deliveries", *arguments) for arguments, *_ in WRONG.values()], **GATEWAY
    )

    for ended, (name, (_, said, status)) in zip(found, WRONG.items(), strict=True):
        assert ended.said(said, status=status), (name, ended)


@pytest.mark.long
async def test_what_the_gateway_refuses_is_said(caller: Caller) -> None:
    refused = await caller.runs("list", "--state", "lost")
    assert refused.said("invalid_request: state: ", status=1), refused
    refused = await caller.runs("list", "--task", "../admin")
    assert refused.status == 1
    assert "invalid_request: task_id: " in refused.err or "not_found: " in refused.err
    refused = await caller.runs("redeliver", "x")
    assert refused.said("invalid_request: delivery_id: ", status=1), refused
    refused = await caller.runs("enable", "h.test")
    assert "/url: should be an http or https URL" in refused.err


# -- the operator's side


@pytest_asyncio.fixture
async def shop(stage: Stage, sql: Connection) -> dict[str, Any]:  # noqa: ARG001  # its rows go
    issued: dict[str, Any] = (await stage.run("keys", "create", "shop", "--json")).json
    stage.secrets.update((issued["api_key"], issued["signing_secret"]))
    return issued


@pytest.mark.long
@pytest.mark.usefixtures("shop")
async def test_a_client_is_set(stage: Stage, sql: Connection) -> None:
    async def sets(*arguments: str) -> Any:
        ended = await stage.run("clients", "set", "shop", *arguments, GATEWAY_SECRET_KEYS=None)
        assert ended.status == 0, ended
        return await sql.fetchrow(
            "SELECT weight, webhook_url, webhook_hosts, webhook_events, sees_balance FROM clients"
        )

    async def limited(*arguments: str) -> tuple[int | None, ...]:
        ended = await stage.run("clients", "set", "shop", *arguments, GATEWAY_SECRET_KEYS=None)
        assert ended.status == 0, ended
        found = await sql.fetchrow("SELECT requests_per_second, streams, waits FROM clients")
        assert found is not None
        return tuple(found)

    hosts = ("--webhook-host", "h.test", "--webhook-host", "I.test")
    events = ("--webhook-event", "task.failed", "--webhook-event", "task.running")
    row = await sets("--webhook-url", HOOK, "--weight", "3", *hosts, *events)
    assert tuple(row) == (3, HOOK, ["h.test", "i.test"], ["task.running", "task.failed"], False)
    listed = await stage.run("clients", "list")
    assert "h.test" in listed.out
    assert "/hook" not in listed.out + (await stage.run("clients", "list", "--json")).out
    row = await sets("--webhook-url", "none", "--webhook-host", "any", "--webhook-event", "usual")
    assert tuple(row) == (3, None, None, None, False)
    assert (await sets("--sees-balance"))["sees_balance"] is True
    assert "yes" in (await stage.run("clients", "list")).out
    assert (await sets("--no-sees-balance"))["sees_balance"] is False
    assert (await sets("--webhook-event", "none"))["webhook_events"] == []
    given = ("--requests-per-second", "200", "--streams", "5", "--waits", "6")
    assert await limited(*given) == (200, 5, 6)
    assert "200" in (await stage.run("clients", "list")).out
    assert await limited("--requests-per-second", "usual", "--waits", "7") == (None, 5, 7)


NOT_SET: list[tuple[tuple[str, ...], str]] = [
    ((), "name something to change"),
    (("--weight", "0"), "A weight is a whole number"),
    (("--webhook-url", "h.test"), "--webhook-url: should be an http or https URL"),
    (("--webhook-url", "http://127.0.0.1:8200/"), "this machine itself"),
    (("--webhook-url", "http://169.254.169.254/"), "link-local"),
    (("--webhook-host", "https://h.test"), "host only"),
    (("--webhook-event", "succeeded"), "--webhook-event: "),
    (("--streams", "0"), "/streams should be a whole number"),
    (
        ("--requests-per-second", "many"),
        "--requests-per-second: should be a number such as 50, or `usual`",
    ),
    (("--webhook-event", "none", "--webhook-event", "usual"), "--webhook-event: "),
]


@pytest.mark.long
@pytest.mark.usefixtures("shop")
async def test_what_cannot_be_set(stage: Stage, sql: Connection) -> None:
    found = await stage.run_each([("clients", "set", "shop", *options) for options, _ in NOT_SET])

    for ended, (options, said) in zip(found, NOT_SET, strict=True):
        assert ended.said(said, status=2), (options, ended)
    assert await sql.fetchval("SELECT webhook_url FROM clients") is None


@pytest.mark.long
async def test_only_a_client_is_set(stage: Stage) -> None:
    ended = await stage.run("clients", "set", "nobody", "--webhook-url", "none")

    assert ended.said("There is no client called nobody", status=1), ended


@pytest.mark.long
async def test_a_secret_is_rotated(stage: Stage, sql: Connection, shop: dict[str, Any]) -> None:
    ended = await stage.run("keys", "rotate-secret", "shop", "--grace", "60", "--json")
    assert ended.status == 0, ended
    assert list(ended.json) == ["client", "signing_secret", "previous_secret_until"]
    new = ended.json["signing_secret"]
    stage.secrets.add(new)
    assert new != shop["signing_secret"]
    assert ended.json["previous_secret_until"].endswith("Z")
    again = await stage.run("keys", "create", "shop", "--json")
    stage.secrets.add(again.json["api_key"])
    assert again.json["signing_secret"] == new

    shown = await stage.run("keys", "rotate-secret", "shop", "--grace", "0")
    fields = dict(line.split() for line in shown.out.splitlines())
    assert list(fields) == ["client", "signing_secret", "previous_secret_until"]
    stage.secrets.add(fields["signing_secret"])
    assert fields["previous_secret_until"] == "now"
    assert "not shown again" in shown.err
    assert not SECRETS.search(shown.err)
    assert await sql.fetchval("SELECT previous_secret FROM clients") is None


NOT_ROTATED = [
    (("nobody",), "There is no such client", 1),
    (("two words",), "There is no such client", 1),
    (("shop", "--grace", "2592001"), "0 to 2592000 seconds", 2),
    (("shop", "--grace", "nan"), "0 to 2592000 seconds", 2),
]


@pytest.mark.long
@pytest.mark.usefixtures("shop")
async def test_what_cannot_be_rotated(stage: Stage) -> None:
    commands = [("keys", "rotate-secret", *arguments) for arguments, *_ in NOT_ROTATED]

    found = await stage.run_each(commands)

    for ended, (arguments, said, status) in zip(found, NOT_ROTATED, strict=True):
        assert ended.said(said, status=status), (arguments, ended)
