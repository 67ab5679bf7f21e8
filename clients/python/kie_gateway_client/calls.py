"""All that can be asked of a gateway, each a generator of steps (`steps.py`)."""

from kie_gateway_client.feed import FeedCalls
from kie_gateway_client.files import FileCalls
from kie_gateway_client.notices import DeliveryCalls
from kie_gateway_client.spend import SpendCalls
from kie_gateway_client.tasks import TaskCalls


class Calls(TaskCalls, FeedCalls, FileCalls, DeliveryCalls, SpendCalls):
    """All calls of one gateway; `sync.py` and `aio.py` make methods of them."""
