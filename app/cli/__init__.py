"""The command `kie-gateway`."""

import typer

from app.cli import demo, doctor, keys, running, secrets_, tasks

app = typer.Typer(
    name="kie-gateway",
    help="A durable front for kie.ai: tasks created with one POST, paid once, never lost.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("dev")(demo.dev)
app.command("serve")(running.serve)
app.command("worker")(running.worker)
app.command("migrate")(running.migrate)
app.command("simulator")(running.simulator)
app.command("doctor")(doctor.doctor)
app.add_typer(keys.app, name="keys")
app.add_typer(secrets_.app, name="secrets")
app.add_typer(tasks.app, name="tasks")


def main() -> None:
    app()
