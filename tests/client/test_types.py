"""What mypy sees of the clients: each method with the types of its call.

Nothing here is run; an error that is expected and does not come is an error of its own.
"""

from collections.abc import AsyncIterator, Iterator
from typing import assert_type

from kie_gateway_client import AsyncGateway, Event, File, Gateway, Task, Usage
from kie_gateway_client.models import Redelivered


def of_sync(gateway: Gateway) -> None:
    assert_type(gateway.run("m", {}, timeout=1), Task)
    assert_type(gateway.wait_all(["x"]), tuple[Task, ...])
    assert_type(gateway.list(most=1), Iterator[Task])
    assert_type(gateway.events(after="e1"), Iterator[Event])
    assert_type(gateway.upload(b"x", name="x"), File)
    assert_type(gateway.patient(1).usage(), Usage)
    gateway.get()  # type: ignore[call-arg]
    gateway.run("m", {}, time_out=1)  # type: ignore[call-arg]
    gateway.list(most="1")  # type: ignore[arg-type]


async def of_async(gateway: AsyncGateway) -> None:
    assert_type(await gateway.run("m", {}, timeout=1), Task)
    assert_type(await gateway.wait_any(["x"]), tuple[Task, ...])
    assert_type(gateway.list(most=1), AsyncIterator[Task])
    assert_type(gateway.artifact("x", 1), AsyncIterator[bytes])
    async for made in gateway.redeliver_many(state="exhausted"):
        assert_type(made, Redelivered)
    await gateway.create("m")  # type: ignore[call-arg]
