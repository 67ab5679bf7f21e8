"""`kie-gateway budgets`: what clients may spend."""

from decimal import Decimal, InvalidOperation
from typing import Annotated

import typer

from app.cli.exits import WRONG_USE, give_up
from app.cli.identity import operator
from app.cli.options import AsJson
from app.cli.output import show, show_json
from app.domain.spend import Mode, Period

app = typer.Typer(
    help="""What clients may spend in a day, a month or in all, in UTC.

    \b
    kie-gateway budgets set shop month 5000
    kie-gateway budgets set shop day 300 --mode warn --threshold 90
    kie-gateway budgets list
    kie-gateway budgets clear shop month

    A create reserves the most that its model has cost, and settles with what
    it costs. Over a hard budget it is refused with 402 until the budget renews.
    """,
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="The client, by its name.")]
Which = Annotated[Period, typer.Argument(help="For how long it is to last.")]

COLUMNS = (
    *("client", "period", "mode", "credits", "spent", "reserved", "remaining"),
    *("renews_at", "thresholds"),
)


@app.command("set")
def set_budget(
    name: Name,
    period: Which,
    credits_: Annotated[str, typer.Argument(metavar="CREDITS", help="What may be spent.")],
    mode: Annotated[
        Mode,
        typer.Option(help="`hard` refuses creates; `warn` only announces thresholds."),
    ] = Mode.HARD,
    threshold: Annotated[
        list[int] | None,
        typer.Option(
            help="Percent whose being spent is announced once in a period, repeatable; else 80, "
            "95 and 100."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set a client's budget for a period, or change it.

    What was spent in the period already, and what is under way, counts too.
    It counts for every create that begins afterwards.

    \b
    kie-gateway budgets set shop month 5000
    kie-gateway budgets set shop day 300 --mode warn --threshold 50 --threshold 90

    Needs only GATEWAY_DATABASE_URL. Exits 1 where there is no such client, 2
    where a value cannot be used.
    """
    from app.cli.context import with_operations
    from app.domain.spend import USUAL_THRESHOLDS, checked_budget
    from app.services.services import Services

    async def change(services: Services) -> dict[str, object]:
        thresholds = USUAL_THRESHOLDS if threshold is None else threshold
        budget = checked_budget(period, amount, mode, thresholds)
        await services.budgets.set(operator(), name, budget)
        return await services.budgets.one(name, period)

    amount = _amount(credits_)
    found = with_operations(change)
    if as_json:
        show_json(found)
    else:
        typer.echo(
            f"set {name} {period}: {found['credits']} credits ({mode}), "
            f"{found['remaining']} of them left"
        )


@app.command("list")
def list_budgets(
    client: Annotated[str | None, typer.Option(help="Only of this client.")] = None,
    as_json: AsJson = False,
) -> None:
    """List budgets: what is spent and reserved of each, and when it renews.

    \b
    kie-gateway budgets list
    kie-gateway budgets list --json | jq -r '.[] | select(.remaining == 0).client'

    Needs only GATEWAY_DATABASE_URL. Exits 1 where there is no such client.
    """
    from app.cli.context import with_operations
    from app.services.services import Services

    async def read(services: Services) -> list[dict[str, object]]:
        if client is None:
            return [dict(one) for one in await services.budgets.all()]
        return [{"client": client, **one} for one in await services.budgets.of_client(client)]

    found = with_operations(read)
    if as_json:
        show_json(found)
    else:
        show(COLUMNS, [[_cell(row[name]) for name in COLUMNS] for row in found])


@app.command()
def clear(name: Name, period: Which) -> None:
    """Take a client's budget for a period away.

    \b
    kie-gateway budgets clear shop month

    Needs only GATEWAY_DATABASE_URL. Exits 1 where there is none.
    """
    from app.cli.context import with_operations

    with_operations(lambda services: services.budgets.clear(operator(), name, period))
    typer.echo(f"cleared {name} {period}")


def _amount(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        give_up("CREDITS: should be a number, such as 500", WRONG_USE)


def _cell(value: object) -> object:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"{value:f}" if isinstance(value, Decimal) else value
