"""Work that outlives the request that started it."""

from app.domain.load import Bounds
from app.services.inflight import InFlight
from app.services.limits.under_way import CURRENT, UnderWay, became
from app.store.connections.sharing import ASKING


async def test_it_is_no_callers_and_waits_for_no_turn() -> None:
    """Its records are owed, whatever its caller has under way."""
    seen: list[object] = []

    async def look() -> None:
        seen.extend((ASKING.get(), CURRENT.get()))

    under_way = UnderWay(Bounds(requests=3, size=1000), lambda _: None)
    errands = InFlight()
    with under_way.request("127.0.0.1") as place:
        place_token, asking_token = CURRENT.set(place), ASKING.set(None)
        became("noisy")
        errands.start(look(), "look")
        await errands.drain()
        assert ASKING.get() == "noisy"
        CURRENT.reset(place_token)
        ASKING.reset(asking_token)
    assert seen == [None, None]
