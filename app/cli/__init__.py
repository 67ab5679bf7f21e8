"""The command `kie-gateway`.

Only the command that runs is imported, and its module imports what it works with when it runs: the
whole gateway takes more than a second to import, and the commands' own modules a third of one.
"""

from collections.abc import Mapping
from typing import Annotated

import typer

from app.cli.interrupts import unwind_on_signals
from app.cli.loading import At, LoadingGroup
from app.cli.values import take_plain_values

COMMANDS: Mapping[str, At] = {
    "demo": At(
        "app.cli.processes.demo:demo",
        "Run one task to its end: PostgreSQL, a stand-in kie.ai and the gateway, on this machine.",
    ),
    "dev": At(
        "app.cli.processes.dev:dev",
        "Run PostgreSQL, a stand-in kie.ai and the gateway until Ctrl-C. Tasks are kept.",
    ),
    "serve": At(
        "app.cli.processes.serve:serve",
        "Serve the API, and the worker loops beside it unless --no-worker.",
    ),
    "worker": At(
        "app.cli.processes.worker:worker",
        "Run only the worker loops, beside any number of `serve --no-worker`.",
    ),
    "migrate": At(
        "app.cli.processes.migrate:migrate",
        "Bring the database to the schema of this version. Safe to repeat, safe beside others.",
    ),
    "simulator": At(
        "app.cli.processes.simulator:simulator",
        "Run a stand-in kie.ai: createTask, recordInfo, credit, callbacks and small real pictures.",
    ),
    "listen": At(
        "app.cli.processes.listen:listen",
        "Receive webhooks, verify each by its signature, and print it.",
    ),
    "doctor": At(
        "app.cli.operators.doctor:doctor",
        "Look at settings, database, work, public URL and kie.ai. Exits 1 on a finding.",
    ),
    "stuck": At(
        "app.cli.operators.stuck:stuck",
        "List the tasks that need a person, or will if no worker runs; the oldest first.",
    ),
    "usage": At(
        "app.cli.operators.usage:usage",
        "Show what tasks have cost: how many ended how, credits, seconds.",
    ),
    "models": At(
        "app.cli.operators.models:models",
        "Show each model of the last 7 days: successes, cost, duration, trouble.",
    ),
    "reconciliation": At(
        "app.cli.operators.reconciliation:reconciliation",
        "Compare the account's balance with what tasks cost, day by day.",
    ),
    "admin-keys": At(
        "app.cli.operators.admin_keys:app",
        "Keys of the people and programs that use the admin API.",
    ),
    "admission": At(
        "app.cli.operators.admission:app",
        "Stop spending, go on, and see what keeps tasks in the queue.",
    ),
    "audit": At(
        "app.cli.operators.audit:app",
        "What operators did, and what needs one: entries are only ever added.",
    ),
    "budgets": At(
        "app.cli.operators.budgets:app",
        "What clients may spend in a day, a month or in all, in UTC.",
    ),
    "clients": At(
        "app.cli.operators.clients:app",
        "The calling services: their shares of the account, their webhooks.",
    ),
    "deliveries": At(
        "app.cli.callers.deliveries:app",
        "The webhooks that were sent to a caller, and sending them again.",
    ),
    "files": At(
        "app.cli.callers.files:app",
        "Upload input files to kie.ai through a running gateway.",
    ),
    "keys": At(
        "app.cli.operators.keys:app",
        "API keys of the services that call the gateway.",
    ),
    "secrets": At(
        "app.cli.operators.secrets:app", "Make secrets for the settings, and retire them."
    ),
    "tasks": At(
        "app.cli.callers.tasks:app",
        "Create and watch tasks through a running gateway; operate on any.",
    ),
}
"""In the order in which `--help` lists them."""


class _Commands(LoadingGroup):
    table = COMMANDS


app = typer.Typer(
    name="kie-gateway",
    cls=_Commands,
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
    take_plain_values()
    app(prog_name="kie-gateway")
