"""Calls about webhooks that were sent, and sending them again."""

from datetime import datetime
from typing import TYPE_CHECKING

from kie_gateway_client.reading import Calling, Id, spelled, written
from kie_gateway_client.shapes import DELIVERY, DISABLED_URL, REDELIVERED, REPETITION
from kie_gateway_client.steps import Call, Item, Items
from kie_gateway_client.words import DeliveryState

if TYPE_CHECKING:
    from kie_gateway_client.models import Delivery, DisabledUrl, Redelivered, Repetition


class DeliveryCalls(Calling):
    """Calls about deliveries."""

    def deliveries(
        self,
        *,
        task_id: Id | None = None,
        state: DeliveryState | str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        most: int | None = None,
    ) -> "Items[Delivery]":
        """Iterate over your deliveries, newest first; the times are not for those of one task."""
        path = ("deliveries",) if task_id is None else ("tasks", task_id, "deliveries")
        params = {
            "state": state,
            "created_after": spelled(created_after),
            "created_before": spelled(created_before),
        }
        yield from self.pages(DELIVERY, *path, params=params, most=most)

    def delivery(self, delivery_id: Id) -> "Call[Delivery]":
        """Return one delivery with every attempt."""
        request = self.terms.request("GET", "deliveries", delivery_id)
        return (yield from self.one(DELIVERY, request))

    def redeliver(self, delivery_id: Id) -> "Call[Repetition]":
        """Send one again, as a new delivery of the same body.

        Raises `Conflict` where its URL is disabled, and `Gone` where the body is not kept.
        """
        request = self.terms.request("POST", "deliveries", delivery_id, "redeliver", is_safe=False)
        return (yield from self.one(REPETITION, request))

    def redeliver_many(
        self,
        *,
        state: DeliveryState | str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> "Items[Redelivered]":
        """Send many again, the oldest first, as fast as may be; at least one of the three.

        Hands out what each call made, at most 1,000.
        """
        given = {
            "state": state,
            "created_after": spelled(created_after),
            "created_before": spelled(created_before),
        }
        chosen = {name: value for name, value in given.items() if value is not None}
        cursor: dict[str, str] = {}
        while True:
            body = written({**chosen, **cursor})
            request = self.terms.request(
                "POST", "deliveries", "redeliver", body=body, is_safe=False
            )
            raw = yield from self.raw(REDELIVERED, request)
            yield Item(self.read(REDELIVERED, raw))
            if raw.get("next_cursor") is None:
                return
            cursor = {"cursor": raw["next_cursor"]}

    def disabled_urls(self) -> "Call[tuple[DisabledUrl, ...]]":
        """Return your URLs that are not called any more, newest first."""
        return (yield from self.short(DISABLED_URL, "deliveries", "disabled-urls"))

    def enable_url(self, url: str) -> Call[None]:
        """Have a URL called again; raises `NotFound` where it is not disabled."""
        body = written({"url": url})
        request = self.terms.request("POST", "deliveries", "enable", body=body, is_safe=False)
        yield from self.terms.answer(request)
