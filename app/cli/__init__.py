"""The command `kie-gateway`.

A command's module imports what it works with when it runs, so that the others, and every `--help`,
start without it: the whole gateway takes more than a second to import.
"""

from typing import Annotated

import typer

from app.cli.callers import deliveries, files, tasks
from app.cli.interrupts import unwind_on_signals
from app.cli.operators import (
    admin_keys,
    admission,
    audit,
    budgets,
    clients,
    doctor,
    keys,
    models,
    reconciliation,
    secrets,
    stuck,
    usage,
)
from app.cli.processes import demo, dev, listen, migrate, serve, simulator, worker

app = typer.Typer(
    name="kie-gateway",
    help="""A durable front for kie.ai: tasks created with one POST, paid once, never lost.

    \b
    kie-gateway demo      one task to its end; nothing needed, nothing left
    kie-gateway dev       a gateway to try: prints a URL, a key, a curl line
    kie-gateway migrate && kie-gateway serve    see docs/settings.md

    \b
    kie-gateway simulator           a stand-in kie.ai, to develop against
    kie-gateway listen              a receiver of webhooks, to develop against

    \b
    kie-gateway admission pause     the brake: nothing more is sent to kie.ai
    kie-gateway stuck               the tasks that need a person, and for what
    kie-gateway deliveries list     the webhooks that were sent, or not yet
    kie-gateway usage               what tasks have cost, by client and day
    kie-gateway budgets set         what a client may spend
    kie-gateway models              what tasks of a model cost, and how they end
    kie-gateway reconciliation      what the account lost that no task explains

    Exits 0 when done, 1 when it could not be done, 2 when arguments or
    settings cannot be used.
    """,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: drawing it would cost more than all else that it loads
)
app.command("demo")(demo.demo)
app.command("dev")(dev.dev)
app.command("serve")(serve.serve)
app.command("worker")(worker.worker)
app.command("migrate")(migrate.migrate)
app.command("simulator")(simulator.simulator)
app.command("listen")(listen.listen)
app.command("doctor")(doctor.doctor)
app.command("stuck")(stuck.stuck)
app.command("usage")(usage.usage)
app.command("models")(models.models)
app.command("reconciliation")(reconciliation.reconciliation)
app.add_typer(admin_keys.app, name="admin-keys")
app.add_typer(admission.app, name="admission")
app.add_typer(audit.app, name="audit")
app.add_typer(budgets.app, name="budgets")
app.add_typer(clients.app, name="clients")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(files.app, name="files")
app.add_typer(keys.app, name="keys")
app.add_typer(secrets.app, name="secrets")
app.add_typer(tasks.app, name="tasks")


def _print_version(wanted: bool) -> None:  # noqa: FBT001  # the signature of a callback
    if wanted:
        from importlib.metadata import version

        typer.echo(f"kie-gateway {version('kie-gateway')}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version, and exit."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command; SIGTERM and SIGHUP unwind it as Ctrl-C does, so that nothing is left."""
    unwind_on_signals()
    app(prog_name="kie-gateway")
