"""`kie-gateway models`: what is known of each model from the tasks of all clients."""

from collections.abc import Mapping
from typing import Any

from app.cli.options import AsJson
from app.cli.output import show, show_json


def models(as_json: AsJson = False) -> None:
    """Show each model of the last 7 days: successes, cost, duration, trouble.

    Made anew each minute by running processes. `ok` is the share of tasks that
    succeeded; credits and seconds are those of successes: what half of them
    cost, and most of them.

    \b
    kie-gateway models
    kie-gateway models --json | jq '.data[] | select(.withdrawn) | .model'

    Needs only GATEWAY_DATABASE_URL.
    """
    from app.cli.context import with_operations
    from app.services.services import Services
    from app.services.spend.models import flat

    async def read(services: Services) -> list[Mapping[str, Any]]:
        return await services.models.of_all()

    found = with_operations(read)
    if as_json:
        show_json({"data": found})
    else:
        show(*flat(found))
