"""What all calls do with answers: read one, or page after page."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from kie_gateway_client.errors import UnexpectedAnswer, Unusable
from kie_gateway_client.exact import render, rfc3339
from kie_gateway_client.shapes import M, Shape
from kie_gateway_client.steps import Call, Item, Items, Request
from kie_gateway_client.terms import Params, Terms

if TYPE_CHECKING:
    from typing_extensions import Self

MAX_PAGE = 200

Id = UUID | str
Rows = list[Any]


class Calling:
    """The calls of one gateway."""

    def __init__(self, terms: Terms, *, is_plain: bool = False) -> None:
        """Leave answers as they come if `is_plain`: whatever a call says, it returns objects."""
        self.terms = terms
        self._is_plain = is_plain

    def but(self, *, patience: float | None = None, is_plain: bool | None = None) -> "Self":
        """Return the same calls on other terms."""
        terms = self.terms if patience is None else replace(self.terms, patience=patience)
        return type(self)(terms, is_plain=self._is_plain if is_plain is None else is_plain)

    def raw(self, shape: Shape[M], request: Request) -> Call[dict[str, Any]]:
        """Send it and take the answer's object; raises `UnexpectedAnswer` for somebody else's."""
        raw = yield from self.terms.document(request)
        if not shape.fits(raw):
            message = f"{self.terms.url} is not a kie-gateway: it answers something else"
            raise UnexpectedAnswer(message)
        return raw

    def one(self, shape: Shape[M], request: Request) -> Call[M]:
        """Send it and read the answer."""
        raw = yield from self.raw(shape, request)
        return self.read(shape, raw)

    def read(self, shape: Shape[M], raw: object) -> M:
        """Read an object into its model."""
        return cast("M", raw) if self._is_plain else shape.of(raw)

    def pages(
        self,
        shape: Shape[M],
        *path: object,
        params: Params | None = None,
        most: int | None = None,
        is_sized: bool = True,
    ) -> Items[M]:
        """Hand out what a list has, page by page, at most so many; `is_sized`: it takes a limit."""
        left = MAX_PAGE if most is None else most
        cursor: object = None
        while left > 0:
            limit = min(left, MAX_PAGE) if is_sized else None
            asked = {**(params or {}), "limit": limit, "cursor": cursor}
            page = yield from self.terms.document(self.terms.request("GET", *path, params=asked))
            for raw in rows(page):
                yield Item(self.read(shape, raw))
                left -= most is not None
                if left == 0:
                    return
            before, cursor = cursor, page.get("next_cursor")
            if cursor is None:
                return
            if cursor == before:
                message = "a page's cursor leads to the page itself"
                raise UnexpectedAnswer(message)

    def short(self, shape: Shape[M], *path: object) -> Call[tuple[M, ...]]:
        """Return what a list has that is never long."""
        page = yield from self.terms.document(self.terms.request("GET", *path))
        return tuple(self.read(shape, raw) for raw in rows(page))


def rows(page: Mapping[str, Any]) -> list[Any]:
    """Return the rows of a page; raises `UnexpectedAnswer`."""
    found = page.get("data")
    if isinstance(found, list):
        return found
    message = "a page has no list `data`"
    raise UnexpectedAnswer(message)


def spelled(moment: datetime | None) -> str | None:
    """Spell an instant; raises `Unusable` for one without a zone."""
    try:
        return None if moment is None else rfc3339(moment)
    except ValueError as error:
        raise Unusable(str(error)) from None


def written(body: Mapping[str, Any]) -> bytes:
    """Write a body; raises `Unusable` for what has no JSON form."""
    try:
        return render(body)
    except (TypeError, ValueError) as error:
        raise Unusable(str(error)) from None
