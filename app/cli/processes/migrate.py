"""`kie-gateway migrate`: the database's schema."""

from typing import Annotated

import typer


def migrate(
    wait: Annotated[
        float, typer.Option(min=0.001, help="Seconds to wait at most for another migrator.")
    ] = 60.0,
) -> None:
    """Bring the database to the schema of this version. Safe to repeat, safe beside others.

    Needs only GATEWAY_DATABASE_URL. Run it before the new version is started;
    processes of the version before go on, unless the changelog says otherwise.
    One migrator works at a time: a second one says whom it waits for. A table
    that others keep locked ends it after 5 s with the session's name, before
    requests pile up behind it. Each migration is kept whole or not at all; it
    ends by gathering statistics. On a newer schema that admits this version,
    it changes nothing.

    \b
    kie-gateway migrate
    GATEWAY_DATABASE_URL=postgres://user:…@db:5432/gateway kie-gateway migrate

    Exits 1 with the reason where the database cannot be migrated.
    """
    from app.cli.context import dsn, require_database, settings, upgrade, with_database
    from app.store.schema import Progress

    def say(line: str) -> None:
        typer.echo(line, err=True)

    with with_database(settings()) as ready:
        require_database(ready)
        upgrade(dsn(ready), Progress(wait=wait, say=say))
        state = require_database(ready)
    typer.echo(f"the schema is at {state.revision}")
