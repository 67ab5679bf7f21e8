"""Cursors: opaque to callers, and refused when they are not ours."""

import base64
import binascii
import json
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.domain.errors import Flaw, InvalidRequestError, bad_parameter, cursor_lost
from app.domain.paging import FeedPlace, Place

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_PLACE = re.compile(r"(\d{1,17})\.([0-9a-f]{32})")
_ID = re.compile(r"[A-Za-z0-9_-]{21}[AQgw]")
"""16 bytes in base64url: the last digit has two bits."""
_EVENT = re.compile(r"e(\d{1,18})(?:\.(\d{1,18})\.([0-9a-f]{8}))?")
"""An event's number; in a feed also its position and token."""
_BEFORE_0005 = re.compile(r"\d{1,18}-(\d{1,18})")
"""A transaction's number and the event's, as they were until migration 0005."""
_BEGINNING = "0-0"


def page_cursor(place: Place | None) -> str | None:
    """Write down where the next page begins."""
    if place is None:
        return None
    instant = (place.created_at - _EPOCH) // _MICROSECOND
    return base64.urlsafe_b64encode(f"{instant}.{place.id.hex}".encode()).rstrip(b"=").decode()


def read_page_cursor(cursor: str | None) -> Place | None:
    """Read a page's cursor; raises `InvalidRequestError`."""
    if cursor is None:
        return None
    try:
        found = _PLACE.fullmatch(base64.urlsafe_b64decode(cursor + "==").decode())
    except (binascii.Error, ValueError):
        found = None
    if found is None:
        raise _foreign_cursor()
    return Place(created_at=_EPOCH + int(found[1]) * _MICROSECOND, id=UUID(hex=found[2]))


def id_cursor(last: UUID | None) -> str | None:
    """Write down where the next page of a list by id begins."""
    return None if last is None else base64.urlsafe_b64encode(last.bytes).rstrip(b"=").decode()


def read_id_cursor(cursor: str | None, *, in_body: bool = False) -> UUID | None:
    """Read such a cursor; raises `InvalidRequestError` that says where it was given."""
    if cursor is None:
        return None
    if _ID.fullmatch(cursor) is None:
        raise _foreign_cursor(in_body=in_body)
    return UUID(bytes=base64.urlsafe_b64decode(cursor + "=="))


MAX_GROUP = 4000
"""Characters of a cursor that names a group: its names are bounded, too."""


def group_cursor(group: tuple[str, ...] | None) -> str | None:
    """Write down after which group of usage the next page begins."""
    if group is None:
        return None
    return base64.urlsafe_b64encode(json.dumps(group).encode()).rstrip(b"=").decode()


def read_group_cursor(cursor: str | None, names: int) -> tuple[str, ...] | None:
    """Read such a cursor of so many names; raises `InvalidRequestError`."""
    if cursor is None:
        return None
    group: object = None
    if len(cursor) <= MAX_GROUP:
        with suppress(binascii.Error, ValueError, RecursionError):
            group = json.loads(base64.urlsafe_b64decode(cursor + "=="))
    if not isinstance(group, list) or len(group) != names or names == 0:
        raise _foreign_cursor()
    if not all(isinstance(name, str) and "\0" not in name for name in group):
        raise _foreign_cursor()
    return tuple(group)


def _foreign_cursor(*, in_body: bool = False) -> InvalidRequestError:
    trouble = "not one of ours; take next_cursor from the page before."
    if in_body:
        return InvalidRequestError(f"cursor: {trouble}", [Flaw("/cursor", trouble)])
    return bad_parameter("cursor", trouble)


def history_id(event: int) -> str:
    """Write down a place in a task's history; also the `id` of a server-sent event."""
    return f"e{event}"


def feed_id(event: int, place: FeedPlace) -> str:
    """Write down a place in a feed, as above."""
    return f"e{event}.{place.position}.{place.token:08x}"


def read_history_id(parameter: str, given: str | None) -> int:
    """Read a place in a history, also from a feed's or an old id; raises `InvalidRequestError`."""
    if not given:
        return 0
    found = _EVENT.fullmatch(given) or _BEFORE_0005.fullmatch(given)
    if found is None:
        raise _foreign_event(parameter)
    return int(found[1])


def read_feed_id(parameter: str, given: str | None) -> FeedPlace:
    """Read a place in a feed, the beginning where none is given.

    Raises `InvalidRequestError`, and `CursorLostError` for an id from before positions.
    """
    if not given or given == _BEGINNING:
        return FeedPlace()
    if _BEFORE_0005.fullmatch(given):
        raise cursor_lost()
    found = _EVENT.fullmatch(given)
    if found is None:
        raise _foreign_event(parameter)
    if found[2] is None:
        raise bad_parameter(parameter, "the id of a task's history; the feed's own ids lead on.")
    return FeedPlace(position=int(found[2]), token=int(found[3], 16))


def _foreign_event(parameter: str) -> InvalidRequestError:
    trouble = "not the id of an event; take it from an event or from next_cursor."
    return bad_parameter(parameter, trouble)
