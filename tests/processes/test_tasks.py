"""`kie-gateway tasks` against a running gateway and a stand-in kie.ai."""

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.database import emptied
from tests.processes.conftest import Connection
from tests.processes.stage import Ended, Running, Stage

MODEL = "google/nano-banana"
PROMPT = '{"prompt": "a cat"}'


class Caller:
    """Runs `kie-gateway tasks` with a URL and a key in the environment."""

    def __init__(self, stage: Stage, url: str, simulator_url: str, api_key: str) -> None:
        self._stage = stage
        self._simulator_url = simulator_url
        self.url = url
        self._known = {"KIE_GATEWAY_URL": url, "KIE_GATEWAY_API_KEY": api_key}

    async def tasks(self, *arguments: str, stdin: str = "", **changed: str) -> Ended:
        return await self._stage.run("tasks", *arguments, stdin=stdin, **(self._known | changed))

    def watching(self, task_id: str) -> AbstractAsyncContextManager[Running]:
        return self._stage.running("tasks", "watch", task_id, **self._known)

    async def expect(self, **behaviour: object) -> None:
        """Say what is to become of the next create."""
        async with httpx.AsyncClient(base_url=self._simulator_url, trust_env=False) as http:
            assert (await http.post("/simulator/next", json=behaviour)).is_success


@pytest_asyncio.fixture(scope="module")
async def caller(stage: Stage, sql_connection: Connection) -> AsyncIterator[Caller]:
    """A caller of a gateway whose kie.ai takes a second for a task."""
    async with stage.running("simulator", "--port", "0", "--duration", "1") as simulator:
        simulator_url = await simulator.url()
        url = {"GATEWAY_KIE_BASE_URL": simulator_url, "GATEWAY_PUBLIC_URL": None}
        async with stage.running("serve", **url) as serving:
            issued = (await stage.run("keys", "create", "caller", "--json")).json
            stage.secrets.update((issued["api_key"], issued["signing_secret"]))
            yield Caller(stage, await serving.ready(), simulator_url, issued["api_key"])
    await emptied(sql_connection)


async def test_create_and_watch(caller: Caller, sql_connection: Connection) -> None:
    """The task waits until somebody watches."""
    await sql_connection.execute("UPDATE kie_account SET paused_at = now()")
    created = await caller.tasks(
        "create", "--model", MODEL, "--input", '{"prompt": "a", "n": 1.50}'
    )
    assert created.status == 0, created
    assert '"n": 1.50' in created.out
    task_id = created.json["id"]

    async with caller.watching(task_id) as watching:
        await watching.says("queued")
        await sql_connection.execute("UPDATE kie_account SET paused_at = NULL")
        assert await watching.ended() == 0, watching.said

    told, brace, shown = watching.said.partition("{")
    states = [line.split()[1] for line in told.splitlines() if line]
    assert (states[0], states[-1]) == ("queued", "succeeded")
    assert "\x1b" not in watching.said
    watched = json.loads(brace + shown)
    assert watched["state"] == "succeeded"
    assert (await caller.tasks("get", task_id)).json == watched


@pytest.mark.long
async def test_a_failed_task_ends_with_1_and_its_reason_as_it_stands(caller: Caller) -> None:
    await caller.expect(outcome="fail", failMsg="[/red] not [allowed]", duration=0.2)

    watched = await caller.tasks("create", "--model", MODEL, "--input", PROMPT, "--watch")

    assert watched.status == 1, watched
    assert watched.json["state"] == "failed"
    assert "500: [/red] not [allowed]" in watched.err


@pytest.mark.long
async def test_input_from_a_file_and_from_stdin(caller: Caller, tmp_path: Path) -> None:
    wanted: dict[str, Any] = {"prompt": "ein Käse", "seed": 12345678901234567890}
    file = tmp_path / "input.json"
    file.write_text(json.dumps(wanted))
    create = ("create", "--model", MODEL, "--idempotency-key", "once", "--input")

    from_file = await caller.tasks(*create, f"@{file}")
    from_stdin = await caller.tasks(*create, "-", stdin=file.read_text())

    assert from_file.json["input"] == from_stdin.json["input"] == wanted
    assert from_file.json["id"] == from_stdin.json["id"]
    missing = await caller.tasks(*create, f"@{tmp_path / 'nothing'}")
    assert missing.said("--input: ", status=2)
    broken = await caller.tasks(*create, "-", stdin="{")
    assert broken.said("--input: ", status=2)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"KIE_GATEWAY_URL": "http://127.0.0.1:9"}, "no answer from http://127.0.0.1:9"),
        ({"KIE_GATEWAY_URL": "gateway"}, "no answer from gateway"),
        ({"KIE_GATEWAY_API_KEY": "kgw_" + "x" * 43}, "unauthenticated: "),
        ({"KIE_GATEWAY_API_KEY": "schlüssel\n"}, "unauthenticated: "),
    ],
    ids=["nobody there", "no URL", "wrong key", "no key at all"],
)
async def test_wrong_url_or_key(caller: Caller, changed: dict[str, str], said: str) -> None:
    ended = await caller.tasks("get", "01a204bf-a4e0-72a9-9d40-8898834665fc", **changed)

    assert ended.said(said, status=1), ended


async def test_somebody_elses_server_is_not_a_gateway(caller: Caller) -> None:
    ended = await caller.tasks("get", "x", KIE_GATEWAY_URL=caller._simulator_url)

    assert ended.said("is not a kie-gateway", status=1), ended


async def test_what_is_wrong_with_a_body_is_said_with_its_place(caller: Caller) -> None:
    ended = await caller.tasks("create", "--model", "", "--input", "[]")

    assert ended.status == 1
    assert "invalid_request" in ended.err
    assert "/model: " in ended.err
    assert "/input: " in ended.err
