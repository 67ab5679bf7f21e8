"""What a command does not need it does not import: the first answer must not take seconds."""

import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import version
from secrets import token_urlsafe
from typing import get_args, get_type_hints

import pytest

from app.cli.operators.keys import DAY
from app.cli.processes.serve import serve
from app.domain.client import USUAL_GRACE
from app.main import Surface
from tests.processes.stage import bare_environment

HEAVY = ("aiohttp", "alembic", "asyncpg", "fastapi", "httpx", "sqlalchemy", "starlette", "uvicorn")
LIGHT = (
    "--help",
    "--version",
    "secrets generate",
    "tasks --help",
    "tasks list --help",
    "tasks bind --help",
    "listen --help",
    "serve --help",
    "keys rotate-secret --help",
    "demo --help",
)
OTHERS = ("app.cli.processes", "app.cli.operators", "app.config", "app.embedded", "app.store")
"""What only operators' commands and processes need."""
UNCALLED = (
    *(name for name in HEAVY if name != "httpx"),
    *("click", "pydantic", "pygments", "rich", "structlog"),
    *("kie_gateway_client.aio", "kie_gateway_client.models"),
)
"""What a command that only calls a gateway does without."""

SHOW = """
import sys
from app.cli import main
try:
    main()
finally:
    print("imported:", *sorted({names!r} & sys.modules.keys()))
"""
"""Runs the command in a process of its own, and prints which of `names` it imported."""


def _shown(
    arguments: str, before: str = "", names: Iterable[str] = HEAVY, status: int = 0
) -> list[str]:
    done = subprocess.run(  # noqa: S603  # our own command
        [sys.executable, "-c", before + SHOW.format(names=set(names)), *arguments.split()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("arguments", LIGHT)
def test_a_command_imports_only_what_it_needs(arguments: str) -> None:
    *answer, imported = _shown(arguments, names=(*HEAVY, "pydantic"))

    assert answer
    assert imported == "imported:"


@pytest.mark.parametrize("arguments", ["--help", "--version"])
def test_to_list_the_commands_imports_none(arguments: str) -> None:
    kinds = ("callers", "operators", "processes")
    found = _shown(arguments, names=(*UNCALLED, *OTHERS, *(f"app.cli.{kind}" for kind in kinds)))

    assert found[-1] == "imported:"


CALLS = (
    "tasks list",
    "tasks list --state queued --retryable --limit 200",
    "tasks get 1",
    "tasks create --model m --input {} --metadata order=1 --priority 3",
    "deliveries list",
    "files list",
)


@pytest.mark.parametrize("command", CALLS)
def test_a_call_imports_only_what_calls(command: str) -> None:
    nobody = "--key kgw_nobody --url http://127.0.0.1:9"
    names = {*UNCALLED, *OTHERS, "app.cli.context", "httpx"}
    found = _shown(f"{command} {nobody}", names=names, status=1)

    assert found == ["imported: httpx"]  # it did try


@pytest.mark.parametrize("command", ["serve", "worker", "keys create me", "clients list"])
def test_wrong_settings_are_told_before_anything_is_imported(command: str) -> None:
    done = subprocess.run(  # noqa: S603  # our own command
        [sys.executable, "-c", SHOW.format(names=set(HEAVY)), *command.split()],
        capture_output=True,
        text=True,
        check=False,
        env={**bare_environment(), "GATEWAY_NOT_A_SETTING": "1"},
    )

    assert "GATEWAY_NOT_A_SETTING: is not a setting" in done.stderr
    assert done.stdout.splitlines()[-1] == "imported:"


UNUSED = (
    *("alembic", "app.embedded", "cryptography", "httpcore", "httpx", "jinja2", "mako", "obstore"),
    *("pygments", "rich", "simulator"),
)
SERVE = f"""
import asyncio, sys
from app.cli.context import ready_settings
from app.cli.application import run
from pydantic import SecretStr
from app.config import Settings
from app.main import create_app
from app.store import releases
from app.wiring import wired
secret_keys = [SecretStr({token_urlsafe(40)!r})]
settings = Settings(database_url=SecretStr("postgresql://h/d"), secret_keys=secret_keys)
create_app(settings)
async def start():
    async with wired(settings, settings.dsn):
        assert releases.needed()
asyncio.run(start())
print("imported:", *sorted({set(UNUSED)!r} & sys.modules.keys()))
"""
"""Does what `serve` does until it asks the database."""


def test_a_process_that_serves_holds_only_what_it_uses() -> None:
    done = subprocess.run(  # noqa: S603  # our own code
        [sys.executable, "-c", SERVE], capture_output=True, text=True, check=False
    )
    assert done.stdout == "imported:\n", done.stderr


def test_what_is_imported_is_seen() -> None:
    assert _shown("--version", "import sqlalchemy")[-1] == "imported: sqlalchemy"


def test_the_version_is_the_packages() -> None:
    assert _shown("--version")[0] == f"kie-gateway {version('kie-gateway')}"


# -- values that are written twice, since their homes are heavy


def test_the_usual_grace_is_the_apis() -> None:
    assert DAY == USUAL_GRACE


def test_the_surfaces_are_those_there_are() -> None:
    assert set(get_args(get_type_hints(serve)["surface"])) == set(Surface)
