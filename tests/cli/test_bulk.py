"""What the operators' commands on many tasks read and ask, without a database."""

from uuid import UUID

import pytest
import typer
from typer.testing import CliRunner

from app.cli.callers import tasks
from app.cli.loading import LoadingGroup
from app.cli.operators import bulk
from app.domain.bulk import Act, Order, Selection
from app.services.tasks.bulk import Preview

SEEN = Preview(
    total=3,
    groups=[{"client": "shop", "state": "queued", "model": "a", "tasks": 2}],
    first_ids=[UUID(int=1)],
)


@pytest.mark.parametrize(("typed", "status"), [("3", 0), ("y", 1), ("2", 1), ("", 1)])
def test_a_person_types_how_many(typed: str, status: int) -> None:
    app = typer.Typer()
    order = Order(act=Act.CANCEL, selection=Selection(client="shop"))

    @app.command()
    def ask() -> None:
        bulk._confirm(order, SEEN)
        typer.echo("goes on")

    asked = CliRunner().invoke(app, [], input=f"{typed}\n")

    assert asked.exit_code == status
    assert ("goes on" in asked.stdout) is (status == 0)
    assert "and 1 more in smaller groups" in asked.stderr
    assert str(UUID(int=1)) in asked.stderr


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("30m", 1800), ("1.5h", 5400), ("2d", 172800), (" 2h ", 7200)],
)
def test_an_age(text: str, seconds: float) -> None:
    assert bulk.age(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "2w", "-1h", "1e3", "2h30m", "inf"])
def test_no_age(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        bulk.age(text)


def test_each_command_stands_under_who_may_use_it() -> None:
    group = typer.main.get_command(tasks.app)
    assert isinstance(group, LoadingGroup)
    assert {name for names in tasks.SECTIONS.values() for name in names} == set(group.commands)
