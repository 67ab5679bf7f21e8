"""What every route may be given: the services, and who calls."""

import hashlib
import hmac
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.domain.errors import UnauthenticatedError
from app.services.limits.under_way import became
from app.services.services import Services


async def services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


ServicesDep = Annotated[Services, Depends(services)]

_bearer = HTTPBearer(auto_error=False, description="A key made by `kie-gateway keys create NAME`.")
_admin_bearer = HTTPBearer(
    auto_error=False, scheme_name="AdminKey", description="The setting GATEWAY_ADMIN_KEY."
)


async def client(
    request: Request,
    services: ServicesDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> UUID:
    """Return the caller's client; raises `UnauthenticatedError`, `OverloadedError`."""
    found = await services.keys.authenticate(_key(request, credentials))
    became(found)
    return found


ClientDep = Annotated[UUID, Depends(client)]


async def operator(
    request: Request,
    services: ServicesDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_admin_bearer)],
) -> Services:
    """Return the services to an operator; raises `UnauthenticatedError`."""
    wanted = services.api.admin_key
    given = _key(request, credentials)
    if wanted is None or not hmac.compare_digest(_hidden(given), _hidden(wanted)):
        detail = "Send the header `Authorization: Bearer …` with this gateway's GATEWAY_ADMIN_KEY."
        raise UnauthenticatedError(detail)
    return services


OperatorDep = Annotated[Services, Depends(operator)]
"""The services, for whoever has the admin key."""


def _key(request: Request, credentials: HTTPAuthorizationCredentials | None) -> str:
    """Return the key; none where there are two headers: a proxy may have checked the other one."""
    only_one = len(request.headers.getlist("authorization")) == 1
    return credentials.credentials if credentials and only_one else ""


def _hidden(key: str) -> bytes:
    """Hash a key, so that the time of a comparison does not reveal its length either."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
