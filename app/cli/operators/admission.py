"""`kie-gateway admission`: the brake, and how the account stands."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.exits import WRONG_USE, give_up
from app.cli.identity import operator
from app.cli.operators.clients import show_clients
from app.cli.options import AsJson
from app.cli.output import cell, show, show_json
from app.domain.admission import HoldReason

if TYPE_CHECKING:
    from app.services.account.pauses import AdmissionStatus

app = typer.Typer(
    help="""Stop spending, go on, and see what keeps tasks in the queue.

    \b
    kie-gateway admission pause --note "wrong prompt in production"
    kie-gateway admission status
    kie-gateway admission resume

    Works on the database itself, so it needs no running gateway and no key.
    """,
    no_args_is_help=True,
)

Client = Annotated[
    str | None, typer.Option(help="Only this client's tasks, by its name; default: everything.")
]


@app.command()
def pause(
    client: Client = None,
    note: Annotated[
        str | None, typer.Option(help="One line for the next person who looks.")
    ] = None,
) -> None:
    """Send nothing more to kie.ai, at once, in every process.

    What is under way goes on: running tasks are polled and settled,
    callbacks taken. New tasks are accepted and wait; each fails once its
    submit_within is over. Kept in the database, so restarts change nothing.

    \b
    kie-gateway admission pause --note "wrong prompt in production"
    kie-gateway admission pause --client shop --note "their budget is spent"

    Needs only GATEWAY_DATABASE_URL. Exits 1 where there is no such client.
    """
    from app.cli.context import with_operations

    with_operations(lambda services: services.pauses.pause(operator(), client=client, note=note))
    typer.echo(f"paused {client}" if client else "paused everything")


@app.command()
def resume(
    client: Client = None,
    restored: Annotated[
        bool,
        typer.Option("--restored", help="End the hold database_restored; a pause stays."),
    ] = False,
) -> None:
    """End a pause: the one of everything, or one client's.

    The two are separate: a client that was paused by its name stays so until
    it is resumed by its name. A hold of the account ends by itself, but for
    database_restored: PostgreSQL has lost commits, or is another one than
    before. What `kie-gateway tasks review` lists may have been sent already;
    see to it, then resume with --restored.

    \b
    kie-gateway admission resume
    kie-gateway admission resume --client shop
    kie-gateway admission resume --restored

    Needs only GATEWAY_DATABASE_URL. Exits 1 where there is no such client.
    """
    from app.cli.context import with_operations

    if restored:
        if client is not None:
            give_up("--restored is about everything: leave --client out", WRONG_USE)
        if not with_operations(lambda services: services.restores.resume(operator())):
            give_up("nothing is held because of the database")
        typer.echo("resumed: this is the database from now on")
        return
    with_operations(lambda services: services.pauses.resume(operator(), client=client))
    typer.echo(f"resumed {client}" if client else "resumed")


@app.command("expect-move")
def expect_move(
    hours: Annotated[float, typer.Option(min=0.01, max=24, help="How long the move may take.")] = 4,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="The move is off: send again from here.")
    ] = False,
) -> None:
    """Announce that the database is moved on purpose: pg_upgrade, dump and restore.

    From now on this database sends nothing. Stop all processes, move it,
    and start them on the new one: it is accepted, once, and sending goes on.
    Without this, a database in another server is held (database_restored).
    docs/operating.md has all steps.

    \b
    kie-gateway admission expect-move
    kie-gateway admission expect-move --hours 12
    kie-gateway admission expect-move --cancel

    Needs only GATEWAY_DATABASE_URL. Exits 2 where the database is held.
    """
    from app.cli.context import with_operations

    if cancel:
        with_operations(lambda services: services.restores.expect_no_move(operator()))
        typer.echo("no move is expected")
        return
    with_operations(lambda services: services.restores.expect_move(operator(), within=hours * 3600))
    typer.echo(f"a move is expected within {hours:g} h; nothing is sent from here until then")


@app.command()
def status(client: Client = None, as_json: AsJson = False) -> None:
    """Show what is paused and held, what is free, and who waits.

    A hold comes and ends by itself: of the account, when kie.ai refuses the
    key or credits, is busy, or does not answer; of a client's model, when
    only that is in trouble. docs/operating.md says what to do about each.

    \b
    kie-gateway admission status
    kie-gateway admission status --client shop
    kie-gateway admission status --json | jq -r .hold_reason

    Needs GATEWAY_DATABASE_URL; the limits are those of the settings here
    (GATEWAY_KIE_CREATES_PER_10S, GATEWAY_KIE_MAX_RUNNING).
    """
    from app.cli.context import with_clients, with_operations

    if client is not None:
        found = with_clients(lambda clients: clients.one(client))
        show_json(found) if as_json else show_clients([found])
        return
    standing = with_operations(lambda services: services.pauses.status())
    if as_json:
        show_json(standing.shown)
        return
    for name, said in _lines(standing):
        typer.echo(f"{name:<10} {said}")
    typer.echo()
    if standing.held_pairs:
        _show_pairs(standing)
        typer.echo()
    show_clients(standing.clients)


def _lines(standing: "AdmissionStatus") -> Iterator[tuple[str, str]]:
    account = standing.account
    paused, held = account["paused_at"], account["hold_reason"]
    if paused:
        yield "paused", f"since {cell(paused)}{_noted(account['pause_note'])}"
    if held:
        said = f": {account['hold_detail']}" if account["hold_detail"] else ""
        yield "held", f"{held} since {cell(account['held_since'])}{said}"
        yield "", _until(account)
    if not (paused or held):
        yield "admission", "open"
    yield "creates", f"{account['creates_free']} of {account['creates_allowed']} slots free"
    yield "running", f"{account['running']} of {account['running_limit']}"
    for row in standing.seats:
        may = f", may take {row['may_take']} more now" if row["waits"] else ""
        yield "", f"{row['client']}: {row['running']} of at most {row['running_limit']}{may}"


UNTIL: Mapping[str, str] = {
    HoldReason.DATABASE_RESTORED: "until a person says: kie-gateway admission resume --restored",
    HoldReason.DATABASE_CHANGED: "until every process has looked, at most half a minute",
}


def _until(account: Mapping[str, Any]) -> str:
    until = cell(account["held_until"])
    if account["hold_reason"] == HoldReason.DATABASE_MOVING:
        return f"until the database has moved, or {until}"
    return UNTIL.get(account["hold_reason"], f"next probe {until}")


PAIR_COLUMNS = {
    "client": "client",
    "model": "model",
    "hold_reason": "held",
    "held_since": "since",
    "held_until": "next probe",
    "hold_tries": "tries",
    "hold_detail": "because",
}


def _show_pairs(standing: "AdmissionStatus") -> None:
    """Print the held pairs as a table, and how many more there are."""
    pairs = standing.held_pairs
    show(tuple(PAIR_COLUMNS.values()), [[row[name] for name in PAIR_COLUMNS] for row in pairs])
    if (more := standing.held_pairs_total - len(pairs)) > 0:
        typer.echo(f"and {more} more pairs")


def _noted(note: str | None) -> str:
    return f" ({note})" if note else ""
