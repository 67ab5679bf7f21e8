"""The hardened deployment, started from the page's own lines: one task goes through all of it."""

import asyncio
import json
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio

from tests import postgres
from tests.database import fetch
from tests.gateway import BODY
from tests.postgres import Server
from tests.processes import nginx
from tests.processes.stage import OF_TESTS, Running, Stage
from tests.services.callers import Caller
from tests.stage import eventually

PAGE = Path(__file__).parents[2] / "docs" / "deploying.md"
BLOCK = re.compile(r"^```sh (\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SUPERUSER = "postgres-of-the-test"

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not (postgres.DEBIAN / "postgres").exists(),
        reason="PostgreSQL 15 is not here (Debian's package: postgresql-15)",
    ),
    pytest.mark.skipif(
        nginx.NGINX is None, reason="nginx is not installed (Debian's package: nginx-light)"
    ),
]


@dataclass(kw_only=True)
class House:
    """What the page's lines are filled in with, and the commands that they end with."""

    stage: Stage
    server: Server
    certificate: Path
    files: Path
    port: int
    kie: str = ""
    public_url: str = ""
    passwords: dict[str, str] = field(default_factory=lambda: {"SUPERUSER": SUPERUSER})

    def lines(self, name: str) -> tuple[dict[str, str | None], list[str]]:
        """Return the settings of one of the page's blocks, and the command's arguments."""
        found = dict(BLOCK.findall(PAGE.read_text(encoding="utf-8")))[name]
        *settings, command = found.strip().splitlines()
        program, *arguments = command.split()
        assert program == "kie-gateway"
        given: dict[str, str | None] = dict.fromkeys(OF_TESTS)
        for line in settings:
            key, _, value = line.partition("=")
            given[key] = self._filled(value.strip("\"'"))
        return given, arguments

    def _filled(self, value: str) -> str:
        for name, password in self.passwords.items():
            value = value.replace(f"${name}@", f"{password}@")
        value = value.replace(
            "@db:5432/gateway", f"@127.0.0.1:{self.server.port}/{postgres.DATABASE}"
        )
        value = value.replace("/etc/kie-gateway/ca.pem", str(self.certificate))
        value = value.replace("/run/secrets", str(self.files))
        value = value.replace("https://gateway.example.com", self.public_url)
        value = value.replace("10.0.0.0/8", "127.0.0.0/8")
        return value.replace("0.0.0.0:9000", f"127.0.0.1:{nginx.free_ports(1)[0]}")

    @asynccontextmanager
    async def running(self, name: str, **more: str) -> AsyncIterator[Running]:
        settings, arguments = self.lines(name)
        given = {**settings, "GATEWAY_LISTEN": "127.0.0.1:0", **more}
        async with self.stage.running(*arguments, **given) as process:
            yield process


@pytest.fixture
def house(tmp_path: Path, certificate: Path) -> Iterator[House]:
    """Lend a PostgreSQL that takes only TLS and passwords, and files with secrets."""
    files = tmp_path / "secrets"
    files.mkdir()
    (tmp_path / "logs").mkdir()
    with postgres.servers(postgres.DEBIAN) as make:
        server = make.new(fsync="on", log_min_messages="warning")
        _harden(server, certificate)
        stage = Stage(tmp_path / "logs", {}, secrets={SUPERUSER})
        made = House(stage=stage, server=server, certificate=certificate, files=files, port=0)
        for role in ("owner", "app", "receiver"):
            password = made.passwords[role.upper()] = secrets.token_urlsafe(16)
            (files / f"{role}_password").write_text(password)
            stage.secrets.add(password)
        for name in ("callback_keys", "secret_keys", "kie_api_key", "admin_key"):
            secret = secrets.token_urlsafe(32)
            (files / name).write_text(secret)
            stage.secrets.add(secret)
        yield made
        assert stage.leaks() == []


def _harden(server: Server, certificate: Path) -> None:
    shutil.copy(certificate, server.data / "server.pem")
    server.execute(
        f"ALTER ROLE postgres PASSWORD '{SUPERUSER}'",
        *(f"ALTER SYSTEM SET {name} = 'server.pem'" for name in ("ssl_cert_file", "ssl_key_file")),
        "ALTER SYSTEM SET ssl = on",
    )
    (server.data / "server.pem").chmod(0o600)
    (server.data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
    server.own()
    server.restart()


@pytest_asyncio.fixture
async def caller() -> AsyncIterator[Caller]:
    caller = Caller()
    caller.go.set()
    await caller.comes_up()
    yield caller
    await caller.goes_down()


async def test_a_task_goes_through_what_the_page_describes(
    house: House, caller: Caller, tmp_path: Path
) -> None:
    settings, arguments = house.lines("migrate")
    migrated = await house.stage.run(*arguments, stdin="", **settings)
    assert migrated.status == 0, migrated.err
    simulator = ("simulator", "--host", "127.0.0.1", "--port", "0", "--duration", "0.5")
    async with house.stage.running(*simulator) as kie:
        more = {
            "GATEWAY_KIE_BASE_URL": await kie.url(),
            "GATEWAY_DELIVERY_ALLOW_LOOPBACK": "true",  # the one receiver here
        }
        (port,) = nginx.free_ports(1)
        house.public_url = f"http://127.0.0.1:{port}"
        async with house.running("receiver") as receiver, house.running("api", **more) as api:
            ports = [urlsplit(await process.ready()).port or 0 for process in (api, receiver)]
            proxied = nginx.before([ports[0]] * 3, tmp_path, receiver=ports[1], listen=port)
            async with proxied as proxy:
                await _live_through(house, proxy, caller)
            async with httpx.AsyncClient(trust_env=False) as http:
                inside = await http.get(f"http://127.0.0.1:{ports[1]}/v1/tasks")
                assert inside.status_code == 404  # the receiver has no API
    assert "permission denied" not in house.server._log.read_text()


async def _live_through(house: House, proxy: nginx.Nginx, caller: Caller) -> None:
    settings, _ = house.lines("api")
    made = await house.stage.run("keys", "create", "shop", "--json", stdin="", **settings)
    key = made.json["api_key"]
    house.stage.secrets.add(key)
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(
        base_url=proxy.url, headers=headers, trust_env=False, timeout=30
    ) as http:
        created = await http.post("/v1/tasks", json={**BODY, "webhook_url": caller.url})
        assert created.status_code == 201, created.text
        task_id = created.json()["id"]

        async def succeeded() -> bool | None:
            answer = await http.get(f"/v1/tasks/{task_id}?wait=5")
            return answer.json()["state"] == "succeeded" or None

        await eventually(succeeded, 30)
        heard = (await http.get(f"/v1/tasks/{task_id}/callbacks")).json()["data"]
        assert "callback" in {one["source"] for one in heard}
        assert (await http.get("/docs")).status_code == 401

    async def notified() -> bool | None:
        return caller.events == ["task.succeeded"] or None

    await eventually(notified, 30)
    assert "callbacks/kie" not in proxy.said
    await asyncio.to_thread(_check_sessions, house)


def _check_sessions(house: House) -> None:
    """All of ours are encrypted, and none is the superuser's."""
    query = (
        "SELECT json_agg(DISTINCT usename || ' ' || ssl) FROM pg_stat_activity"
        " JOIN pg_stat_ssl USING (pid) WHERE application_name = 'kie-gateway'"
    )
    url = f"{house.server.dsn.replace('postgres@', f'postgres:{SUPERUSER}@')}?sslmode=require"
    found = json.loads(fetch(url, query))
    assert sorted(found) == ["kie_gateway_app true", "kie_gateway_receiver true"]
