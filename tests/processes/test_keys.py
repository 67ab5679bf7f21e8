"""`kie-gateway keys`: made, used over HTTP, listed without being shown, revoked."""

import httpx
import pytest

from tests.processes.conftest import Connection
from tests.processes.stage import SECRETS, Stage


async def _status(url: str, api_key: str) -> int:
    headers = {"Authorization": f"Bearer {api_key}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as http:
        body = {"model": "google/nano-banana", "input": {"prompt": "a cat"}}
        return (await http.post("/v1/tasks", json=body)).status_code


@pytest.mark.long
@pytest.mark.usefixtures("upstream")
async def test_the_life_of_keys(stage: Stage, replica_urls: tuple[str, str]) -> None:
    url, _ = replica_urls
    first = await stage.run("keys", "create", "shop", "--json")
    second = await stage.run("keys", "create", "shop", "--json")
    assert first.status == second.status == 0, first.err
    assert list(first.json) == [
        *("client", "api_key", "signing_secret"),
        *("scopes", "expires_at"),
    ]
    keys = [first.json["api_key"], second.json["api_key"]]
    stage.secrets.update(keys, {first.json["signing_secret"]})

    assert keys[0] != keys[1]
    assert first.json["signing_secret"] == second.json["signing_secret"]
    assert [await _status(url, key) for key in keys] == [201, 201]

    hint = keys[0][:10]
    for listed in (await stage.run("keys", "list"), await stage.run("keys", "list", "--json")):
        assert listed.status == 0
        assert hint in listed.out
        assert not SECRETS.search(listed.out)
    kept = {row["hint"]: row for row in listed.json}
    assert kept[hint]["client"] == "shop"
    assert kept[hint]["revoked_at"] is None

    revoked = await stage.run("keys", "revoke", hint)
    assert (revoked.status, revoked.out) == (0, "revoked 1\n")
    assert [await _status(url, key) for key in keys] == [401, 201]
    by_id = await stage.run("keys", "revoke", kept[keys[1][:10]]["id"])
    assert (by_id.status, by_id.out) == (0, "revoked 1\n")
    assert [await _status(url, key) for key in keys] == [401, 401]
    again = await stage.run("keys", "revoke", hint)
    assert again.said("No active key", status=1)


@pytest.mark.long
async def test_for_people_each_value_stands_on_its_own_line(stage: Stage, sql: Connection) -> None:
    ended = await stage.run("keys", "create", "people")

    fields = dict(line.split() for line in ended.out.splitlines())
    assert list(fields) == ["client", "api_key", "signing_secret", "scopes", "expires_at"]
    assert "not shown again" in ended.err
    listed = await stage.run("keys", "list")
    key_id = str(await sql.fetchval("SELECT max(id::text) FROM api_keys"))
    assert key_id in listed.out  # whole, though nobody gave it a terminal's width
    assert "\x1b" not in listed.out


async def test_bad_names(stage: Stage) -> None:
    for ended in await stage.run_each(
        [("keys", "create", "--", name) for name in ("", "two words")]
    ):
        assert ended.said("1 to 64 letters", status=2), ended


@pytest.mark.long
async def test_a_client_of_other_secrets(stage: Stage, sql: Connection) -> None:
    await stage.run("keys", "create", "sealed")

    ended = await stage.run(
        "keys", "create", "sealed", GATEWAY_SECRET_KEYS='["another-one-not-to-be-shown"]'
    )

    assert ended.said("Put the old entry back", status=2), ended
    assert await sql.fetchval("SELECT count(*) FROM api_keys") == 1
