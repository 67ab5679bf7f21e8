"""`kie-gateway stuck`: the tasks that need a person."""

import typer

from app.cli.options import AsJson
from app.cli.output import show, show_json

COLUMNS = ("id", "why", "client", "state", "model", "kie_task_id", "created_at", "breakdown")


def stuck(as_json: AsJson = False) -> None:
    """List the tasks that need a person, or will if no worker runs; the oldest first.

    \b
    why           what it means, and what to do
    set_aside     polling kie.ai for it met a defect of ours again and again:
                  report `breakdown`, then kie-gateway tasks release ID
    unconfirmed   its create's answer was lost. Look for it in kie.ai's log;
                  if it is there, kie-gateway tasks bind ID KIE_TASK_ID, else
                  kie-gateway tasks requeue ID --may-pay-again
    overdue,      no worker does the work: is one running?
    lease_over    kie-gateway doctor

    \b
    kie-gateway stuck
    kie-gateway stuck --json | jq -r '.[] | select(.why == "set_aside").id'

    Works on the database itself; needs only GATEWAY_DATABASE_URL.
    """
    from app.cli.context import with_operations

    found = with_operations(lambda services: services.stuck.list())
    if as_json:
        show_json(found)
    elif found:
        show(COLUMNS, [[row[name] for name in COLUMNS] for row in found])
    else:
        typer.echo("nothing is stuck")
