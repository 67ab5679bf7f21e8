"""`kie-gateway tasks cancel`, `requeue` and `fail`: an operator's, of one task or many."""

import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from app.cli.exits import FAILED, WRONG_USE, give_up
from app.cli.identity import operator
from app.cli.operators.recovery import done
from app.cli.options import AsJson
from app.cli.output import show, show_json
from app.domain.bulk import Act, Order, Selection
from app.domain.task import State

if TYPE_CHECKING:
    from app.services.tasks.bulk import Preview, Run

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}

DID = {Act.CANCEL: "canceled", Act.REQUEUE: "queued again", Act.FAIL: "failed"}

COLUMNS = ("client", "state", "model", "tasks")


def age(text: str) -> float:
    """Read an age such as 90s, 30m, 2h or 7d; returns seconds."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd]?)", text.strip())
    if found is None:
        message = "is an age such as 90s, 30m, 2h or 7d"
        raise typer.BadParameter(message)
    return float(found[1]) * UNITS[found[2]]


OneTask = Annotated[
    str | None, typer.Argument(help="One task's id, as `kie-gateway stuck` shows it.")
]
Ids = Annotated[
    list[str] | None, typer.Option("--id", metavar="ID", help="A task, by its id; repeatable.")
]
Client = Annotated[str | None, typer.Option(help="Only this client's tasks, by its name.")]
States = Annotated[
    list[State] | None,
    typer.Option("--state", metavar="STATE", help="Only tasks in this state; repeatable."),
]
Model = Annotated[str | None, typer.Option(help="Only tasks of this model.")]
Age = Annotated[
    float | None,
    typer.Option(
        "--older-than", parser=age, metavar="AGE", help="Only those created before: 30m, 2h, 7d."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what is meant; change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask, on a terminal.")]


def requeue(
    task_id: OneTask = None,
    may_pay_again: Annotated[
        bool, typer.Option("--may-pay-again", help="Say that paying twice is a risk you take.")
    ] = False,
    ids: Ids = None,
    client: Client = None,
    state: States = None,
    model: Model = None,
    older_than: Age = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Put unconfirmed tasks back into the queue: each may be paid again.

    Only for tasks that you did not find in kie.ai's log; one that is there
    is bound instead. The audit records who did it. One task by its id, or
    many by what they have in common; look at them with --dry-run first.

    \b
    kie-gateway tasks requeue 0193a1f2-5b7c-7d1e-9c3a-2f4b6d8e0a1c \\
        --may-pay-again
    kie-gateway tasks requeue --client shop --older-than 2h --dry-run

    Works on the database itself, for any client's task; needs only
    GATEWAY_DATABASE_URL. Exits 1 where the task is not unconfirmed, 2
    without the flag.
    """
    selection = selected(ids, client, state, model, older_than)
    if not (may_pay_again or dry_run):
        give_up(
            "kie.ai may have taken this task already, and sending it again may pay again: look "
            "for it in kie.ai's log; if it is there, `kie-gateway tasks bind` it, else say "
            "--may-pay-again",
            WRONG_USE,
        )
    if task_id is None or dry_run:
        order = Order(
            act=Act.REQUEUE, selection=_with(selection, task_id), may_pay_again=may_pay_again
        )
        return carry_out(order, dry_run=dry_run, yes=yes, as_json=as_json)
    _require_alone(selection)
    return done(
        task_id,
        lambda stuck, known: stuck.requeue(operator(), known, may_pay_again=may_pay_again),
        "queued again",
    )


def fail(
    reason: Annotated[str, typer.Option(help="What the callers are told: one line.")],
    task_id: OneTask = None,
    ids: Ids = None,
    client: Client = None,
    state: States = None,
    model: Model = None,
    older_than: Age = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """End queued or unconfirmed tasks as failed, with a reason.

    They end by `failed_by_operator`, and their callers are notified. An
    unconfirmed one may have been paid: what kie.ai says of it later still
    settles it. Running tasks are never failed: they are paid, and will end.

    \b
    kie-gateway tasks fail --model google/nano-banana --older-than 1d \\
        --reason "the campaign was called off" --dry-run
    kie-gateway tasks fail 0193a1f2-5b7c-7d1e-9c3a-2f4b6d8e0a1c \\
        --reason "sent by mistake"

    Works on the database itself, for any client's task; needs only
    GATEWAY_DATABASE_URL. Exits 1 where ids were named and none was failed.
    """
    selection = _with(selected(ids, client, state, model, older_than), task_id)
    order = Order(act=Act.FAIL, selection=selection, reason=reason)
    carry_out(order, dry_run=dry_run, yes=yes, as_json=as_json)


def selected(
    ids: Sequence[str] | None,
    client: str | None,
    state: Sequence[State] | None,
    model: str | None,
    older_than: float | None,
) -> Selection:
    """Read the options; ends the command where an id is none."""
    return Selection(
        ids=tuple(_id(one) for one in ids or ()),
        client=client,
        states=tuple(state or ()),
        model=model,
        older_than=older_than,
    )


def carry_out(order: Order, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Show what is meant, ask on a terminal, do it, and say what was done."""
    from app.cli.context import operating, with_services

    with operating() as ready:
        seen = with_services(ready, lambda services: services.bulk.preview(order))
        if not dry_run and seen.total and not yes and sys.stdin.isatty():
            _confirm(order, seen)
        run = None
        if not dry_run and seen.total:
            run = with_services(
                ready,
                lambda services: services.bulk.run(operator(), order, progress=_progress),
            )
    _print(order, seen, run, as_json=as_json)
    if order.selection.ids and not (run.done if run else seen.total):
        states = " or ".join(order.states)
        give_up(f"none of these tasks can be {DID[order.act]}: it would have to be {states}")


def _print(order: Order, seen: "Preview", run: "Run | None", *, as_json: bool) -> None:
    did = DID[order.act]
    if as_json:
        show_json(
            {
                "dry_run": run is None,
                "meant": seen.total,
                "done": run.done if run else 0,
                "remaining": run.remaining if run else seen.total,
                "groups": seen.groups,
                "first_ids": seen.first_ids,
            }
        )
    elif run is None:
        _show(seen)
        typer.echo(f"{seen.total} would be {did}" if seen.total else "no task is meant")
    else:
        left = f"; {run.remaining} are left: run it again" if run.remaining else ""
        typer.echo(f"{run.done} {did}{left}")


def _show(seen: "Preview", *, err: bool = False) -> None:
    if not seen.total:
        return
    show(COLUMNS, [[row[name] for name in COLUMNS] for row in seen.groups], err=err)
    if (more := seen.total - sum(row["tasks"] for row in seen.groups)) > 0:
        typer.echo(f"and {more} more in smaller groups", err=err)
    typer.echo(f"the oldest: {' '.join(str(one) for one in seen.first_ids)}", err=err)


def _confirm(order: Order, seen: "Preview") -> None:
    """Have the number of tasks typed: who has not read it would not know it."""
    _show(seen, err=True)
    typed = typer.prompt(f"Type {seen.total} to have them {DID[order.act]}", err=True)
    if typed.strip() != str(seen.total):
        give_up("nothing was changed", FAILED)


def _progress(done: int, total: int) -> None:
    typer.echo(f"{done} of {total}", err=True)


def _with(selection: Selection, task_id: str | None) -> Selection:
    """Take one task that was named by itself as the whole selection."""
    if task_id is None:
        return selection
    _require_alone(selection)
    return Selection(ids=(_id(task_id),))


def _require_alone(selection: Selection) -> None:
    if selection != Selection():
        give_up("say either TASK_ID or which tasks by options", WRONG_USE)


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        give_up("the task's id is a UUID, as `kie-gateway stuck` shows it", WRONG_USE)
