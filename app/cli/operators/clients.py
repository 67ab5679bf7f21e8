"""`kie-gateway clients`: the calling services, their shares and their webhooks."""

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from app.cli.exits import WRONG_USE, give_up
from app.cli.identity import operator
from app.cli.options import AsJson
from app.cli.output import show, show_json
from app.domain.client import url_objection
from app.domain.delivery import EventType

app = typer.Typer(
    help="""The calling services: their shares of the account, their webhooks.

    \b
    kie-gateway clients list
    kie-gateway clients set shop --weight 3
    kie-gateway clients set shop --webhook-url https://shop.internal/kie
    kie-gateway clients disable shop
    kie-gateway clients erase shop

    Works on the database itself, so it needs no running gateway and no key.
    A client is made by `kie-gateway keys create`.
    """,
    no_args_is_help=True,
)

COLUMNS: Mapping[str, str] = {
    "client": "client",
    "weight": "weight",
    "queued": "queued",
    "paused_at": "paused",
    "pause_note": "note",
    "disabled_at": "disabled",
    "webhook_host": "webhooks to",
    "sees_balance": "sees balance",
    "requests_per_second": "requests/s",
    "streams": "streams",
    "waits": "waits",
}


@app.command("list")
def list_clients(as_json: AsJson = False) -> None:
    """List the clients: weight, tasks that wait, pauses, webhook hosts.

    \b
    kie-gateway clients list
    kie-gateway clients list --json | jq -r '.[] | select(.queued > 0).client'

    Needs only GATEWAY_DATABASE_URL.
    """
    from app.cli.context import with_clients

    found = with_clients(lambda clients: clients.list())
    show_json(found) if as_json else show_clients(found)


@app.command("set")
def set_client(
    name: Annotated[str, typer.Argument(help="The client, by its name.")],
    weight: Annotated[
        int | None, typer.Option(help="Its share, 1 to 100; a new client has 1.")
    ] = None,
    webhook_url: Annotated[
        str | None,
        typer.Option(
            help="Where tasks are reported that name no URL of their own; `none`: nowhere."
        ),
    ] = None,
    webhook_host: Annotated[
        list[str] | None,
        typer.Option(help="The only hosts that webhooks may go to, repeatable; `any`: any."),
    ] = None,
    webhook_event: Annotated[
        list[str] | None,
        typer.Option(
            help=f"What is sent, repeatable: {', '.join(EventType)}. `usual`: all but the "
            "first; `none`: nothing."
        ),
    ] = None,
    sees_balance: Annotated[
        bool | None,
        typer.Option(help="Whether it may ask for the account's credits; a new client may not."),
    ] = None,
    requests_per_second: Annotated[
        str | None,
        typer.Option(
            help="Requests it may send to a process per second; `usual`: as the settings."
        ),
    ] = None,
    streams: Annotated[
        str | None,
        typer.Option(help="Streams it may have open at a process; `usual`: as set."),
    ] = None,
    waits: Annotated[
        str | None,
        typer.Option(help="Answers a process holds for it by `wait`; `usual`: as set."),
    ] = None,
    running_share: Annotated[
        str | None,
        typer.Option(help="Its share of the seats, 0.001 to 1; `usual`: as the settings say."),
    ] = None,
    queued_tasks: Annotated[
        str | None, typer.Option(help="How many of its tasks may wait; `usual`: as above.")
    ] = None,
    queued_bytes: Annotated[
        str | None, typer.Option(help="Bytes of the inputs of these; `usual`: as above.")
    ] = None,
    archive: Annotated[
        bool | None,
        typer.Option(help="Whether its results are copied into the archive; a new client's are."),
    ] = None,
    archive_days: Annotated[
        str | None,
        typer.Option(help="Days that the copies are kept; `usual`: as long as their tasks."),
    ] = None,
) -> None:
    """Change a client's share, its limits, its webhooks, or what it may see.

    While several clients wait, tasks are sent in proportion to the weights:
    three of a client with weight 3 for each one of a client with weight 1. A
    client that waits by itself has everything. A change counts from the next
    task, or event, on.

    \b
    kie-gateway clients set shop --weight 3
    kie-gateway clients set shop --webhook-url https://shop.internal/kie
    kie-gateway clients set shop --webhook-host shop.internal
    kie-gateway clients set shop --webhook-event task.succeeded \\
        --webhook-event task.failed
    kie-gateway clients set shop --sees-balance
    kie-gateway clients set shop --requests-per-second 200 --streams usual
    kie-gateway clients set shop --running-share 0.5 --queued-tasks 2000
    kie-gateway clients set shop --archive --archive-days 365

    Needs only GATEWAY_DATABASE_URL; where webhooks may go is decided by the
    settings here (GATEWAY_DELIVERY_ALLOW_LOOPBACK and so on). Exits 1 where
    there is no such client, 2 where a value cannot be used.
    """
    given = _given(
        weight=weight,
        webhook_url=webhook_url,
        webhook_host=webhook_host,
        webhook_event=webhook_event,
        sees_balance=sees_balance,
    )
    given |= _bounds(
        requests_per_second=requests_per_second,
        streams=streams,
        waits=waits,
        running_share=running_share,
        queued_tasks=queued_tasks,
        queued_bytes=queued_bytes,
        archive_days=archive_days,
    )
    if archive is not None:
        given["archives"] = archive
    if not given:
        give_up("name something to change; see `kie-gateway clients set --help`", WRONG_USE)
    _change(name, given)
    typer.echo(f"changed {name}: {', '.join(given)}")


@app.command()
def disable(name: Annotated[str, typer.Argument(help="The client, by its name.")]) -> None:
    """Refuse all keys of a client at once, and send nothing more of it.

    Its queued tasks stay queued; their submit_within goes on. What runs at
    kie.ai is settled and kept, and its webhooks go on. Streams and held waits
    of its keys end within ten seconds.

    \b
    kie-gateway clients disable shop
    kie-gateway clients enable shop      take it back

    Needs only GATEWAY_DATABASE_URL. Exits 1 where there is no such client.
    """
    _change(name, {"disabled": True})
    typer.echo(f"disabled {name}: its keys are refused, and nothing of it is sent")


@app.command()
def enable(name: Annotated[str, typer.Argument(help="The client, by its name.")]) -> None:
    """Take `clients disable` back: its keys are good again, and its queue goes on.

    \b
    kie-gateway clients enable shop

    Needs only GATEWAY_DATABASE_URL. Exits 1 where there is no such client.
    """
    _change(name, {"disabled": False})
    typer.echo(f"enabled {name}")


@app.command()
def erase(
    name: Annotated[str, typer.Argument(help="The client, by its name.")],
    cancel: Annotated[
        bool,
        typer.Option("--cancel", help="Cancel what is queued, and erase the rest as it ends."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, on a terminal.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a client for good: its keys, its tasks, and all that came of them.

    Its keys are refused first. Then its tasks go with histories, callbacks
    and deliveries, a hundred at a time, and at last its keys, secrets and
    URLs. What stays: its name, what it used, the audit without content, and
    for some months the ids of its tasks, so that nothing that comes late is
    kept. Broken off, it is finished by the running gateway, or by running it
    again. Tasks that are not final are in the way, unless --cancel is given:
    those at kie.ai then go once they have ended.

    \b
    kie-gateway clients erase shop
    kie-gateway clients erase shop --cancel --yes --json | jq .left

    Needs only GATEWAY_DATABASE_URL. Exits 1 where there is no such client,
    where tasks are in the way, and where some are left.
    """
    from app.cli.context import to_stderr, with_operations

    if not yes and sys.stdin.isatty():
        typer.confirm(f"Erase {name} and all its tasks? This cannot be undone", abort=True)
    found = with_operations(
        lambda services: services.erasure.client(
            operator(), name, cancel=cancel, progress=lambda gone: to_stderr(f"{gone} tasks erased")
        )
    )
    if as_json:
        show_json({"client": name, "erased_tasks": found.tasks, "left": dict(found.left)})
    elif found.left:
        left = ", ".join(f"{count} {state}" for state, count in sorted(found.left.items()))
        typer.echo(f"erased {found.tasks} tasks of {name}; left: {left}; they go as they end")
    else:
        typer.echo(f"erased {name}: {found.tasks} tasks")
    if found.left:
        raise typer.Exit(1)


def _given(
    *,
    weight: int | None,
    webhook_url: str | None,
    webhook_host: list[str] | None,
    webhook_event: list[str] | None,
    sees_balance: bool | None,
) -> dict[str, Any]:
    """Return only what was asked for, by the fields' names; `none`, `any` and `usual` read."""
    given: dict[str, Any] = {}
    if weight is not None:
        given["weight"] = weight
    if webhook_url is not None:
        given["webhook_url"] = None if webhook_url == "none" else _web_url(webhook_url)
    if webhook_host:
        given["webhook_hosts"] = None if webhook_host == ["any"] else webhook_host
    if webhook_event:
        given["webhook_events"] = _events(webhook_event)
    if sees_balance is not None:
        given["sees_balance"] = sees_balance
    return given


def _bounds(**texts: str | None) -> dict[str, float | None]:
    """Return what was asked for as numbers, `usual` as None."""
    given: dict[str, float | None] = {}
    for name, text in texts.items():
        if text is not None:
            number = float if name == "running_share" else int
            try:
                given[name] = None if text == "usual" else number(text)
            except ValueError:
                option = name.replace("_", "-")
                give_up(f"--{option}: should be a number such as 50, or `usual`", WRONG_USE)
    return given


def _change(name: str, given: Mapping[str, Any]) -> None:
    from app.cli.context import with_clients
    from app.services.clients.settings import ClientChange

    change = ClientChange(given=frozenset(given), **given)
    with_clients(lambda clients: clients.change(operator(), name, change))


def _web_url(text: str) -> str:
    """Take a URL as the API does; ends the command where it is none."""
    objection = url_objection(text)
    if objection is not None:
        give_up(f"--webhook-url: {objection}", WRONG_USE)
    return text


def _events(words: Sequence[str]) -> list[EventType] | None:
    if list(words) in (["usual"], ["none"]):
        return None if words[0] == "usual" else []
    try:
        return [EventType(word) for word in words]
    except ValueError as error:
        give_up(f"--webhook-event: {error}; there are {', '.join(EventType)}", WRONG_USE)


def show_clients(rows: Sequence[Mapping[str, Any]]) -> None:
    show(tuple(COLUMNS.values()), [[row[name] for name in COLUMNS] for row in rows])
