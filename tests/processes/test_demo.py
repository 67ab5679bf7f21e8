"""`kie-gateway demo` and `dev`: everything comes up from nothing, and nothing stays behind."""

import asyncio
import os
import re
import shlex
import shutil
import signal
from pathlib import Path

import httpx
import pytest

from tests.processes.stage import PATIENCE, SECRETS, Running, Stage, left_behind, nothing_left

A_USERS_SHELL = {
    "GATEWAY_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing",
    "GATEWAY_PUBLIC_ULR": "https://misspelt.test",
    "GATEWAY_LISTEN": "nonsense",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
}
"""Settings that would break every other command, and a proxy that leads nowhere."""


def _nothing_kept(room: Path) -> bool:
    return list(room.iterdir()) == [] and left_behind(room) == {}


@pytest.mark.long  # test_tour.py has `dev` come up from nothing for every change
async def test_demo(stage: Stage, room: Path) -> None:
    ended = await stage.run("demo", TMPDIR=str(room), **A_USERS_SHELL)

    assert ended.status == 0, ended
    *fields, called = ended.out.splitlines()
    shown = dict(line.split() for line in fields)
    assert list(shown) == ["state", "seconds", "credits", "result"]
    assert (shown["state"], float(shown["credits"])) == ("succeeded", 4)
    assert float(shown["seconds"]) >= 2
    assert shown["result"].startswith("http://127.0.0.1:")
    assert called == "kie.ai was called once"
    assert "make dev" in ended.err  # what to do next
    assert "running" in ended.err
    assert "applied" in ended.err
    assert "\x1b" not in ended.err
    assert not SECRETS.search(ended.out + ended.err)
    assert _nothing_kept(room)


@pytest.mark.long
async def test_a_demo_of_failure(stage: Stage, room: Path) -> None:
    ended = await stage.run("demo", "--fail", "--json", TMPDIR=str(room))

    assert ended.status == 1, ended
    assert (ended.json["state"], ended.json["fail_source"]) == ("failed", "kie")
    assert (ended.json["settled_by"], ended.json["credits_consumed"]) == ("query", 0)
    assert "the task ended as failed: Internal server error" in ended.err
    assert _nothing_kept(room)


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "moment", "status"),
    [(signal.SIGINT, "POST ", 130), (signal.SIGTERM, "POST ", 143)],
    ids=["SIGINT", "SIGTERM"],
)
async def test_a_demo_that_is_interrupted_leaves_nothing(
    stage: Stage, room: Path, number: signal.Signals, moment: str, status: int
) -> None:
    async with stage.running("demo", TMPDIR=str(room)) as demo:
        await demo.says(moment)

        assert await demo.end(number) == status

    assert "Traceback" not in demo.said
    assert _nothing_kept(room)


class Dev:
    """A running `dev` and what it printed."""

    def __init__(self, running: Running, said: str) -> None:
        self.running = running
        self.curl = next(line for line in said.splitlines() if line.startswith("curl"))
        (self.url,) = re.findall(r"^export KIE_GATEWAY_URL=(\S+)", said, re.MULTILINE)
        (self.api_key,) = re.findall(r"^export KEY=(\S+)", said, re.MULTILINE)

    @classmethod
    async def up(cls, running: Running, stage: Stage) -> "Dev":
        said = await running.says("-d '")
        dev = cls(running, said)
        stage.secrets.add(dev.api_key)
        running.log.rename(dev.shown)  # no log: it shows the key, on purpose
        return dev

    @property
    def shown(self) -> Path:
        return self.running.log.with_suffix(".shown")

    @property
    def said(self) -> str:
        return self.shown.read_text()

    def http(self) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.api_key}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, trust_env=False)


@pytest.mark.long
async def test_dev_keeps_data_and_keys_and_leaves_nothing_when_it_or_a_part_of_it_is_killed(
    stage: Stage, room: Path
) -> None:
    arguments = ("dev", "--port", "0", "--data-dir", str(room / "data"))
    async with stage.running(*arguments, **A_USERS_SHELL) as running:
        first = await Dev.up(running, stage)
        created = await _curl(first)
        assert created["state"] == "succeeded"
        assert (room / "data" / "env").stat().st_mode & 0o777 == 0o600  # it holds a key
        await running.end(signal.SIGKILL)  # what it started ends all the same
    await nothing_left(room)

    async with stage.running(*arguments) as running:
        second = await Dev.up(running, stage)
        assert second.api_key != first.api_key
        async with second.http() as http:
            kept = (await http.get(f"/v1/tasks/{created['id']}")).json()
        assert kept == created | {name: kept[name] for name in ("confirmed_at", "updated_at")}

        (gateway,) = (pid for pid, command in left_behind(room).items() if " serve " in command)
        os.kill(gateway, signal.SIGKILL)
        assert await running.ended() == 1
    assert "the gateway ended with status -9" in second.said
    assert left_behind(room) == {}
    _keep_logs(stage, room)


async def _curl(dev: Dev) -> dict[str, object]:
    """Run the printed line as a shell would, or send what it says where there is no curl."""
    if shutil.which("curl"):
        shell = await asyncio.create_subprocess_shell(
            dev.curl.replace("curl", "curl --noproxy '*'", 1), stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(PATIENCE):
            out, _ = await shell.communicate()
        answer = httpx.Response(200, content=out)
    else:
        words = shlex.split(dev.curl)
        headers = dict(word.split(": ", 1) for word in words if ": " in word and word[0] != "{")
        async with httpx.AsyncClient(trust_env=False, headers=headers, timeout=PATIENCE) as http:
            answer = await http.post(words[2], content=words[-1])
    task: dict[str, object] = answer.json()
    return task


async def test_dev_refuses_a_port_in_use(stage: Stage, room: Path) -> None:
    server = await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0)
    async with server:
        port = str(server.sockets[0].getsockname()[1])
        ended = await stage.run("dev", "--port", port, "--data-dir", str(room))

    assert ended.said(f"port {port} cannot be used: Address already in use", status=1), ended
    assert _nothing_kept(room)


def _keep_logs(stage: Stage, room: Path) -> None:
    """Have these logs looked through with the others."""
    for log in room.rglob("*.log"):
        shutil.copy(log, stage.directory / f"{room.name}-{log.name}")
