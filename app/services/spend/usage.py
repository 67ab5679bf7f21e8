"""What tasks have cost: for their client, and of all clients for operators."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.domain.client import is_name, no_such_client
from app.domain.usage import ENDS, Group, Wanted, place_of
from app.store.connections.engine import Database
from app.store.spend import budgets, usage

OWN_GROUPS = (Group.DAY, Group.MODEL, Group.FAIL_CLASS)
ALL_GROUPS = tuple(Group)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsagePage:
    """Some groups, and the sums of all."""

    wanted: Wanted
    rows: Sequence[Mapping[str, Any]]
    total: Mapping[str, Any]
    more: bool

    @property
    def last(self) -> tuple[str, ...] | None:
        """Where the next page begins; None: this one is the last."""
        if not self.more:
            return None
        return tuple(place_of(self.rows[-1][name]) for name in self.wanted.by)

    @property
    def shown(self) -> dict[str, Any]:
        """Return all of it but where the next page begins."""
        return {
            "data": self.rows,
            "total": self.total,
            "from": self.wanted.first.isoformat(),
            "to": self.wanted.last.isoformat(),
            "group_by": list(self.wanted.by),
        }


class Usage:
    """Reads usage."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def today(self) -> date:
        """Return the day in UTC, up to which is looked where nobody says otherwise."""
        return self._clock().astimezone(UTC).date()

    async def of_client(self, client_id: UUID, wanted: Wanted) -> UsagePage:
        """Return the client's own."""
        return await self._read(wanted, client_id, whose=client_id)

    async def of_all(self, wanted: Wanted, client: str | None) -> UsagePage:
        """Return all clients', or one's by its name; raises `NotFoundError`."""
        client_id = None
        if client is not None:
            if is_name(client):
                async with self._database.read() as connection:
                    client_id = await budgets.client_named(connection, client)
            if client_id is None:
                raise no_such_client(client)
        return await self._read(wanted, client_id)

    async def _read(
        self, wanted: Wanted, client_id: UUID | None, whose: UUID | None = None
    ) -> UsagePage:
        async with self._database.read(whose) as connection:
            found = await usage.read_usage(connection, wanted, client_id) if wanted.by else []
            total = await usage.read_total(connection, wanted, client_id)
        rows = [_shown(row, wanted.by) for row in found[: wanted.limit]]
        sums = _shown(total or _NOTHING, ())
        if not wanted.by:
            rows = [sums]
        return UsagePage(wanted=wanted, rows=rows, total=sums, more=len(found) > wanted.limit)


_NOTHING: Mapping[str, Any] = dict.fromkeys(usage.SUMS, 0)


def _shown(row: Mapping[Any, Any], by: Sequence[str]) -> dict[str, Any]:
    """Return a group as answers have it: its names, tasks by final state, credits, seconds."""
    return {
        **{name: row[name] for name in by},
        "tasks": {str(end): int(row[str(end)]) for end in ENDS},
        "credits": row["credits"],
        "seconds": row["seconds"],
    }


def flat(page: UsagePage) -> tuple[list[str], list[list[object]]]:
    """Return the head and the rows of a table of it."""
    ends = [str(end) for end in ENDS]
    head = [*page.wanted.by, *ends, "credits", "seconds"]
    rows = [
        [
            *(row[name] for name in page.wanted.by),
            *(row["tasks"][end] for end in ends),
            row["credits"],
            row["seconds"],
        ]
        for row in page.rows
    ]
    return head, rows


def table(page: UsagePage) -> str:
    """Write it as CSV (RFC 4180)."""
    head, rows = flat(page)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_cell(name) for name in head)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


def _cell(value: object) -> str:
    """Keep spreadsheets from running what callers wrote: such a text gets an apostrophe."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if not isinstance(value, str):
        return "" if value is None else str(value)
    return f"'{value}" if value.startswith(_FORMULA) else value
