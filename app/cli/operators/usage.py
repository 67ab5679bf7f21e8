"""`kie-gateway usage`: what tasks have cost, of all clients."""

from datetime import date
from typing import Annotated

import typer

from app.cli.exits import WRONG_USE, give_up
from app.cli.options import AsJson
from app.cli.output import show, show_json
from app.domain.days import read_day
from app.domain.errors import InvalidRequestError

ROWS = 10_000
"""Groups that are printed at most."""


def usage(
    since: Annotated[
        str | None,
        typer.Option("--from", help="The first day, in UTC; else 29 days before the last."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="The last day, included; else today.")
    ] = None,
    group_by: Annotated[
        str,
        typer.Option(
            help="With commas between: day, client, model, and one of fail_class and metadata.KEY."
        ),
    ] = "client,day",
    client: Annotated[str | None, typer.Option(help="Only of this client, by its name.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what tasks have cost: how many ended how, credits, seconds.

    A task counts on the day on which it came to its final state. What becomes
    known later counts on that later day, as the difference.

    \b
    kie-gateway usage
    kie-gateway usage --group-by model --from 2026-11-01 --to 2026-11-30
    kie-gateway usage --client shop --group-by metadata.team --csv > team.csv
    kie-gateway usage --json | jq .total.credits

    Needs only GATEWAY_DATABASE_URL. Exits 1 where there is no such client, 2
    where a day or a group cannot be used; at most 10000 groups are shown.
    """
    from app.cli.context import with_operations
    from app.domain.usage import Wanted, wanted
    from app.services.services import Services
    from app.services.spend.usage import ALL_GROUPS, UsagePage, flat, table

    days = [day_of("--from", since), day_of("--to", until)]
    names = [name for name in group_by.split(",") if name]

    async def read(services: Services) -> UsagePage:
        asked: Wanted = wanted(
            services.usage.today(),
            first=days[0],
            last=days[1],
            by=names,
            allowed=ALL_GROUPS,
            limit=ROWS,
        )
        return await services.usage.of_all(asked, client)

    page = with_operations(read)
    if as_json:
        show_json(page.shown)
    elif as_csv:
        typer.echo(table(page), nl=False)
    else:
        head, rows = flat(page)
        show(tuple(head), rows)
        total = page.total
        typer.echo(f"in all {total['credits']} credits, {page.wanted.first} to {page.wanted.last}")


def day_of(option: str, text: str | None) -> date | None:
    """Read an option; ends the command where it is no day."""
    try:
        return read_day(option, text)
    except InvalidRequestError as error:
        give_up(error.detail, WRONG_USE)
