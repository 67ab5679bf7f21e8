"""`kie-gateway deliveries`: the webhooks that were sent, from a terminal."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from app.cli.callers.client import calling
from app.cli.exits import WRONG_USE, give_up
from app.cli.options import HERE, Key, Url
from app.cli.output import pretty, show

app = typer.Typer(
    help="""The webhooks that were sent to a caller, and sending them again.

    All act as a caller: they need the URL of a running gateway and an API
    key, and see that key's deliveries. docs/receiving.md describes them.

    \b
    export KIE_GATEWAY_URL=https://gateway.internal
    export KIE_GATEWAY_API_KEY=kgw_…
    kie-gateway deliveries list --state exhausted
    kie-gateway deliveries redeliver --exhausted
    """,
    no_args_is_help=True,
)

ROOM_WITHIN = 60.0
"""Seconds within which more may be repeated: the gateway says when."""

Instant = Annotated[
    str | None, typer.Option(metavar="INSTANT", help="RFC 3339; without a zone UTC is meant.")
]


@app.command("list")
def list_deliveries(
    key: Key,
    state: Annotated[
        str | None,
        typer.Option(help="Only pending, delivered, exhausted, disabled or undeliverable ones."),
    ] = None,
    task: Annotated[str | None, typer.Option(help="Only this task's, by its id.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at most.")] = 20,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with every attempt and its answer.")
    ] = False,
    url: Url = HERE,
) -> None:
    """List your deliveries, newest first, with the outcome of the last attempt.

    KIE_GATEWAY_URL and KIE_GATEWAY_API_KEY can be set instead of --url, --key.

    \b
    kie-gateway deliveries list --state exhausted
    kie-gateway deliveries list --task 0193a1f2-5b7c-7d1e-9c3a-2f4b6d8e0a1c
    kie-gateway deliveries list --json | jq '.[0].attempts'
    """
    with calling(url, key) as gateway:
        found = list(gateway.deliveries(task_id=task, state=state, most=limit))
    if as_json:
        typer.echo(pretty(found))
        return
    show(
        ("id", "created", "event", "task", "state", "tries", "last attempt", "next"),
        [_row(delivery) for delivery in found],
    )


@app.command()
def redeliver(
    key: Key,
    delivery_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="One delivery, as `list` shows it.")
    ] = None,
    exhausted: Annotated[
        bool, typer.Option("--exhausted", help="All that were given up and not sent since.")
    ] = False,
    disabled: Annotated[
        bool, typer.Option("--disabled", help="All to URLs that had answered 410; enable first.")
    ] = False,
    undeliverable: Annotated[
        bool, typer.Option("--undeliverable", help="All that had nowhere to be sent to.")
    ] = False,
    since: Instant = None,
    until: Instant = None,
    url: Url = HERE,
) -> None:
    """Send again: one delivery, or many by their state and time.

    Each is sent as a new delivery of the same body, with a webhook-id of its
    own; prints the new ids. Without --exhausted, --disabled or --undeliverable
    the times mean all, delivered ones too, but none that is on its way.
    KIE_GATEWAY_URL and KIE_GATEWAY_API_KEY can be set instead of --url, --key.

    \b
    kie-gateway deliveries redeliver 0193a1f2-5b7c-7d1e-9c3a-2f4b6d8e0a1c
    kie-gateway deliveries redeliver --exhausted
    kie-gateway deliveries redeliver --since 2026-11-22T06:00:00Z \\
        --until 2026-11-22T09:30:00Z
    """
    states = {"exhausted": exhausted, "disabled": disabled, "undeliverable": undeliverable}
    chosen = _chosen([state for state, wanted in states.items() if wanted], since, until)
    if (delivery_id is None) != bool(chosen):
        options = "--exhausted, --disabled, --undeliverable, --since, --until"
        give_up(f"name either one delivery or {options}", WRONG_USE)
    with calling(url, key) as gateway:
        if delivery_id is not None:
            typer.echo(gateway.redeliver(delivery_id)["id"])
            return
        _redeliver_all(gateway.patient(ROOM_WITHIN), chosen)


def _redeliver_all(gateway: Any, chosen: dict[str, Any]) -> None:  # noqa: ANN401  # its answers are
    count, left_out = 0, set()
    for answer in gateway.redeliver_many(**chosen):
        count += len(answer["data"])
        left_out |= set(answer["disabled_urls"])
        for new_id in answer["data"]:
            typer.echo(new_id)
    typer.echo(f"{count} sent again", err=True)
    for disabled_url in sorted(left_out):
        typer.echo(f"left out, since it had answered 410: {disabled_url}", err=True)


@app.command()
def enable(
    which: Annotated[str, typer.Argument(metavar="URL", help="The URL, as `list --json` has it.")],
    key: Key,
    url: Url = HERE,
) -> None:
    """Call a URL again that had answered 410.

    What was not sent meanwhile stays unsent until it is redelivered.
    KIE_GATEWAY_URL and KIE_GATEWAY_API_KEY can be set instead of --url, --key.

    \b
    kie-gateway deliveries enable https://shop.internal/kie
    kie-gateway deliveries redeliver --disabled
    """
    with calling(url, key) as gateway:
        gateway.enable_url(which)
    typer.echo(f"enabled {which}")


def _chosen(states: list[str], since: str | None, until: str | None) -> dict[str, Any]:
    if len(states) > 1:
        options = " and ".join(f"--{state}" for state in states)
        give_up(f"{options} are calls of their own", WRONG_USE)
    named = {
        "state": states[0] if states else None,
        "created_after": _instant("--since", since),
        "created_before": _instant("--until", until),
    }
    return {name: value for name, value in named.items() if value is not None}


def _instant(name: str, text: str | None) -> datetime | None:
    """Add the zone where there is none; ends the command where it is no instant."""
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        give_up(f"{name}: should be as 2026-11-22T06:00:00Z", WRONG_USE)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _row(delivery: dict[str, Any]) -> list[object]:
    last = delivery["attempts"][-1] if delivery["attempts"] else {}
    said = f"HTTP {last['status']}" if last.get("status") else last.get("error")
    names = ("event", "task_id", "state", "tries")
    return [
        delivery["id"],
        _short(delivery["created_at"]),
        *(delivery[name] for name in names),
        said,
        _short(delivery["due_at"]),
    ]


def _short(instant: str | None) -> str:
    return instant[:19].replace("T", " ") if instant else ""
