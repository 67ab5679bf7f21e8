"""`/v1/admin/admin-keys`: the keys of operators themselves."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from app.api.admin import BODY
from app.api.answers import ExactJSON
from app.api.bodies import operator_body
from app.api.deps import OperatorDep, ServicesDep, needs
from app.api.openapi import body_of, refusals
from app.api.parameters import only_known_admin_parameters
from app.api.schemas.admin_keys import AdminKeyCreate, IssuedOperatorKey, OperatorKeyList
from app.domain.access import Role

router = APIRouter(
    prefix="/v1/admin/admin-keys",
    tags=["admin"],
    dependencies=[Depends(only_known_admin_parameters)],
)


@router.get(
    "",
    operation_id="listAdminKeys",
    response_model=OperatorKeyList,
    responses=refusals(401, 403, 422, 429, 503),
)
@needs(Role.READ)
async def list_admin_keys(services: ServicesDep, _: OperatorDep) -> Response:
    """List all admin keys by name, revoked ones too; GATEWAY_ADMIN_KEY is a setting, not here."""
    return ExactJSON({"data": await services.admin_keys.list(), "next_cursor": None})


@router.post(
    "",
    operation_id="createAdminKey",
    status_code=201,
    response_model=IssuedOperatorKey,
    responses=refusals(*BODY),
    openapi_extra=body_of(AdminKeyCreate),
)
@needs(Role.KEYS)
async def create_admin_key(
    services: ServicesDep,
    operator: OperatorDep,
    body: Annotated[AdminKeyCreate, Depends(operator_body(AdminKeyCreate))],
) -> Response:
    """Issue an admin key, shown this once, for one person or program."""
    issued = await services.admin_keys.create(operator, body.name, body.role)
    shown = {name: getattr(issued, name) for name in issued.__slots__}
    return ExactJSON(shown, status_code=201, headers={"Cache-Control": "no-store"})


@router.delete(
    "/{name}",
    operation_id="revokeAdminKey",
    status_code=204,
    response_model=None,
    responses=refusals(401, 403, 404, 422, 429, 503),
)
@needs(Role.KEYS)
async def revoke_admin_key(
    services: ServicesDep,
    operator: OperatorDep,
    name: Annotated[str, Path(description="The admin key, by its name.")],
) -> Response:
    """Revoke an admin key at once and for good; its name stays taken."""
    await services.admin_keys.revoke(operator, name)
    return Response(status_code=204)
