"""`kie-gateway tasks erase`: a caller's own task, or as an operator any."""

from typing import Annotated

import typer

from app.cli.callers.client import calling
from app.cli.exits import WRONG_USE, give_up
from app.cli.operators import bulk, recovery
from app.cli.options import HERE, OptionalKey, Url


def erase(
    task_id: Annotated[
        str | None, typer.Argument(help="Your task's id, as `create` prints it.")
    ] = None,
    key: OptionalKey = None,
    url: Url = HERE,
    ids: bulk.Ids = None,
    yes: bulk.Yes = False,
) -> None:
    """Erase a task in a final state, with its history, callbacks and deliveries.

    For good: what is still to be delivered is not, and its idempotency key
    creates nothing any more.
    With TASK_ID as a caller, through a running gateway: KIE_GATEWAY_URL and
    KIE_GATEWAY_API_KEY can be set instead of --url, --key.
    With --id as an operator, on the database, any client's: needs only
    GATEWAY_DATABASE_URL. The audit records it.

    \b
    kie-gateway tasks erase 0193a1f2-5b7c-7d1e-9c3a-2f4b6d8e0a1c
    kie-gateway tasks erase --id 0193a1f2-5b7c-7d1e-9c3a-2f4b6d8e0a1c

    Exits 1 where it is not in a final state, is not yours, or there is none.
    """
    if (task_id is None) == (ids is None):
        give_up("say either TASK_ID, your own task, or --id, as an operator", WRONG_USE)
    if task_id is None:
        return recovery.erase(ids or [], yes=yes)
    if key is None:
        give_up("a caller needs an API key: --key, or KIE_GATEWAY_API_KEY", WRONG_USE)
    with calling(url, key) as gateway:
        gateway.erase(task_id)
    typer.echo(f"erased {task_id}")
    return None
