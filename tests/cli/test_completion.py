"""The shells complete commands and options."""

import pytest
from typer.testing import CliRunner

from app.api.schemas.tasks import TaskCreate
from app.cli import app
from tests.processes.test_help import COMMANDS


def completed(shell: str, line: str) -> str:
    words = line.split(" ")
    environment = {
        "_KIE_GATEWAY_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = CliRunner().invoke(app, [], prog_name="kie-gateway", env=environment)
    return done.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_and_options(shell: str) -> None:
    assert "deliveries" in completed(shell, "kie-gateway del")
    assert "redeliver" in completed(shell, "kie-gateway deliveries re")
    assert "--priority" in completed(shell, "kie-gateway tasks create --pri")


def test_a_create_takes_every_option_of_the_api() -> None:
    command = dict(COMMANDS)["tasks", "create"]
    options = {name for parameter in command.params for name in parameter.opts}  # type: ignore[attr-defined]
    wanted = {f"--{name.replace('_', '-')}" for name in TaskCreate.model_fields}
    assert wanted | {"--idempotency-key", "--watch"} <= options
