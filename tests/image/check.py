"""`make image-check`: the image's files, made without an engine, looked through and run.

Builds as the Dockerfile says, from what .dockerignore leaves; looks for what must not be in the
image; and runs the gateway from these files alone, read-only, as a user without rights, through
one task from its creation to its end. `GATEWAY_TEST_DATABASE_URL` names a PostgreSQL to use;
without it an embedded one is started. What it cannot show: the base image and its newer Python.

Where a Docker engine answers (`docker version`; DOCKER_HOST counts), it builds the image and runs
it instead; `KIE_GATEWAY_IMAGE_BASE` names another base image than the Dockerfile's.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx

from app.cli.processes.subprocesses import claimed_port
from app.embedded import running
from tests.image import contents, engine
from tests.image.build import Build, Built
from tests.image.compose import FILE as COMPOSE
from tests.image.container import Container
from tests.image.context import ROOT, copy_sent
from tests.image.dockerfile import Stage, read
from tests.processes.stage import Running
from tests.proxy import between
from tests.stage import eventually
from tools import sbom

MEGABYTE = 1_000_000
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28")
BODY = {"model": "google/nano-banana", "input": {"prompt": "a cat"}}
IMPORTED = (
    "import json, sys, app.cli, app.cli.application, app.cli.operators.examination; "
    "import app.cli.processes.receiver, app.cli.processes.stack, app.main, app.store.schema; "
    "app.store.schema.needed(); "
    "print(json.dumps([f for m in sys.modules.values() if (f := getattr(m, '__file__', None))]))"
)
STARTED = time.monotonic()


def tell(text: str) -> None:
    sys.stdout.write(f"{time.monotonic() - STARTED:6.1f} s  {text}\n")
    sys.stdout.flush()


def require(condition: object, text: str) -> None:
    if not condition:
        tell(f"FAILED  {text}")
        raise SystemExit(1)
    tell(f"ok  {text.strip()}")


def main() -> None:
    stages = read((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    validate_compose()
    describe()
    if engine.is_present():
        with_an_engine(stages[-1])
        return
    tell("no Docker engine answers: the Dockerfile's steps are carried out without one")
    with directory() as work:
        require_wheels(stages[-1], work / "nowhere")
        built = build(stages, work)
        look_through(built)
        contents.make_read_only(built.root)
        logs = work / "logs"
        logs.mkdir()
        asyncio.run(use(built, logs))
    tell("done")


def with_an_engine(stage: Stage) -> None:
    """Build the image as users do, and run the gateway from it."""
    base = os.environ.get(engine.BASE)
    tell(f"a Docker engine builds the image from {base or stage.base}")
    require(engine.build(ROOT, base) == 0, "docker build")
    with tempfile.TemporaryDirectory(prefix="kie-image-") as work:
        asyncio.run(use_the_image(engine.EngineContainer.of(stage, Path(work))))
    tell("done")


async def use_the_image(container: Container) -> None:
    user = await container.call(["id", "-u"], {})
    require(user.out.strip() == str(container.user), f"it runs as {user.out.strip()}")
    wrote = await container.call(["python", "-c", "open('/opt/kie-gateway/x', 'w')"], {})
    require(wrote.status == 1, f"it writes nowhere: {wrote.err.strip().splitlines()[-1]}")
    bare = await container.run("migrate")
    require(bare.said("set GATEWAY_DATABASE_URL", status=2), f"without a URL: {bare.err.strip()}")
    async with database() as dsn:
        await from_nothing_to_a_result(container, dsn)


def describe() -> None:
    """Write what the image installs, so that known weaknesses can be looked up."""
    count = sbom.write()
    require(count, f"{sbom.OUTPUT.relative_to(ROOT)}: {count} packages, each with its hashes")


def validate_compose() -> None:
    """Compare docker-compose.yml with the schema that the compose specification publishes."""
    done = _tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE))
    require(done.returncode == 0, f"docker-compose.yml is valid: {done.stdout}{done.stderr}")


def require_wheels(stage: Stage, nowhere: Path) -> None:
    """Look whether every locked wheel exists for the base image's Python, which is not run here."""
    version = re.findall(r"python:(\d+\.\d+)", stage.base)[0]
    for platform in PLATFORMS:
        done = _tool(
            *("uv", "pip", "install", "--dry-run", "--quiet", "--require-hashes"),
            *("--only-binary", ":all:", "--target", str(nowhere), "--python-version", version),
            *("--python-platform", platform, "-r", str(ROOT / "requirements.lock")),
        )
        said = f"every locked wheel exists for Python {version} on {platform} {done.stderr}"
        require(done.returncode == 0, said)


def _tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  # our own tools
        [Path(sys.executable).with_name(name), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """Lend a directory that everybody can look into."""
    work = Path(tempfile.mkdtemp(prefix="kie-image-"))
    work.chmod(0o755)
    try:
        yield work
    finally:
        if (work / "root").exists():
            contents.make_writable(work / "root")
        shutil.rmtree(work)


def build(stages: list[Stage], work: Path) -> Built:
    context = work / "context"
    tell(f"{copy_sent(ROOT, context)} files are sent to the build")
    return Build(context, work, interpreter(stages[-1]), tell).run(stages)


def interpreter(stage: Stage) -> Path:
    """Choose a Python of this machine that the image's user can run."""
    user = int(stage.last("USER").rest.split(":")[0])
    options: dict[str, Any] = (
        {"user": user, "group": user, "extra_groups": []} if os.geteuid() == 0 else {}
    )
    new_enough = "import sys, ensurepip; sys.exit(sys.version_info < (3, 11))"
    for path in (sys._base_executable, "/usr/local/bin/python3", "/usr/bin/python3"):  # type: ignore[attr-defined]
        with contextlib.suppress(OSError):
            done = subprocess.run([path, "-c", new_enough], cwd="/", check=False, **options)  # noqa: S603
            if done.returncode == 0:
                return Path(path)
    message = f"user {user} can run no Python 3.11 or newer of this machine"
    raise SystemExit(message)


def look_through(built: Built) -> None:
    found = contents.files(built.root)
    tell(f"{contents.size(found) / MEGABYTE:.1f} MB in {len(found)} files above the base image:")
    for name, size in contents.largest(built.root, 12):
        tell(f"    {size / MEGABYTE:6.1f} MB  {name}")
    unwanted = list(contents.unwanted(built.root))
    require(not unwanted, f"no tests, documents, history, caches or secrets {unwanted or ''}")
    (site_packages,) = built.root.glob("opt/*/lib/python*/site-packages")
    strangers = contents.strangers(site_packages)
    require(not strangers, f"the locked packages and the project, no other {strangers or ''}")
    uncompiled = list(contents.uncompiled(built.root))
    require(not uncompiled, f"all bytecode is there, to be used as it is {uncompiled[:5] or ''}")


async def use(built: Built, logs: Path) -> None:
    container = Container(built, logs)
    before = contents.state(built.root)
    await require_confined(container)
    async with database() as dsn:
        await from_nothing_to_a_result(container, dsn)
    require(contents.state(built.root) == before, "no file of the image has changed")


async def require_confined(container: Container) -> None:
    root = container.built.root
    python = container.health_check[0]
    place = root / "opt" / "written"
    wrote = await container.call([python, "-c", f"open({str(place)!r}, 'w')"], {})
    said = f"user {container.user} cannot write where the image's files are"
    require("PermissionError" in wrote.err, said)
    looked = await container.call([python, "-c", IMPORTED], {})
    require(looked.status == 0, f"app.cli can be imported {looked.err}")
    foreign = [file for file in looked.json if str(ROOT) in file or "/base/" in file]
    ours = [file for file in looked.json if "/app/" in file]
    inside = all(Path(file).is_relative_to(root) for file in ours)
    require(ours and inside and not foreign, f"from the image's files alone {foreign or ''}")
    bare = await container.run("migrate")
    require(bare.said("set GATEWAY_DATABASE_URL", status=2), f"without a URL: {bare.err.strip()}")


@contextlib.asynccontextmanager
async def database() -> AsyncIterator[str]:
    """Lend an empty database by TCP: an embedded server's socket is its owner's alone."""
    with contextlib.ExitStack() as stack:
        server = os.environ.get("GATEWAY_TEST_DATABASE_URL")
        if not server:
            data = stack.enter_context(tempfile.TemporaryDirectory(prefix="kie-image-db-"))
            server = stack.enter_context(running(Path(data)))
        name = f"image_check_{os.getpid()}"
        connection = await asyncpg.connect(server)
        try:
            await connection.execute(f"CREATE DATABASE {name}")
            parts = urlsplit(server)
            async with between(parts._replace(path=f"/{name}").geturl()) as (_, dsn):
                yield dsn
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        finally:
            await connection.close()


async def from_nothing_to_a_result(container: Container, dsn: str) -> None:
    secret = (await container.run("secrets", "generate")).out.strip()
    port, worker_port = claimed_port(0), claimed_port(0)
    settings = {
        "GATEWAY_DATABASE_URL": dsn,
        "GATEWAY_SECRET_KEYS": json.dumps([secret]),
        "GATEWAY_KIE_API_KEY": "simulator",
        "GATEWAY_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "GATEWAY_WORKER_LISTEN": f"127.0.0.1:{worker_port}",
    }
    migrated = await container.run("migrate", **settings)
    said = migrated.err if migrated.status else migrated.out
    require(migrated.status == 0, f"migrate: {said}")
    async with contextlib.AsyncExitStack() as stack:
        start = container.running
        simulator = await stack.enter_async_context(
            start("simulator", "--port", "0", "--duration", "0.5")
        )
        settings["GATEWAY_KIE_BASE_URL"] = await simulator.url()
        serve = await stack.enter_async_context(start(**settings))
        url = await serve.ready()
        require(url == settings["GATEWAY_PUBLIC_URL"], f"serve is ready at {url}")
        worker = await stack.enter_async_context(start("worker", **settings))
        await eventually(lambda: _answers(f"http://127.0.0.1:{worker_port}/readyz"), 30)
        tell("ok  worker is ready")
        healthy = await container.call(container.health_check, settings)
        require(healthy.status == 0, f"the health check agrees {healthy.err}")
        await one_task(container, url, settings)
        await stopped("serve", serve, 0)
        await stopped("worker", worker, 0)
        await stopped("simulator", simulator, 128 + signal.SIGTERM)  # it has nothing to finish
    unhealthy = await container.call(container.health_check, settings)
    require(unhealthy.status == 1, "the health check fails when serve is gone")


async def _answers(url: str) -> bool | None:
    async with httpx.AsyncClient(trust_env=False) as http:
        try:
            return (await http.get(url)).is_success or None
        except httpx.TransportError:
            return None


async def one_task(container: Container, url: str, settings: dict[str, str]) -> None:
    issued = await container.run("keys", "create", "image-check", "--json", **settings)
    require(issued.status == 0, f"keys create {'' if issued.status == 0 else issued.err}")
    headers = {"Authorization": f"Bearer {issued.json['api_key']}"}
    async with httpx.AsyncClient(
        base_url=url, headers=headers, trust_env=False, timeout=60
    ) as http:
        created = (await http.post("/v1/tasks", json=BODY)).raise_for_status().json()
        task = (await http.get(f"/v1/tasks/{created['id']}?wait=50")).raise_for_status().json()
    said = f"a task: {task['state']}, {'confirmed' if task['confirmed'] else 'not confirmed'}"
    require((task["state"], task["confirmed"]) == ("succeeded", True), said)


async def stopped(name: str, process: Running, expected: int) -> None:
    status = await process.end(signal.SIGTERM)
    require(status == expected, f"{name} ends with {status} on SIGTERM")


if __name__ == "__main__":
    main()
