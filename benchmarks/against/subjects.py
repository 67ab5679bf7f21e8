"""What is compared: the gateway with several settings, the floor, and peers of other makers."""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from typing_extensions import override

from benchmarks.stand import environment

HERE = Path(__file__).parents[2]
PEERS = HERE / "build" / "peers"
HMAC_KEY = "a-webhook-key-for-benchmarks-only-0123456789"
START_WITHIN = 90.0

GATEWAY: Mapping[str, str] = {
    "GATEWAY_KIE_CREATES_PER_10S": "1000",
    "GATEWAY_KIE_MAX_RUNNING": "100000",
    "GATEWAY_CLIENT_RUNNING_SHARE": "1",
    "GATEWAY_DELIVERY_ALLOW_LOOPBACK": "true",
}


class SkippedError(Exception):
    """A subject that cannot be measured here; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a subject runs: its database, the stand-in kie.ai, and whose code it is."""

    dsn: str
    kie: str
    checkout: Path = HERE

    @property
    def python(self) -> str:
        """Another checkout's own where it has one: what it needs may be gone from this one."""
        own = self.checkout / ".venv" / "bin" / "python"
        return str(own) if self.checkout != HERE and own.exists() else sys.executable


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A subject that answers at `url`; `headers` and `extra` go with each create."""

    url: str
    pid: int
    create: str = "/v1/tasks"
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)
    hmac_key: str = ""

    def signed(self, kie_id: str) -> dict[str, str]:
        """Return the headers of a callback about this task of kie.ai's."""
        if not self.hmac_key:
            return {}
        now = str(int(time.time()))
        mac = hmac.digest(self.hmac_key.encode(), f"{kie_id}.{now}".encode(), hashlib.sha256)
        return {
            "X-Webhook-Timestamp": now,
            "X-Webhook-Signature": base64.b64encode(mac).decode(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One column of the comparison."""

    name: str
    operations: Sequence[str] = ("read", "create", "callback", "livez", "idle")
    settings: Mapping[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def started(self, place: Place) -> Iterator[Running]:
        """Run the gateway for the length of the block."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        given = {**GATEWAY, **self.settings, "GATEWAY_LISTEN": f"127.0.0.1:{port}"}
        settings = environment(place.dsn, place.kie, **given, GATEWAY_PUBLIC_URL=url)
        command = [place.python, "-m", "app.cli"]
        ours = {n: v for n, v in os.environ.items() if not n.startswith("GATEWAY_")} | settings
        _output([*command, "migrate"], ours, place.checkout)
        made = _output([*command, "keys", "create", "bench", "--json"], ours, place.checkout)
        key = json.loads(made)["api_key"]
        with run([*command, "serve"], ours, f"{url}/livez", place.checkout) as pid:
            yield Running(
                url=url,
                pid=pid,
                headers={"Authorization": f"Bearer {key}"},
                extra={"webhook_url": f"{place.kie}/hook"},
                hmac_key=HMAC_KEY if "GATEWAY_KIE_WEBHOOK_HMAC_KEYS" in self.settings else "",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Program(Subject):
    """A program under `uvicorn`, in this environment or in one of its own."""

    module: str
    prefix: str
    packages: Sequence[str] = ()

    @override
    @contextlib.contextmanager
    def started(self, place: Place) -> Iterator[Running]:
        python = environment_with(self.name, self.packages) if self.packages else sys.executable
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        told = {"DSN": place.dsn, "KIE": place.kie, "URL": url}
        env = os.environ | {f"{self.prefix}_{name}": value for name, value in told.items()}
        serving = ["-m", "uvicorn", "--no-access-log", "--log-level", "warning"]
        with run([python, *serving, "--port", str(port), self.module], env, f"{url}/", HERE) as pid:
            yield Running(url=url, pid=pid)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteLLM(Subject):
    """LiteLLM's proxy, which passes creates through."""

    packages: Sequence[str]

    @override
    @contextlib.contextmanager
    def started(self, place: Place) -> Iterator[Running]:
        python = environment_with(self.name, self.packages)
        port = free_port()
        key = f"sk-{secrets.token_hex(32)}"
        through = {"path": "/v1/tasks", "target": f"{place.kie}/api/v1/jobs/createTask"}
        config = {"general_settings": {"pass_through_endpoints": [through]}}
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as written:
            json.dump(config, written)
            written.flush()
            program = Path(python).with_name("litellm")
            command = [str(program), "--config", written.name, "--port", str(port)]
            command += ["--host", "127.0.0.1", "--num_workers", "1"]
            env = os.environ | {
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
                "LITELLM_LOG": "ERROR",
                "LITELLM_MASTER_KEY": key,  # else it does not start
            }
            url = f"http://127.0.0.1:{port}"
            with run(command, env, f"{url}/health/liveliness", HERE) as pid:
                yield Running(url=url, pid=pid, headers={"Authorization": f"Bearer {key}"})


def environment_with(name: str, packages: Sequence[str]) -> str:
    """Install packages into an environment of their own, once; raises `SkippedError`."""
    folder = PEERS / name
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)  # noqa: S603
            subprocess.run(  # noqa: S603
                [python, "-m", "pip", "install", "-q", *packages],
                check=True,
                capture_output=True,
                text=True,
                timeout=600,
            )
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
            message = f"pip install {' '.join(packages)}: {said[-1]}"
            raise SkippedError(message) from None
        (folder / ".ready").touch()
    return str(python)


@contextlib.contextmanager
def run(
    command: Sequence[str], env: Mapping[str, str], answers: str, folder: Path
) -> Iterator[int]:
    """Run a program until the block ends; yields its pid once the URL answers anything."""
    with tempfile.TemporaryFile("w+") as said:
        one = subprocess.Popen(  # noqa: S603
            command, env=env, cwd=folder, stdout=said, stderr=subprocess.STDOUT
        )
        try:
            _await(one, answers, said.fileno())
            yield one.pid
        finally:
            one.send_signal(signal.SIGTERM)
            try:
                one.wait(30)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()


def _await(one: "subprocess.Popen[bytes]", url: str, said: int) -> None:
    host, _, port = url.split("/")[2].partition(":")
    deadline = time.monotonic() + START_WITHIN
    while one.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
            return
        time.sleep(0.1)
    text = os.pread(said, 1_000_000, 0).decode(errors="replace").strip()
    message = f"did not start: {text[-600:]}"
    raise SkippedError(message)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _output(command: Sequence[str], env: Mapping[str, str], folder: Path) -> str:
    done = subprocess.run(  # noqa: S603
        command, env=env, cwd=folder, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


SUBJECTS: Sequence[Subject] = (
    Program(
        name="floor",
        module="benchmarks.against.raw:app",
        prefix="FLOOR",
        operations=("livez", "read", "create", "callback"),
    ),
    Subject(name="gateway", settings={"GATEWAY_KIE_CONFIRM": "off"}),
    Subject(
        name="confirm-before",
        operations=("create", "callback"),
        settings={"GATEWAY_KIE_CONFIRM": "before", "GATEWAY_KIE_QUERIES_PER_SECOND": "1000"},
    ),
    Subject(
        name="hmac-after",
        operations=("create", "callback"),
        settings={
            "GATEWAY_KIE_WEBHOOK_HMAC_KEYS": json.dumps([HMAC_KEY]),
            "GATEWAY_KIE_CONFIRM": "after",
            "GATEWAY_KIE_QUERIES_PER_SECOND": "1000",
        },
    ),
    *(
        Subject(
            name=f"limit-{limit}",
            operations=("create",),
            settings={
                "GATEWAY_KIE_CONFIRM": "off",
                "GATEWAY_KIE_CREATES_PER_10S": str(limit),
                "GATEWAY_KIE_CREATE_WINDOW": "0.2",  # both go on
            },
        )
        for limit in (20, 10_000)
    ),
    Program(
        name="forwarder",
        module="benchmarks.against.forwarder:app",
        prefix="FORWARDER",
        operations=("create",),
        packages=("fastapi", "httpx", "uvicorn[standard]"),
    ),
    LiteLLM(name="litellm", operations=("create",), packages=("litellm[proxy]",)),
)
