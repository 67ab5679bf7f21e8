"""Days that somebody asks about, in UTC: the first and the last, and what is meant without them."""

from datetime import UTC, date, datetime, timedelta

from app.domain.errors import bad_parameter

YEARS = range(1970, 9999)
"""What Python and PostgreSQL can both convert, whatever the zone."""

_FROM = "from"
_WANTED = "should be a day, such as 2026-08-01"


def read_day(name: str, text: str | None) -> date | None:
    """Read a day, or an instant as its day in UTC; raises `InvalidRequestError`."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text.upper())
    except ValueError:
        raise bad_parameter(name, _WANTED) from None
    if found.year not in YEARS:
        raise bad_parameter(name, f"{_WANTED}, of a year from {YEARS[0]} to {YEARS[-1]}")
    return (found.astimezone(UTC) if found.tzinfo else found).date()


def span(
    today: date, first: date | None, last: date | None, *, usual: int, most: int
) -> tuple[date, date]:
    """Return the days to look at, both included: without a first one the `usual` number of days.

    Raises `InvalidRequestError`, also for more than `most` days.
    """
    last = last or max(today, first or today)
    first = first or last - timedelta(days=usual - 1)
    if not first <= last:
        raise bad_parameter(_FROM, "should not be after `to`")
    if (last - first).days >= most:
        raise bad_parameter(_FROM, f"should be at most {most} days before `to`")
    return first, last
