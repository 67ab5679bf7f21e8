"""`kie-gateway tasks review`: what a restored database may send, and pay, again."""

import typer

from app.cli.options import AsJson
from app.cli.output import show, show_json

COLUMNS = ("id", "client", "state", "model", "attempt", "created_at", "submitted_at")

TO_DO = """
Each of these may have been sent before the database was restored. Look for it
in kie.ai's log, and in the gateway's own (task.sent has task_id and kie_task_id):
  it is there      kie-gateway tasks bind ID KIE_TASK_ID
  it is not, or it may be paid again
                   leave it: it is sent after the resume; one that is
                   unconfirmed: kie-gateway tasks requeue ID --may-pay-again
  it is unwanted   kie-gateway tasks cancel ID, with a key of its client
Then: kie-gateway admission resume --restored"""


def review(as_json: AsJson = False) -> None:
    """List what a restored database may send again, and say what to do.

    While the account is held as database_restored: the tasks that are queued,
    submitting or unconfirmed and were created before that was noticed. What
    was committed after the backup is gone; a callback of kie.ai's that still
    comes settles its task by itself.

    \b
    kie-gateway tasks review
    kie-gateway tasks review --json | jq -r '.[].id'

    Works on the database itself, for all clients; needs only
    GATEWAY_DATABASE_URL.
    """
    from app.cli.context import with_operations

    found = with_operations(lambda services: services.stuck.review())
    if as_json:
        show_json(found)
    elif found:
        show(COLUMNS, [[row[name] for name in COLUMNS] for row in found])
        typer.echo(TO_DO)
    else:
        typer.echo("nothing is to be reviewed")
