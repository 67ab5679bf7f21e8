"""A process that only receives callbacks: what it needs, what it can do, and what it cannot."""

import asyncio
import json
import secrets
from collections.abc import Mapping

import pytest

from app.domain.replicas import differing, fingerprint
from app.services.clients.vault import Vault
from tests.gateway import SECRET
from tests.processes.conftest import At, Connection, Start
from tests.processes.stage import Stage
from tests.services.callers import Caller
from tests.stage import eventually
from tests.upstream import Upstream, succeeded

RECEIVER = ("serve", "--surface", "callbacks", "--no-worker")
NOTHING_ELSE: Mapping[str, str | None] = {
    "GATEWAY_SECRET_KEYS": None,
    "GATEWAY_KIE_API_KEY": None,
    "GATEWAY_PUBLIC_URL": None,
}


@pytest.mark.long
async def test_the_commands_say_which_keys_they_lack(stage: Stage) -> None:
    callback_keys = json.dumps([secrets.token_urlsafe(32)])
    none, api, worker = await asyncio.gather(
        stage.run(*RECEIVER, stdin="", **NOTHING_ELSE),
        stage.run("serve", GATEWAY_SECRET_KEYS=None, GATEWAY_CALLBACK_KEYS=callback_keys),
        stage.run("worker", GATEWAY_SECRET_KEYS=None, GATEWAY_CALLBACK_KEYS=callback_keys),
    )
    assert none.said("GATEWAY_CALLBACK_KEYS: is not set, nor is GATEWAY_SECRET_KEYS", status=2)
    for ended in (api, worker):
        assert ended.said("GATEWAY_SECRET_KEYS: is not set; GATEWAY_CALLBACK_KEYS", status=2), ended


@pytest.mark.long
async def test_with_callback_keys_only_it_settles_what_others_deliver(
    stage: Stage, start: Start, at: At, upstream: Upstream, sql: Connection
) -> None:
    key = secrets.token_urlsafe(32)
    stage.secrets.add(key)
    keys = {"GATEWAY_CALLBACK_KEYS": json.dumps([key])}
    caller = Caller()
    caller.go.set()
    await caller.comes_up()
    try:
        before = await start("serve", GATEWAY_DELIVERY_ALLOW_LOOPBACK="true")
        old = await (await at(await before.ready())).create(webhook_url=caller.url)
        old_path = upstream.callback_path  # signed with GATEWAY_SECRET_KEYS
        await before.end()
        api = await start("serve", GATEWAY_DELIVERY_ALLOW_LOOPBACK="true", **keys)
        receiver = await start(*RECEIVER, **NOTHING_ELSE, **keys)
        gateway = await at(await api.ready())
        public = await at(await receiver.ready())
        new = await gateway.create(webhook_url=caller.url)
        answer = await public.call_back(upstream.callback_path, succeeded(new["kie_task_id"]))
        assert answer.status_code == 200
        settled = await gateway.reaches(new["id"], "succeeded")
        assert settled["settled_by"] == "callback"
        # What the receiver cannot check, the process with both can.
        refused = await public.call_back(old_path, succeeded(old["kie_task_id"]))
        assert refused.status_code == 404
        taken = await gateway.call_back(old_path, succeeded(old["kie_task_id"]))
        assert taken.status_code == 200

        async def delivered() -> bool | None:
            return len(caller.heard) >= 2 or None

        await eventually(delivered)
        sealed = await sql.fetchval("SELECT signing_secret FROM clients")
        for heard in caller.heard:
            assert heard.verified_by(Vault([SECRET]).open(sealed))
        rows = await sql.fetch(
            "SELECT fingerprints FROM processes WHERE beat_at > now() - interval '1 min'"
        )
        mine = [json.loads(row["fingerprints"]) for row in rows]
        mine = [found for found in mine if _has(found, key)]
        assert len(mine) == 2
        assert differing(mine) == ()
        assert "polling only" not in receiver.said
        resealed = await stage.run("secrets", "reseal", "--json")
        assert resealed.json == {"secrets": 1, "resealed": 0, "unopened": 0}
    finally:
        await caller.goes_down()
    assert SECRET not in receiver.said


def _has(fingerprints: dict[str, str], key: str) -> bool:
    return fingerprints.get("GATEWAY_CALLBACK_KEYS") == fingerprint(key)
