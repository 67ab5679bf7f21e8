"""What routes depend on: nothing that FastAPI would run in a thread."""

from collections.abc import Iterator
from inspect import iscoroutinefunction
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.main import ADMIN, ROUTERS, Surface


def called(dependant: Dependant) -> Iterator[Any]:
    """Everything that a route calls, its own function included."""
    yield dependant.call
    for needed in dependant.dependencies:
        yield from called(needed)


def is_async(call: Any) -> bool:
    return iscoroutinefunction(call) or iscoroutinefunction(type(call).__call__)


@pytest.mark.parametrize("surface", Surface)
def test_no_dependency_is_synchronous(surface: Surface) -> None:
    """One in a thread costs more than all else that a GET does here."""
    routers = (*ROUTERS[surface], *ADMIN[surface])
    routes = [one for router in routers for one in router.routes if isinstance(one, APIRoute)]
    calls = [call for route in routes for call in called(route.dependant)]
    assert len(calls) > len(routes)
    assert [call for call in calls if not is_async(call)] == []
