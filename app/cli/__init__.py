"""The command `kie-gateway`."""

import typer

from app.cli import (
    admission,
    clients,
    deliveries,
    demo,
    doctor,
    keys,
    listen,
    secrets_,
    serve,
    simulator,
    stuck,
    tasks,
)
from app.cli.interrupts import heed_signals

app = typer.Typer(
    name="kie-gateway",
    help="""A durable front for kie.ai: tasks created with one POST, paid once, never lost.

    \b
    kie-gateway demo      one task to its end; nothing needed, nothing left
    kie-gateway dev       a gateway to try: prints a URL, a key, a curl line
    kie-gateway migrate && kie-gateway serve         as docs/settings.md says

    \b
    kie-gateway simulator           a stand-in kie.ai, to develop against
    kie-gateway listen              a receiver of webhooks, to develop against

    \b
    kie-gateway admission pause     the brake: nothing more is sent to kie.ai
    kie-gateway stuck               the tasks that need a person, and for what
    kie-gateway deliveries list     what a caller was told, and was not

    Exits 0 when done, 1 when it could not be done, 2 when arguments or
    settings cannot be used.
    """,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("dev")(demo.dev)
app.command("serve")(serve.serve)
app.command("worker")(serve.worker)
app.command("migrate")(serve.migrate)
app.command("simulator")(simulator.simulator)
app.command("listen")(listen.listen)
app.command("doctor")(doctor.doctor)
app.command("stuck")(stuck.stuck)
app.add_typer(admission.app, name="admission")
app.add_typer(clients.app, name="clients")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(keys.app, name="keys")
app.add_typer(secrets_.app, name="secrets")
app.add_typer(tasks.app, name="tasks")


def main() -> None:
    """Run the command; SIGTERM and SIGHUP unwind it as Ctrl-C does, so that nothing is left."""
    heed_signals()
    app(prog_name="kie-gateway")
