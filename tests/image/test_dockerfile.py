import re
import sys
import tomllib
from asyncio import create_subprocess_exec
from asyncio.subprocess import DEVNULL
from importlib import metadata

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.config import Settings
from tests.each import each
from tests.image.compose import services
from tests.image.context import ROOT, sent
from tests.image.dockerfile import Stage, UnreadableError, read
from tests.stage import serving

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PIN = re.compile(r"^(\S+==\S+)(?: ; .*)? \\\n((?: +--hash=\S+(?: \\\n|\n|$))+)", re.MULTILINE)


@pytest.fixture(scope="module")
def stages() -> list[Stage]:
    return read(TEXT)


@pytest.fixture(scope="module")
def image(stages: list[Stage]) -> Stage:
    return stages[-1]


def pins(name: str) -> dict[str, str]:
    """Return a lock file's `name==version`, to its hashes."""
    found = PIN.findall((ROOT / name).read_text(encoding="utf-8"))
    return {pin: " ".join(sorted(re.findall(r"sha256:\w+", hashes))) for pin, hashes in found}


def test_one_argument_names_the_base_of_all_stages(stages: list[Stage]) -> None:
    assert {stage.base for stage in stages} == {"python:3.13-slim"}
    assert {stage.base for stage in read(TEXT, {"PYTHON_IMAGE": "mine@sha256:1"})} == {
        "mine@sha256:1"
    }


def test_it_runs_as_a_number_that_is_not_root(image: Stage) -> None:
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", image.last("USER").rest)
    after = [step.word for step in image.instructions if step.line > image.last("USER").line]
    assert "RUN" not in after
    assert "COPY" not in after


def test_signals_reach_the_program(image: Stage) -> None:
    assert image.last("ENTRYPOINT").arguments() == ["kie-gateway"]
    assert image.last("CMD").arguments() == ["serve"]
    assert image.last("STOPSIGNAL").rest == "SIGTERM"


def test_the_ports_are_those_of_the_settings(image: Stage) -> None:
    defaults = (Settings().listen.port, Settings().worker_listen.port)
    assert image.last("EXPOSE").rest == " ".join(map(str, defaults))


def test_the_labels_tell_version_revision_and_base() -> None:
    (labels,) = read(TEXT, {"REVISION": "0123abc"})[-1].having("LABEL")
    assert labels.pairs() == {
        "org.opencontainers.image.title": "kie-gateway",
        "org.opencontainers.image.description": labels.pairs()[
            "org.opencontainers.image.description"
        ],
        "org.opencontainers.image.version": metadata.version("kie-gateway"),
        "org.opencontainers.image.revision": "0123abc",
        "org.opencontainers.image.base.name": "python:3.13-slim",
    }


def test_whatever_is_downloaded_has_a_hash(stages: list[Stage]) -> None:
    runs = " && ".join(run.rest for stage in stages for run in stage.having("RUN"))
    installs = [command for command in runs.split("&&") if " install " in command]
    assert len(installs) == 3
    for command in installs:
        assert {"--require-hashes", "--only-binary=:all:"} <= set(command.split()) or {
            "--no-deps",
            "--no-index",
        } <= set(command.split())
    assert not re.search(r"curl|wget|https?:|apt-get|git ", runs)


def test_what_it_copies_is_there_and_is_sent(stages: list[Stage]) -> None:
    present = set(sent(ROOT))
    for stage in stages:
        for copy in stage.having("COPY"):
            for source in copy.rest.split()[:-1]:
                given = copy.flags.get("from") == "build"
                assert given or any(f"{n}/".startswith(f"{source}/") for n in present), source


def test_the_image_gets_the_environment_and_nothing_else(image: Stage) -> None:
    (copy,) = image.having("COPY")
    assert copy.flags == {"from": "build"}
    assert copy.rest == "/opt/kie-gateway /opt/kie-gateway"


@pytest.mark.parametrize("name", ["build", "demo"])
def test_each_lock_has_the_packages_of_development(name: str) -> None:
    """Or `make setup` would replace what `make demo` has installed."""
    some, development = pins(f"requirements-{name}.lock"), pins("requirements-dev.lock")
    assert some.items() <= development.items(), f"requirements-{name}.lock is another: make lock"


def test_the_wheel_is_built_with_the_tools_of_development() -> None:
    build = pins("requirements-build.lock")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = {pin.partition("==")[0] for pin in build}
    assert set(project["build-system"]["requires"]) <= names


@pytest.mark.parametrize("service", ["image", "compose"])
@pytest.mark.parametrize("status", [200, 503])
async def test_the_health_check_believes_the_status(
    service: str, status: int, image: Stage
) -> None:
    asked: list[str] = []

    async def answer(request: Request) -> Response:
        asked.append(request.url.path)
        return Response(status_code=status)

    program, _, code = image.health_check
    if service == "compose":
        check = services({"POSTGRES_PASSWORD": "x", "GATEWAY_DATABASE_APP_PASSWORD": "y"})["serve"][
            "healthcheck"
        ]
        _, program, _, code = check["test"]
    assert program == "python"
    async with serving(Starlette(routes=[Route("/{path:path}", answer)])) as url:
        port = url.rpartition(":")[2]
        assert await probed(code.replace("8000", port), port) == int(status != 200)
    assert asked == ["/livez" if service == "image" else "/readyz"]
    assert await probed(code.replace("8000", port), port) == 1  # nobody is there


async def probed(code: str, port: str) -> int:
    process = await create_subprocess_exec(
        *(sys.executable, "-c", code), env={"GATEWAY_LISTEN": f"127.0.0.1:{port}"}, stderr=DEVNULL
    )
    return await process.wait()


@each(
    "text",
    [
        "FROM a\nADD https://a.test/b /b\n",
        "# syntax=a/b\nFROM a\n",
        "FROM a\nRUN <<EOF\nls\nEOF\n",
        "FROM a\nRUN --mount=type=cache,target=/c ls\n",
        "FROM a\nCOPY --chown=1 b c\n",
        "FROM a\nUSER $WHO\n",
        "FROM a\nUSER ${WHO}\n",
        "FROM a as b\n",
        "FROM a\nENV A b\n",
        "run ls\n",
        "USER 1\nFROM a\n",
        "FROM a\nRUN ls \\\n",
    ],
)
def test_what_is_not_carried_out_is_refused(text: str) -> None:
    with pytest.raises(UnreadableError):
        read(text)


def test_a_command_in_the_shells_form_is_refused() -> None:
    (stage,) = read("FROM a\nCMD kie-gateway serve\n")
    with pytest.raises(UnreadableError, match="Dockerfile:2"):
        stage.last("CMD").arguments()
