"""Which database this is, and whether it is the one that was known; see `domain.restore`.

The server's own words cost nothing (its start and the database's oid), 0.05 ms (the identifier,
from a file) or may not be asked for (on managed servers): so admissions compare the first two only.
A server that started since is another one or the same one anew; both are judged by the beat.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Text,
    Update,
    bindparam,
    exc,
    func,
    literal_column,
    null,
    select,
    text,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.restore import STEP, Incarnation
from app.store.connections.prepared import Prepared
from app.store.sql import NOW, later, seconds_since
from app.store.tables import KieAccount

# -- what the server says of itself

STARTED_AT = func.pg_postmaster_start_time(type_=NOW.type)
DATABASE_OID: ColumnElement[int] = literal_column(
    "(SELECT oid::bigint FROM pg_database WHERE datname = current_database())", BigInteger
)
_ASKED: Mapping[str, str] = {
    "system_identifier": "(SELECT system_identifier FROM pg_control_system())",
    # pg_control_checkpoint() tells of a promotion only after the next checkpoint. A timeline is
    # the first eight digits of a WAL file's name; a standby writes none.
    "timeline": "(CASE WHEN pg_is_in_recovery() THEN NULL ELSE ('x' || left(pg_walfile_name("
    "pg_current_wal_insert_lsn()), 8))::bit(32)::int::bigint END)",
}
"""What may be forbidden, or unknown to what calls itself PostgreSQL."""

Readable = frozenset[str]


async def readable(connection: AsyncConnection) -> Readable:
    """Return what the server says of its identity; on a connection without a transaction."""
    found = set()
    for name, asked in _ASKED.items():
        try:
            await connection.execute(text(f"SELECT {asked}"))  # our own words
        except exc.DBAPIError as error:
            if error.connection_invalidated:
                raise
        else:
            found.add(name)
    return frozenset(found)


ALL: Readable = frozenset(_ASKED)

IS_KNOWN: ColumnElement[bool] = func.coalesce(
    (KieAccount.server_started_at == STARTED_AT)
    & func.coalesce(KieAccount.database_oid == DATABASE_OID, true()),
    true(),
)
"""The server has run since the database was accepted, and it is that database; none was yet: so."""

# -- looking


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The database and the account's row, which is locked."""

    known: Incarnation | None
    """The one that was accepted last."""
    found: Incarnation
    counter: int
    is_held: bool
    is_expected: bool
    changed_for: float
    """Seconds for which another one has been judged; 0: it is not."""
    now: datetime
    """The database's clock."""


_KNOWN = ("system_identifier", "timeline", "database_oid", "server_started_at")


@cache
def _look(found: Readable, *, lock: bool) -> Prepared:
    return Prepared(lambda: _looking(found).with_for_update() if lock else _looking(found))


def _looking(found: Readable) -> Select[Any]:
    return select(
        *(getattr(KieAccount, name) for name in _KNOWN),
        *(
            (literal_column(_ASKED[name], BigInteger) if name in found else null()).label(
                f"found_{name}"
            )
            for name in _ASKED
        ),
        DATABASE_OID.label("found_oid"),
        STARTED_AT.label("found_started_at"),
        KieAccount.counter,
        KieAccount.restored_at.is_not(None).label("is_held"),
        func.coalesce(KieAccount.move_expected_until > NOW, literal_column("false")).label(
            "is_expected"
        ),
        func.coalesce(seconds_since(KieAccount.changed_at), 0.0).label("changed_for"),
        NOW.label("now"),
    )


async def look(connection: AsyncConnection, found: Readable, *, lock: bool = True) -> Seen:
    """Look at the database; with `lock` nobody admits, and nobody else judges, until the end."""
    row = await _look(found, lock=lock).one(connection)
    return Seen(
        known=_known(row),
        found=Incarnation(
            system_identifier=row.found_system_identifier,
            timeline=row.found_timeline,
            database_oid=row.found_oid,
            server_started_at=row.found_started_at,
        ),
        counter=row.counter,
        is_held=row.is_held,
        is_expected=row.is_expected,
        changed_for=row.changed_for,
        now=row.now,
    )


def _known(row: Any) -> Incarnation | None:  # noqa: ANN401  # a row of `_look`
    if row.server_started_at is None:
        return None
    return Incarnation(**{name: getattr(row, name) for name in _KNOWN})


# -- what follows

_TICK = Prepared(
    lambda: update(KieAccount).values(counter=KieAccount.counter + 1, changed_at=null())
)
_WAIT = update(KieAccount).values(changed_at=func.coalesce(KieAccount.changed_at, NOW))
_HOLD = update(KieAccount).values(
    restored_at=func.coalesce(KieAccount.restored_at, NOW),
    restored_detail=func.coalesce(KieAccount.restored_detail, bindparam("detail", type_=Text)),
    changed_at=null(),
)
_ACCEPT: Update = update(KieAccount).values(
    **{name: bindparam(f"new_{name}", type_=KieAccount.__table__.c[name].type) for name in _KNOWN},
    counter=KieAccount.counter + bindparam("step", type_=BigInteger),
    changed_at=null(),
    restored_at=null(),
    restored_detail=null(),
    move_expected_until=null(),
)
_EXPECT = update(KieAccount).values(
    move_expected_until=later("within"), counter=KieAccount.counter + 1
)
_EXPECT_NONE = update(KieAccount).values(move_expected_until=null())


async def tick(connection: AsyncConnection) -> None:
    """Move the counter on."""
    await _TICK.all(connection)


async def await_others(connection: AsyncConnection) -> None:
    """Note since when the database is being judged."""
    await connection.execute(_WAIT)


async def hold(connection: AsyncConnection, detail: str) -> None:
    """Send nothing until a person says so; a hold that there is stays as it is."""
    await connection.execute(_HOLD, {"detail": detail})


async def accept(connection: AsyncConnection, found: Incarnation, *, step: int = 1) -> None:
    """Take this for the database from now on, and send again."""
    new = {f"new_{name}": getattr(found, name) for name in _KNOWN}
    await connection.execute(_ACCEPT, {**new, "step": step})


async def release(connection: AsyncConnection, found: Incarnation) -> None:
    """Accept it on a person's word: what processes remember from before counts no more."""
    await accept(connection, found, step=STEP)


async def expect_move(connection: AsyncConnection, within: float) -> None:
    """Send nothing, and accept another database, for so many seconds."""
    await connection.execute(_EXPECT, {"within": within})


async def expect_no_move(connection: AsyncConnection) -> None:
    await connection.execute(_EXPECT_NONE)


# -- how safe its writes are

_DURABILITY = select(
    func.current_setting("fsync").label("fsync"),
    func.current_setting("synchronous_commit").label("synchronous_commit"),
)


async def durability(connection: AsyncConnection) -> dict[str, str]:
    """Return the settings by which the server may lose what it has committed."""
    return dict((await connection.execute(_DURABILITY)).mappings().one())
