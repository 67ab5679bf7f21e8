"""`kie-gateway doctor`: what would keep this gateway from working, and what to do about it."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.text import Text

    from app.cli.operators.finding import Finding


def doctor(
    url: Annotated[
        list[str] | None,
        typer.Option(
            help="A running `serve` or `worker` to ask whether its loops are fit; repeatable."
        ),
    ] = None,
) -> None:
    """Look at settings, database, work, public URL and kie.ai. Exits 1 on a finding.

    Run it with the settings that `serve` has (GATEWAY_…), beside a running
    gateway or before the first start. It changes nothing, creates no task,
    and shows neither secrets nor the balance. Loops that stand still are
    found by work that is overdue, and by what the gateway behind the public
    URL and each --url answer under /readyz.

    \b
    kie-gateway doctor
    kie-gateway doctor --url http://127.0.0.1:8000 --url http://127.0.0.1:8001
    docker compose exec gateway kie-gateway doctor
    """
    from rich.console import Console
    from rich.text import Text

    from app.cli.context import settings, with_database
    from app.cli.interrupts import run
    from app.cli.operators.examination import examined
    from app.config.concerns import concerns

    with with_database(settings(log_level="warning")) as ready:
        findings = run(examined(ready, url or []))
        noted = concerns(ready)
    console = Console(soft_wrap=True)
    for found in findings:
        console.print(_line(found))
    for concern in noted:
        console.print(Text.assemble(("note ", "yellow"), concern))
    if any(found.remedy is not None for found in findings):
        raise typer.Exit(1)


def _line(found: "Finding") -> "Text":
    from rich.text import Text

    mark = ("ok  ", "green") if found.remedy is None else ("FAIL", "bold red")
    remedy = "" if found.remedy is None else f"\n     {'':<12} → {found.remedy}"
    return Text.assemble(mark, f" {found.name:<12} {found.said}{remedy}")
