"""What all calls do with answers: read one, or page after page."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from kie_gateway_client.errors import UnexpectedAnswer
from kie_gateway_client.exact import rfc3339
from kie_gateway_client.models import A
from kie_gateway_client.steps import Call, Item, Items, Request
from kie_gateway_client.terms import Params, Terms

MAX_PAGE = 200

Id = UUID | str


class Calling:
    """The calls of one gateway."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms

    def one(self, model: type[A], request: Request) -> Call[A]:
        """Send it and read the answer."""
        raw = yield from self.terms.document(request)
        return model.of(raw)

    def pages(
        self,
        model: type[A],
        *path: object,
        params: Params | None = None,
        most: int | None = None,
        is_sized: bool = True,
    ) -> Items[A]:
        """Hand out what a list has, page by page, at most so many; `is_sized`: it takes a limit."""
        left = MAX_PAGE if most is None else most
        cursor: object = None
        while left > 0:
            limit = min(left, MAX_PAGE) if is_sized else None
            asked = {**(params or {}), "limit": limit, "cursor": cursor}
            page = yield from self.terms.document(self.terms.request("GET", *path, params=asked))
            for raw in rows(page):
                yield Item(model.of(raw))
                left -= most is not None
                if left == 0:
                    return
            before, cursor = cursor, page.get("next_cursor")
            if cursor is None:
                return
            if cursor == before:
                message = "a page's cursor leads to the page itself"
                raise UnexpectedAnswer(message)

    def short(self, model: type[A], *path: object) -> Call[tuple[A, ...]]:
        """Return what a list has that is never long."""
        page = yield from self.terms.document(self.terms.request("GET", *path))
        return tuple(model.of(raw) for raw in rows(page))


def rows(page: Mapping[str, Any]) -> list[Any]:
    """Return the rows of a page; raises `UnexpectedAnswer`."""
    found = page.get("data")
    if isinstance(found, list):
        return found
    message = "a page has no list `data`"
    raise UnexpectedAnswer(message)


def spelled(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
