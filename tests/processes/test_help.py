"""`--help` of every command: it works, says what the command needs, and shows how it is used."""

import functools
from collections.abc import Iterator

import typer
from typer.core import TyperCommand, TyperGroup
from typer.testing import CliRunner

from app.cli import COMMANDS as LISTED
from app.cli import app
from app.cli.callers.tasks import ELSEWHERE
from tests.each import each

SETTINGS = {
    "serve": (
        *("GATEWAY_SECRET_KEYS", "GATEWAY_DATABASE_URL", "GATEWAY_PUBLIC_URL"),
        *("GATEWAY_METRICS_LISTEN", "GATEWAY_TRUSTED_PROXIES"),
    ),
    "worker": (
        *("GATEWAY_SECRET_KEYS", "GATEWAY_DATABASE_URL", "GATEWAY_PUBLIC_URL"),
        "GATEWAY_METRICS_LISTEN",
    ),
    "migrate": ("GATEWAY_DATABASE_URL",),
    "simulator": ("GATEWAY_KIE_BASE_URL",),
    "dev": ("GATEWAY_DATA_DIR",),
    "doctor": ("GATEWAY_",),
    "stuck": ("GATEWAY_DATABASE_URL",),
    "admission pause": ("GATEWAY_DATABASE_URL",),
    "admission resume": ("GATEWAY_DATABASE_URL",),
    "admission status": ("GATEWAY_DATABASE_URL", "GATEWAY_KIE_MAX_RUNNING"),
    "admission expect-move": ("GATEWAY_DATABASE_URL",),
    "tasks review": ("GATEWAY_DATABASE_URL",),
    "usage": ("only GATEWAY_DATABASE_URL",),
    "models": ("only GATEWAY_DATABASE_URL",),
    "reconciliation": ("only GATEWAY_DATABASE_URL", "GATEWAY_BALANCE_EVERY"),
    "budgets set": ("only GATEWAY_DATABASE_URL",),
    "budgets list": ("only GATEWAY_DATABASE_URL",),
    "budgets clear": ("only GATEWAY_DATABASE_URL",),
    "clients list": ("GATEWAY_DATABASE_URL",),
    "clients set": ("GATEWAY_DATABASE_URL",),
    "clients disable": ("only GATEWAY_DATABASE_URL",),
    "clients enable": ("only GATEWAY_DATABASE_URL",),
    "clients erase": ("only GATEWAY_DATABASE_URL",),
    "audit list": ("only GATEWAY_DATABASE_URL",),
    "audit prune": ("only GATEWAY_DATABASE_URL",),
    "tasks erase": ("KIE_GATEWAY_URL", "KIE_GATEWAY_API_KEY"),
    "admin-keys create": ("only GATEWAY_DATABASE_URL",),
    "admin-keys list": ("only GATEWAY_DATABASE_URL",),
    "admin-keys revoke": ("only GATEWAY_DATABASE_URL",),
    "tasks bind": ("GATEWAY_DATABASE_URL", "GATEWAY_KIE_API_KEY", "GATEWAY_SECRET_KEYS"),
    "tasks requeue": ("GATEWAY_DATABASE_URL",),
    "tasks release": ("GATEWAY_DATABASE_URL",),
    "demo": ("no settings",),
    "keys create": ("GATEWAY_SECRET_KEYS", "GATEWAY_DATABASE_URL"),
    "keys list": ("only GATEWAY_DATABASE_URL",),
    "keys revoke": ("only GATEWAY_DATABASE_URL",),
    "secrets generate": ("GATEWAY_SECRET_KEYS",),
    "secrets reseal": ("GATEWAY_SECRET_KEYS", "GATEWAY_DATABASE_URL"),
    "keys rotate-secret": ("GATEWAY_SECRET_KEYS", "GATEWAY_DATABASE_URL"),
    "listen": ("KIE_GATEWAY_SIGNING_SECRET", "GATEWAY_DELIVERY_ALLOW_LOOPBACK"),
    "deliveries list": ("KIE_GATEWAY_URL", "KIE_GATEWAY_API_KEY"),
    "deliveries redeliver": ("KIE_GATEWAY_URL", "KIE_GATEWAY_API_KEY"),
    "deliveries enable": ("KIE_GATEWAY_URL", "KIE_GATEWAY_API_KEY"),
    "files upload": ("KIE_GATEWAY_URL", "KIE_GATEWAY_API_KEY"),
    "files get": ("KIE_GATEWAY_URL", "KIE_GATEWAY_API_KEY"),
    "files list": ("KIE_GATEWAY_URL", "KIE_GATEWAY_API_KEY"),
    "tasks create": ("KIE_GATEWAY_URL", "KIE_GATEWAY_API_KEY"),
    "tasks get": ("KIE_GATEWAY_URL", "KIE_GATEWAY_API_KEY"),
    "tasks list": ("KIE_GATEWAY_URL", "KIE_GATEWAY_API_KEY"),
    "tasks cancel": ("KIE_GATEWAY_URL", "KIE_GATEWAY_API_KEY", "GATEWAY_DATABASE_URL"),
    "tasks fail": ("GATEWAY_DATABASE_URL",),
    "tasks watch": ("KIE_GATEWAY_URL", "KIE_GATEWAY_API_KEY"),
}


def _walk(command: object, *path: str) -> Iterator[tuple[tuple[str, ...], object]]:
    yield path, command
    if isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            yield from _walk(inner, *path, name)


COMMANDS = list(_walk(typer.main.get_command(app)))


@functools.cache
def _help(path: tuple[str, ...]) -> str:
    shown = CliRunner().invoke(app, [*path, "--help"], prog_name="kie-gateway")
    assert shown.exit_code == 0, shown.output
    return shown.output


@each(("path", "command"), COMMANDS)
def test_help(path: tuple[str, ...], command: object) -> None:
    shown = _help(path)

    assert isinstance(command, TyperCommand | TyperGroup)
    assert command.help
    assert command.help.count(f"kie-gateway {' '.join(path)}".strip()) >= 1  # an example
    assert max(len(line) for line in command.help.splitlines()[2:]) <= 78  # as it stands, unwrapped
    assert "Usage: kie-gateway" in shown


@each("name", SETTINGS)
def test_help_names_the_settings(name: str) -> None:
    shown = _help(tuple(name.split()))

    assert [setting for setting in SETTINGS[name] if setting not in shown] == []


def test_the_lists_say_what_the_commands_say() -> None:
    commands = dict(COMMANDS)
    for group, table in {(): LISTED, ("tasks",): ELSEWHERE}.items():
        for name, at in table.items():
            help_ = commands[*group, name].help  # type: ignore[attr-defined]
            assert help_.partition("\n\n")[0] == at.said


def test_every_command_has_its_settings_in_the_table() -> None:
    leaves = {" ".join(path) for path, command in COMMANDS if not isinstance(command, TyperGroup)}

    assert leaves == set(SETTINGS)
