"""`kie-gateway migrate`: the database's schema."""

import typer


def migrate() -> None:
    """Bring the database to the schema of this version. Safe to repeat, safe beside others.

    Needs only GATEWAY_DATABASE_URL. Run it before the new version is started.

    \b
    kie-gateway migrate
    GATEWAY_DATABASE_URL=postgres://user:…@db:5432/gateway kie-gateway migrate
    """
    from app.cli.context import dsn, require_database, settings, upgrade, with_database
    from app.store import schema

    with with_database(settings()) as ready:
        require_database(ready)
        upgrade(dsn(ready))
    typer.echo(f"the schema is at {schema.needed()}")
