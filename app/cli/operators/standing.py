"""What the doctor says of PostgreSQL's safety, and of the processes that work on it."""

from collections.abc import Iterator, Mapping

from app.cli.operators.finding import Finding
from app.domain.replicas import CLOCK_TOLERANCE
from app.services.account.witness import Inspection

UNSAFE: Mapping[str, str] = {
    "fsync": "set fsync = on: when PostgreSQL's machine stops, tasks that were sent are sent, and "
    "paid, again",
    "synchronous_commit": "set synchronous_commit = on for this role and database: a crash of "
    "PostgreSQL loses the last commits",
}
"""What to do about each setting by which PostgreSQL may lose what it has committed."""

UNSEEN: Mapping[str, str] = {
    "system_identifier": "that the database is in another server now",
    "timeline": "that a standby was promoted, or a backup recovered from an archive",
}
"""What cannot be noticed without each part of the identity, while no process runs."""


def server(found: Inspection, *, may_forget: bool) -> Iterator[Finding]:
    """Judge whether the server keeps what it commits, and whether it says which one it is.

    `may_forget`: an operator has allowed that it does not.
    """
    unsafe = [name for name in UNSAFE if found.durability[name] == "off" and not may_forget]
    said = ", ".join(f"{name} = {value}" for name, value in found.durability.items())
    yield Finding("durability", said, "; ".join(UNSAFE[name] for name in unsafe) or None)
    if found.unreadable:
        hidden = "; ".join(UNSEEN[name] for name in found.unreadable)
        said = f"the server hides {', '.join(found.unreadable)}: while no process runs, nobody sees"
        yield Finding("identity", f"{said} {hidden}")
    else:
        yield Finding("identity", "known: a restored database is noticed")


def replicas(found: Inspection) -> Iterator[Finding]:
    """Judge whether clocks and settings agree."""
    late = {f"{row['kind']} {str(row['id'])[-12:]}": row["clock_ahead"] for row in found.living}
    ahead = {"here": found.clock_ahead, **late}
    off = {name: by for name, by in ahead.items() if abs(by) > CLOCK_TOLERANCE}
    if off:
        said = ", ".join(f"{name} {by:+.1f} s" for name, by in off.items())
        remedy = "set the clocks by NTP: receivers refuse webhooks whose timestamp is wrong"
        yield Finding("clocks", f"ahead of PostgreSQL's: {said}", remedy)
    else:
        yield Finding("clocks", "agree with PostgreSQL's")
    count = f"{len(found.living)} processes run" if found.living else "no process runs"
    if found.differing:
        said = f"{count}, and differ in {', '.join(found.differing)}"
        yield Finding("processes", said, "give all of them the same settings, and restart them")
    else:
        yield Finding("processes", count)
