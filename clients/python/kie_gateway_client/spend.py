"""Calls about what is spent, what may be, and what models cost."""

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from kie_gateway_client.reading import Calling, rows
from kie_gateway_client.shapes import BUDGET, MODEL, USAGE
from kie_gateway_client.steps import Call

if TYPE_CHECKING:
    from kie_gateway_client.models import Budget, Model, Usage


class SpendCalls(Calling):
    """Calls about usage, budgets and models."""

    def usage(
        self,
        *,
        first: date | None = None,
        last: date | None = None,
        group_by: Sequence[str] = ("day",),
    ) -> "Call[Usage]":
        """Return what your tasks have cost from `first` to `last`, days in UTC, both included.

        `group_by` has `day`, `model`, and one of `fail_class` and `metadata.KEY`.
        """
        asked = {"from": first, "to": last, "group_by": ",".join(group_by)}
        request = self.terms.request("GET", "usage", params=asked)
        page = whole = yield from self.terms.document(request)
        found = rows(page)
        while page.get("next_cursor") is not None:
            params = {**asked, "cursor": page["next_cursor"]}
            request = self.terms.request("GET", "usage", params=params)
            page = yield from self.terms.document(request)
            found += rows(page)
        return self.read(USAGE, {**whole, "data": found})

    def budget(self) -> "Call[tuple[Budget, ...]]":
        """Return your budgets and how they stand; none: nothing bounds what you spend."""
        return (yield from self.short(BUDGET, "budget"))

    def models(self) -> "Call[tuple[Model, ...]]":
        """Return what your tasks of the last 7 days say of their models."""
        return (yield from self.short(MODEL, "models"))
