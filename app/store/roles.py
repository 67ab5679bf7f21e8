"""Roles of least privilege: who owns the tables, who works on them, who only takes callbacks.

`migrate --roles` carries these statements out, `migrate --print-roles` prints them for somebody who
may. Both can be repeated: what is there is brought to what is written here.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import exc, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.connections.engine import Database
from app.store.tables import Base

PREFIX = "kie_gateway"
_PREFIX = re.compile(r"[a-z_][a-z0-9_]{0,47}")
"""With a suffix it fits PostgreSQL's 63 bytes, and needs no quotes."""

_TURNS = 4096
"""Rounds of PBKDF2, PostgreSQL's own default (`scram_iterations`)."""


class Role(StrEnum):
    """Who connects; the value is the end of the role's name."""

    OWNER = "owner"
    """Owns the tables: `migrate`, and nothing that serves."""
    APP = "app"
    """`serve`, `worker` and the commands."""
    RECEIVER = "receiver"
    """`serve --surface callbacks --no-worker`, which strangers can reach."""


_ALL = "SELECT, INSERT, UPDATE, DELETE"
_APP: Mapping[str, str] = {
    "alembic_version": "SELECT",
    "schema_releases": "SELECT",
    "audit_entries": "SELECT, INSERT",
}
"""What the application may do where it may not do everything."""

_RECEIVER: Mapping[str, str] = {
    "alembic_version": "SELECT",
    "schema_releases": "SELECT",
    "callbacks": "SELECT, INSERT, UPDATE",
    "tasks": "SELECT, UPDATE",
    "task_events": "SELECT, INSERT",
    "artifacts": "SELECT, INSERT",
    "deliveries": "SELECT, INSERT",
    "delivery_hosts": "SELECT",
    "delivery_urls": "SELECT",
    "disabled_urls": "SELECT",
    "erased_tasks": "SELECT",
    "clients": "SELECT (id, name, weight, webhook_url, webhook_hosts, webhook_events, archives), "
    "UPDATE (id)",
    "client_queues": "SELECT, UPDATE",
    "kie_account": "SELECT, INSERT, UPDATE",
    "kie_slots": "SELECT, UPDATE",
    "kie_breakers": "SELECT, INSERT, UPDATE",
    "processes": "SELECT, INSERT, UPDATE, DELETE",
    "audit_entries": "SELECT, INSERT",
    "usage_entries": "INSERT",
}
"""What settling a task by a callback takes. No keys, no signing secrets."""

_MAY_NOT = "42501"
"""SQLSTATE insufficient_privilege."""


_HAND_OVER = """DO $$ DECLARE one record; BEGIN
    FOR one IN SELECT 'TABLE' AS kind, pg_class.oid::regclass::text AS name FROM pg_class
            WHERE relname = ANY ('{{{tables}}}') AND relkind = 'r'
            AND relnamespace = 'public'::regnamespace AND relowner <> '{owner}'::regrole
        UNION SELECT 'FUNCTION', pg_proc.oid::regprocedure::text FROM pg_proc
            JOIN pg_trigger ON tgfoid = pg_proc.oid JOIN pg_class ON tgrelid = pg_class.oid
            WHERE NOT tgisinternal AND relname = ANY ('{{{tables}}}')
            AND proowner <> '{owner}'::regrole
    LOOP EXECUTE format('ALTER %s %s OWNER TO {owner}', one.kind, one.name); END LOOP;
END $$"""
"""Tables, and what their triggers run; a table that the owner owns already is not locked."""


_ON_TABLES_TO_COME = (
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public GRANT {rights} ON TABLES TO {app}"
)


class RolesError(Exception):
    """The roles could not be made; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Roles:
    """The names of the three roles: one prefix, three ends."""

    prefix: str = PREFIX

    def __post_init__(self) -> None:
        """Raise `RolesError` for a prefix that would need quotes, or is too long."""
        if not _PREFIX.fullmatch(self.prefix):
            message = (
                f"{self.prefix!r} cannot begin a role's name; write 1 to 48 small letters, digits "
                "and underscores, as kie_gateway"
            )
            raise RolesError(message)

    def name(self, role: Role) -> str:
        """Return the role's name in PostgreSQL."""
        return f"{self.prefix}_{role}"

    @property
    def owner(self) -> str:
        """Return the name of the role that owns the tables."""
        return self.name(Role.OWNER)


def scram(password: str) -> str:
    """Return what PostgreSQL keeps of a password (RFC 5803): its log never sees the password."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _TURNS)
    client = hmac.digest(salted, b"Client Key", "sha256")
    server = hmac.digest(salted, b"Server Key", "sha256")
    stored = hashlib.sha256(client).digest()
    salt64, stored64, server64 = (
        base64.b64encode(part).decode() for part in (salt, stored, server)
    )
    return f"SCRAM-SHA-256${_TURNS}:{salt64}${stored64}:{server64}"


def script(roles: Roles, database: str = ':"database"') -> str:
    """Write all of it for psql; the passwords and the database are variables of psql's."""
    wanted = "\n".join(
        f"SELECT 'CREATE ROLE {roles.name(role)}' WHERE to_regrole('{roles.name(role)}') IS NULL"
        f" \\gexec\nALTER ROLE {roles.name(role)} LOGIN PASSWORD :'{role}_password';"
        for role in Role
    )
    rest = "\n".join(
        f"{one};"
        for one in (*_settings(roles, database), *_owning(roles, database), *_grants(roles))
    )
    given = " ".join(f"-v {role}_password=…" for role in Role)
    return (
        "-- As a role that may create roles and owns the database:\n"
        f"--   psql -1 -v ON_ERROR_STOP=1 -v database=… {given} -f roles.sql\n"
        "-- once before the first `kie-gateway migrate`, and once after each.\n"
        f"{wanted}\n{rest}\n"
    )


async def ensure(dsn: str, roles: Roles, passwords: Mapping[Role, str]) -> None:
    """Make the roles that are missing, and have the owner own our tables.

    A role without a password here keeps the one it has; a new one cannot log in. Where all roles
    are there and we may not create any, they stay as they are. Raises `RolesError` where we may not
    do what is missing.
    """
    database = Database(dsn, pool_size=1)
    try:
        async with database.begin() as connection:
            name = str(await connection.scalar(text("SELECT quote_ident(current_database())")))
            missing = await _missing(connection, roles)
            if missing or await connection.scalar(_MAY_CREATE):
                await _carry_out(connection, _creating(roles, missing, passwords))
                await _carry_out(connection, _settings(roles, name))
            if await connection.scalar(text("SELECT current_user")) != roles.owner:
                await _carry_out(connection, _owning(roles, name))
    except exc.DBAPIError as error:
        raise RolesError(_sentence(error)) from error
    finally:
        await database.dispose()


async def grant(dsn: str, roles: Roles) -> None:
    """Give the roles what they need on the tables that there are now, and no more than that."""
    database = Database(dsn, pool_size=1)
    try:
        async with database.begin() as connection:
            await _carry_out(connection, [f"SET LOCAL ROLE {roles.owner}", *_grants(roles)])
    except exc.DBAPIError as error:
        raise RolesError(_sentence(error)) from error
    finally:
        await database.dispose()


_MAY_CREATE = text("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")


async def _missing(connection: AsyncConnection, roles: Roles) -> Sequence[Role]:
    known = text("SELECT to_regrole(:name) IS NOT NULL")
    return [role for role in Role if not await connection.scalar(known, {"name": roles.name(role)})]


async def _carry_out(connection: AsyncConnection, statements: Sequence[str]) -> None:
    for one in statements:
        await connection.exec_driver_sql(one)


def _creating(roles: Roles, missing: Sequence[Role], passwords: Mapping[Role, str]) -> list[str]:
    return [
        *(f"CREATE ROLE {roles.name(role)}" for role in missing),
        *(
            f"ALTER ROLE {roles.name(role)} LOGIN PASSWORD '{scram(password)}'"
            for role, password in passwords.items()
        ),
    ]


def _settings(roles: Roles, database: str) -> list[str]:
    """Have their sessions run as ours have to, a pooler's among them; see `connecting`."""
    return [
        f"ALTER ROLE {roles.name(role)} IN DATABASE {database} SET {setting}"
        for role in (Role.APP, Role.RECEIVER)
        for setting in ("jit = off", "synchronous_commit = on")
    ]


def _owning(roles: Roles, database: str) -> list[str]:
    """Let the owner own: the schema's objects that are ours, and what `migrate` makes from now."""
    owner = roles.owner
    everybody = ", ".join(map(roles.name, Role))
    return [
        f"GRANT {owner} TO CURRENT_USER",
        f"GRANT CONNECT ON DATABASE {database} TO {everybody}",
        f"GRANT TEMPORARY ON DATABASE {database} TO {owner}",
        f"GRANT CREATE, USAGE ON SCHEMA public TO {owner}",
        _HAND_OVER.format(owner=owner, tables=",".join(_tables())),
    ]


def _grants(roles: Roles) -> list[str]:
    """Give each role its own rights on each table; the application's also on tables to come."""
    owner, app, receiver = map(roles.name, Role)
    given = [
        f"GRANT USAGE ON SCHEMA public TO {app}, {receiver}",
        _ON_TABLES_TO_COME.format(owner=owner, app=app, rights=_ALL),
    ]
    rights = {
        table: {app: _APP.get(table, _ALL), receiver: _RECEIVER.get(table)} for table in _tables()
    }
    return given + [_on_table(table, on_it) for table, on_it in rights.items()]


def _on_table(table: str, rights: Mapping[str, str | None]) -> str:
    """Take and give in one statement, for a table that may not be there yet."""
    roles = ", ".join(rights)
    given = "".join(f" GRANT {what} ON {table} TO {who};" for who, what in rights.items() if what)
    return (
        f"DO $$ BEGIN IF to_regclass('public.{table}') IS NOT NULL THEN"
        f" REVOKE ALL ON {table} FROM {roles};{given} END IF; END $$"
    )


def _tables() -> list[str]:
    return sorted({*Base.metadata.tables, *_APP})


def _sentence(error: exc.DBAPIError) -> str:
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    said = str(root).splitlines()[0]
    if getattr(root, "sqlstate", None) == _MAY_NOT:
        return (
            f"PostgreSQL refused: {said}; give the command a role that may create roles and owns "
            "the database, or have somebody who may run what `kie-gateway migrate --print-roles` "
            "prints"
        )
    return f"PostgreSQL refused the roles: {said}"
