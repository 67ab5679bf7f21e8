"""`kie-gateway tasks cancel`: a caller's own task, or many as an operator."""

from typing import Annotated

import typer

from app.cli.callers.client import calling
from app.cli.exits import WRONG_USE, give_up
from app.cli.operators import bulk
from app.cli.options import HERE, AsJson, OptionalKey, Url
from app.cli.output import pretty
from app.domain.bulk import Act, Order, Selection


def cancel(
    task_id: Annotated[
        str | None, typer.Argument(help="Your task's id, as `create` prints it.")
    ] = None,
    key: OptionalKey = None,
    url: Url = HERE,
    ids: bulk.Ids = None,
    client: bulk.Client = None,
    state: bulk.States = None,
    model: bulk.Model = None,
    older_than: bulk.Age = None,
    dry_run: bulk.DryRun = False,
    yes: bulk.Yes = False,
    as_json: AsJson = False,
) -> None:
    """Cancel a task of yours that is queued; as an operator, many.

    With TASK_ID as a caller, through a running gateway: KIE_GATEWAY_URL and
    KIE_GATEWAY_API_KEY can be set instead of --url, --key.
    With any of --id, --client, --state, --model, --older-than as an operator,
    on the database: needs only GATEWAY_DATABASE_URL.

    \b
    kie-gateway tasks cancel 0193a1f2-5b7c-7d1e-9c3a-2f4b6d8e0a1c
    kie-gateway tasks cancel --client shop --older-than 2h --dry-run
    kie-gateway tasks cancel --client shop --older-than 2h

    Only queued tasks are canceled; nothing was paid for them. Their callers
    are notified. Exits 1 where ids were named and none was canceled.
    """
    selection = bulk.selected(ids, client, state, model, older_than)
    if task_id is None:
        return bulk.carry_out(
            Order(act=Act.CANCEL, selection=selection), dry_run=dry_run, yes=yes, as_json=as_json
        )
    if selection != Selection() or dry_run:
        give_up("TASK_ID is a caller's own task; an operator names it by --id", WRONG_USE)
    if key is None:
        give_up("a caller needs an API key: --key, or KIE_GATEWAY_API_KEY", WRONG_USE)
    with calling(url, key) as gateway:
        task = gateway.cancel(task_id)
    typer.echo(pretty(task))
    return None
