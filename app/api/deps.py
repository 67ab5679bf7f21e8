"""What every route may be given: the services, and who calls."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.base import SecurityBase

from app.api.callers import recognise
from app.domain.access import Caller, Role, Scope
from app.domain.audit import Operator
from app.services.clients.authentication import Sent
from app.services.limits.under_way import became
from app.services.services import Services

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

NEEDED: dict[Callable[..., Any], Scope | Role] = {}
"""What a key must allow, by a route's function. A route with a key and without an entry breaks."""

COUNT = "rate_limit"
"""Where a request's state has the `Count` of its client's requests."""


def needs(what: Scope | Role) -> Callable[[Endpoint], Endpoint]:
    """State the scope of an API key, or the role of an admin key, without which a route refuses."""

    def state(endpoint: Endpoint) -> Endpoint:
        NEEDED[endpoint] = what
        return endpoint

    return state


def services_of(request: Request) -> Services:
    """Return the services; for hot routes: each dependency costs time."""
    found: Services = request.app.state.services
    return found


async def services(request: Request) -> Services:
    return services_of(request)


ServicesDep = Annotated[Services, Depends(services)]

CALLERS = "HTTPBearer"
"""What the OpenAPI document calls an API key."""

_admin_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="AdminKey",
    description="The setting GATEWAY_ADMIN_KEY, or a key made by `kie-gateway admin-keys create`.",
)


class CallersKey(SecurityBase):
    """Finds out who calls, by a key that is for the route; raises as `Authentication.allowed`.

    Raises `OverloadedError` too, where too much is under way and most of it is the client's. It
    depends on nothing: FastAPI walks through all that a dependency needs again for each one that
    needs it.
    """

    def __init__(self) -> None:
        """Describe itself as what reads the header does."""
        self.model = _bearer.model
        self.scheme_name = _bearer.scheme_name

    async def __call__(self, request: Request) -> Caller:
        services = services_of(request)
        scope = NEEDED[request.scope["endpoint"]]
        sent = _sent(request, await _bearer(request))
        known = await services.authentication.known(sent)
        recognise(request)
        request.scope["state"][COUNT] = known.count  # every answer from here on shows it
        found = services.authentication.allowed(known, sent, Scope(scope))
        became(found.client_id)
        return found


_bearer = HTTPBearer(
    auto_error=False,
    scheme_name=CALLERS,
    description="A key made by `kie-gateway keys create NAME`.",
)

callers_key = CallersKey()

CallerDep = Annotated[Caller, Depends(callers_key)]


async def client(caller: CallerDep) -> UUID:
    """Return the caller's client."""
    return caller.client_id


ClientDep = Annotated[UUID, Depends(client)]


async def operator(
    request: Request,
    services: ServicesDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_admin_bearer)],
) -> Operator:
    """Return the operator; raises as `Authentication.operator`."""
    role = NEEDED[request.scope["endpoint"]]
    found = await services.authentication.operator(_sent(request, credentials), Role(role))
    recognise(request)
    return found


OperatorDep = Annotated[Operator, Depends(operator)]


def _sent(request: Request, credentials: HTTPAuthorizationCredentials | None) -> Sent:
    """Take the key; none where there are two headers: a proxy may have checked the other one."""
    only_one = len(request.headers.getlist("authorization")) == 1
    return Sent(
        key=credentials.credentials if credentials and only_one else "",
        address=request.client.host if request.client else None,
        request_id=request.scope["state"]["request_id"],
    )
