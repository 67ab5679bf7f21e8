"""`kie-gateway tasks bind`, `release`, `erase --id`: an operator's, on the database."""

import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from app.cli.exits import WRONG_USE, give_up
from app.cli.identity import operator

if TYPE_CHECKING:
    from app.services.services import Services
    from app.services.tasks.stuck import StuckTasks

TaskId = Annotated[str, typer.Argument(help="The task's id, as `kie-gateway stuck` shows it.")]


def bind(
    task_id: TaskId,
    kie_task_id: Annotated[str, typer.Argument(help="Its id in kie.ai's log.")],
) -> None:
    """Give a task the id that you found at kie.ai, and have kie.ai polled for it.

    For an unconfirmed or expired task whose create got no answer. kie.ai is
    asked first which task the id belongs to: it can never be replaced, and
    its result goes to the task's client.

    \b
    kie-gateway tasks bind 0193a1f2-5b7c-7d1e-9c3a-2f4b6d8e0a1c \\
        281e5b0f39b9bb3cbcbd9bd01bdcfb1f

    Works on the database itself, for any client's task. Needs
    GATEWAY_DATABASE_URL, GATEWAY_KIE_API_KEY and, to know its own callback
    URLs, GATEWAY_SECRET_KEYS as `serve` has them. Exits 1 where the task
    cannot be bound or kie.ai does not answer, 2 where the id is another task's.
    """
    done(
        task_id,
        lambda stuck, known: stuck.bind(operator(), known, kie_task_id),
        "bound; kie.ai is polled for it",
        signs=True,
    )


def release(task_id: TaskId) -> None:
    """Poll kie.ai again for a task that was set aside.

    After several defects of the gateway's own in a row kie.ai is not polled
    for a task any more; `kie-gateway stuck` shows the last of them. Release
    it once that is fixed; if it is not, the task is set aside again.

    \b
    kie-gateway tasks release 0193a1f2-5b7c-7d1e-9c3a-2f4b6d8e0a1c

    Works on the database itself, for any client's task; needs only
    GATEWAY_DATABASE_URL. Exits 1 where the task was not set aside.
    """
    done(
        task_id,
        lambda stuck, known: stuck.release(operator(), known),
        "released; kie.ai is polled for it",
    )


def done(
    task_id: str,
    act: "Callable[[StuckTasks, UUID], Awaitable[None]]",
    said: str,
    *,
    signs: bool = False,
) -> None:
    """Carry out one act on one task, and say so."""
    from app.cli.context import with_operations

    known = _id(task_id)
    with_operations(lambda services: act(services.stuck, known), signs=signs)
    typer.echo(f"{known} {said}")


def erase(ids: Sequence[str], *, yes: bool) -> None:
    """Erase tasks of whichever client, each in a transaction of its own."""
    from app.cli.context import with_operations

    known = [_id(one) for one in ids]
    if not yes and sys.stdin.isatty():
        typer.confirm(f"Erase {len(known)} for good? This cannot be undone", abort=True)

    async def erase_all(services: "Services") -> None:
        for one in known:
            await services.erasure.of_any_client(operator(), one)
            typer.echo(f"erased {one}")

    with_operations(erase_all)


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        give_up("the task's id is a UUID, as `kie-gateway stuck` shows it", WRONG_USE)
