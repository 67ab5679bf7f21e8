"""What every route may be given: the services, and who calls."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.api.callers import recognise
from app.domain.access import Caller, Role, Scope
from app.domain.audit import Operator
from app.services.clients.authentication import Sent
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


async def services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


ServicesDep = Annotated[Services, Depends(services)]

CALLERS = "HTTPBearer"
"""What the OpenAPI document calls an API key."""

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name=CALLERS,
    description="A key made by `kie-gateway keys create NAME`.",
)
_admin_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="AdminKey",
    description="The setting GATEWAY_ADMIN_KEY, or a key made by `kie-gateway admin-keys create`.",
)


async def caller(
    request: Request,
    services: ServicesDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Caller:
    """Return who calls, by a key that is for this route; raises as `Authentication.allowed`."""
    scope = NEEDED[request.scope["endpoint"]]
    sent = _sent(request, credentials)
    known = await services.authentication.known(sent)
    recognise(request)
    request.scope["state"][COUNT] = known.count  # every answer from here on shows it
    return services.authentication.allowed(known, sent, Scope(scope))


CallerDep = Annotated[Caller, Depends(caller)]


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
