"""`kie-gateway reconciliation`: the account's balance against what tasks cost."""

from typing import Annotated, Any

import typer

from app.cli.operators.usage import day_of
from app.cli.options import AsJson
from app.cli.output import show, show_json

COLUMNS = ("day", "lost", "explained", "unexplained", "top_ups", "in_flight_end", "balance_end")


def reconciliation(
    since: Annotated[
        str | None,
        typer.Option("--from", help="The first day, in UTC; else 29 days before the last."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="The last day, included; else today.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the account's balance with what tasks cost, day by day.

    `unexplained` is lost, and neither booked nor possibly under way: a double
    payment, or somebody else who uses the account. Readings are taken by running
    workers every GATEWAY_BALANCE_EVERY seconds.

    \b
    kie-gateway reconciliation
    kie-gateway reconciliation --from 2026-11-01 --to 2026-11-30 --json

    Needs only GATEWAY_DATABASE_URL. Exits 2 where a day cannot be used.
    """
    from app.cli.context import with_operations
    from app.services.services import Services

    days = [day_of("--from", since), day_of("--to", until)]

    async def read(services: Services) -> dict[str, Any]:
        return await services.reconciliation.by_day(*days)

    found = with_operations(read)
    if as_json:
        show_json(found)
        return
    show(COLUMNS, [[day[name] for name in COLUMNS] for day in found["data"]])
    typer.echo(f"in the last 24 hours {found['unexplained_24h']} credits unexplained")
