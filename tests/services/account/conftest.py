"""A module's tests call the same gateways: they leave nothing in them but rows.

A module whose tests leave more has `start_own` for `start_gateway`.
"""

from collections.abc import Awaitable, Callable

import pytest

from tests.gateway import Gateway

StartGateway = Callable[..., Awaitable[Gateway]]


@pytest.fixture
def start_gateway(start_shared: StartGateway) -> StartGateway:
    return start_shared
