"""`kie-gateway migrate`: the database's schema, and the roles that may work on it."""

import asyncio
from typing import Annotated

import typer


def migrate(
    wait: Annotated[
        float, typer.Option(min=0.001, help="Seconds to wait at most for another migrator.")
    ] = 60.0,
    roles: Annotated[
        bool, typer.Option("--roles", help="Make the roles owner, app and receiver, and grant.")
    ] = False,
    role_prefix: Annotated[
        str, typer.Option(help="What the names of the roles begin with.")
    ] = "kie_gateway",
    print_roles: Annotated[
        bool, typer.Option("--print-roles", help="Print the roles' SQL for psql, and do nothing.")
    ] = False,
) -> None:
    """Bring the database to the schema of this version. Safe to repeat, safe beside others.

    Needs only GATEWAY_DATABASE_URL. Run it before the new version is started;
    processes of the version before go on, unless the changelog says otherwise.
    One migrator works at a time: a second one says whom it waits for. A table
    that others keep locked ends it after 5 s with the session's name, before
    requests pile up behind it. Each migration is kept whole or not at all; it
    ends by gathering statistics. On a newer schema that admits this version,
    it changes nothing.

    With --roles the tables belong to kie_gateway_owner. kie_gateway_app, for
    `serve` and `worker`, can neither change tables nor delete from the audit;
    kie_gateway_receiver, for `serve --surface callbacks --no-worker`, can do
    what a callback takes and reads no key. Passwords are taken from
    GATEWAY_DATABASE_OWNER_PASSWORD, …_APP_PASSWORD and …_RECEIVER_PASSWORD, or
    files (…_PASSWORD_FILE). Give --roles at every upgrade: new tables need
    grants. Where your role may not create roles, --print-roles prints the SQL.

    \b
    kie-gateway migrate
    GATEWAY_DATABASE_URL=postgres://user:…@db:5432/gateway kie-gateway migrate
    kie-gateway migrate --roles
    kie-gateway migrate --print-roles >roles.sql

    Exits 1 with the reason where the database cannot be migrated.
    """
    from app.cli.context import dsn, require_database, settings, upgrade, with_database
    from app.cli.exits import WRONG_USE, give_up
    from app.store.roles import Role, Roles, RolesError, ensure, grant, script
    from app.store.schema import Progress

    def say(line: str) -> None:
        typer.echo(line, err=True)

    try:
        names = Roles(role_prefix)
    except RolesError as error:
        give_up(f"--role-prefix: {error}", WRONG_USE)
    if print_roles:
        typer.echo(script(names), nl=False)
        return
    found = settings()
    given = {
        Role.OWNER: found.database_owner_password,
        Role.APP: found.database_app_password,
        Role.RECEIVER: found.database_receiver_password,
    }
    passwords = {role: secret.get_secret_value() for role, secret in given.items() if secret}
    with with_database(found) as ready:
        require_database(ready)
        try:
            if roles:
                asyncio.run(ensure(dsn(ready), names, passwords))
            owner = names.owner if roles else None
            upgrade(dsn(ready), Progress(wait=wait, say=say, owner=owner))
            if roles:
                asyncio.run(grant(dsn(ready), names))
        except RolesError as error:
            give_up(str(error))
        state = require_database(ready)
    typer.echo(f"the schema is at {state.revision}")
