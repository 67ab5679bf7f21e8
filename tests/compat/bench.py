"""What a conversation needs, started on this machine: a gateway, a stand-in kie.ai, a client."""

import contextlib
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.compat import mcp
from tests.compat.conversation import converse
from tests.compat.page import stable
from tests.hooks import Hook, listening
from tests.processes.stage import Stage

EXPORTED = re.compile(r"^export (GATEWAY|SIMULATOR|KEY)=(\S+)$", re.MULTILINE)

KEPT = ("model", "state", "settled_by", "fail_code", "fail_message", "credits_consumed")
"""What is shown of a task: enough to see that it went through the gateway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the client is pointed at, and by whose key."""

    name: str
    url: str
    api_key: str
    tells: int
    """Callbacks that a conversation leads to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Holds conversations; `command` starts the client."""

    command: Sequence[str]
    gateway: Place
    direct: Place
    folder: Path

    async def held(self, place: Place) -> Any:
        """Converse with a client that is pointed at `place`; returns what can be repeated of it.

        `about` the client, the `turns`, and the bodies `heard` at its callback URL.
        """
        log = self.folder / f"{place.name}.log"
        async with (
            httpx.AsyncClient(base_url=self.direct.url, trust_env=False) as simulator,
            listening() as hook,
            mcp.serving(self.command, self._environment(place, hook), log) as server,
        ):
            about = (await server.initialize())["serverInfo"]
            offered = (await server.request("tools/list"))["tools"]
            turns = [said async for said in converse(server, simulator)]
            heard = [told.document for told in await hook.hears(place.tells)]
        document = {
            "about": {**about, "tools_offered": len(offered)},
            "turns": turns,
            "heard": heard,
        }
        return json.loads(stable(json.dumps(document), self._hosts(hook)))

    async def kept(self) -> list[dict[str, Any]]:
        """Return what the gateway's own API says of the tasks, oldest first."""
        headers = {"Authorization": f"Bearer {self.gateway.api_key}"}
        async with httpx.AsyncClient(base_url=self.gateway.url, trust_env=False) as http:
            answer = await http.get("/v1/tasks", headers=headers)
        tasks = answer.raise_for_status().json()["data"]
        return [{name: task[name] for name in KEPT} for task in reversed(tasks)]

    def _hosts(self, hook: Hook) -> Mapping[str, str]:
        return {
            self.gateway.url: "http://gateway:8000",
            self.direct.url: "http://kie.example",
            hook.url: "http://caller.example/hook",
        }

    def _environment(self, place: Place, hook: Hook) -> dict[str, str]:
        """Keep the client to this machine: its files, and whom it has told."""
        home = self.folder / place.name
        home.mkdir()
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "KIE_AI_BASE_URL": f"{place.url}/api/v1",
            "KIE_AI_API_KEY": place.api_key,
            "KIE_AI_DB_PATH": str(home / "tasks.db"),
            "KIE_AI_CALLBACK_URL": hook.url,
            "KIE_AI_CALLBACK_URL_FALLBACK": hook.url,
            "KIE_AI_ALLOW_DIRECT_GENERATION": "true",  # nobody is here to approve of it
        }


@contextlib.asynccontextmanager
async def bench(command: Sequence[str], folder: Path) -> AsyncIterator[Bench]:
    """Start a gateway and its stand-in kie.ai, as `kie-gateway dev` does."""
    arguments = ("--port", "0", "--data-dir", str(folder / "data"))
    async with Stage(folder, {}).running("dev", *arguments) as dev:
        at = dict(EXPORTED.findall(await dev.says("\ncurl ")))
        gateway = Place(name="gateway", url=at["GATEWAY"], api_key=at["KEY"], tells=3)
        direct = Place(name="direct", url=at["SIMULATOR"], api_key="any", tells=2)
        try:
            yield Bench(command=command, gateway=gateway, direct=direct, folder=folder)
        finally:
            await dev.end(signal.SIGINT)  # as Ctrl-C: it stops what it has started
