"""Clients, their limits and budgets, their keys; and operators' own."""

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import quote
from uuid import UUID

from starlette.responses import Response

from app.console.routing import Pages
from app.console.visits import Visit
from app.domain.access import Role, Scope
from app.domain.errors import NotFoundError, bad_parameter
from app.domain.spend import Mode, Period, checked_budget
from app.services.clients.settings import ClientChange

pages = Pages()

HERE = "/console/clients"
SHOWN = 100
"""Clients, and keys, on one page."""


@pages.get(HERE)
async def clients(visit: Visit) -> Response:
    """Show clients with their budgets, and operators' keys."""
    skip = max(0, min(visit.number("skip") or 0, 10**9))
    found = await visit.services.clients.list()
    budgets: dict[str, list[Mapping[str, Any]]] = {}
    for one in await visit.services.budgets.all():
        budgets.setdefault(str(one["client"]), []).append(one)
    admin_keys = await visit.services.admin_keys.list()
    return visit.render(
        "clients.html",
        here=HERE,
        clients=found[skip : skip + SHOWN],
        budgets=budgets,
        admin_keys=admin_keys[-SHOWN:],
        roles=list(Role),
        next=f"{HERE}?skip={skip + SHOWN}" if len(found) > skip + SHOWN else None,
        first=HERE if skip else None,
    )


@pages.get(HERE + "/{name}")
async def client(visit: Visit) -> Response:
    """Show one client with its limits, budgets and keys."""
    name = visit.request.path_params["name"]
    found = await visit.services.clients.one(name)
    keys = [key for key in await visit.services.keys.list() if key["client"] == name]
    return visit.render(
        "client.html",
        here=HERE,
        base=_path(name),
        client=found,
        limits=_LIMITS,
        keys=keys[-SHOWN:],
        scopes=list(Scope),
        budgets=await visit.services.budgets.of_client(name),
        periods=list(Period),
        modes=list(Mode),
    )


def _path(name: str) -> str:
    return f"{HERE}/{quote(name, safe='')}"


# -- changing a client


def _whole(name: str, text: str) -> int:
    try:
        return int(text[:20])
    except ValueError:
        raise bad_parameter(name, "should be a whole number") from None


def _share(name: str, text: str) -> float:
    try:
        found = float(text[:20])
    except ValueError:
        raise bad_parameter(name, "should be a number") from None
    if found != found:  # noqa: PLR0124  # not a number
        raise bad_parameter(name, "should be a number")
    return found


_LIMITS: Mapping[str, Callable[[str, str], float]] = {
    "requests_per_second": _whole,
    "streams": _whole,
    "waits": _whole,
    "queued_tasks": _whole,
    "queued_bytes": _whole,
    "running_share": _share,
}
"""What is left empty is as the settings have it for each client."""


@pages.post(HERE + "/{name}/limits", Role.KEYS)
async def change_limits(visit: Visit) -> Response:
    """Change its weight and its limits."""
    values: dict[str, Any] = {
        name: read(name, visit.given[name]) if name in visit.given else None
        for name, read in _LIMITS.items()
    }
    values["weight"] = _whole("weight", visit.require("weight"))
    return await _changed(visit, ClientChange(given=frozenset(values), **values))


@pages.post(HERE + "/{name}/disable", Role.KEYS)
async def disable(visit: Visit) -> Response:
    """Refuse its keys, and send nothing of it."""
    return await _changed(visit, ClientChange(given=frozenset({"disabled"}), disabled=True))


@pages.post(HERE + "/{name}/enable", Role.KEYS)
async def enable(visit: Visit) -> Response:
    """Serve it again."""
    return await _changed(visit, ClientChange(given=frozenset({"disabled"}), disabled=False))


async def _changed(visit: Visit, change: ClientChange) -> Response:
    name = visit.request.path_params["name"]
    await visit.services.clients.change(visit.operator, name, change)
    return visit.done(_path(name), "changed")


@pages.post(HERE + "/{name}/rotate", Role.KEYS)
async def rotate(visit: Visit) -> Response:
    """Give it a new signing secret, shown this once."""
    name = visit.request.path_params["name"]
    hours = visit.number("grace_hours")
    grace = 24 if hours is None else hours
    rotated = await visit.services.keys.rotate_secret(
        name, grace=grace * 3600.0, operator=visit.operator
    )
    return _shown_once(visit, f"New signing secret of {name}", rotated.signing_secret, _path(name))


@pages.post(HERE + "/{name}/budget", Role.KEYS)
async def set_budget(visit: Visit) -> Response:
    """Set what it may spend in a period."""
    name = visit.request.path_params["name"]
    text = visit.require("credits")
    try:
        amount = Decimal(text[:40])
    except InvalidOperation:
        where = "credits"
        raise bad_parameter(where, "should be a number") from None
    mode = _one_of(visit, "mode", Mode)
    budget = checked_budget(_one_of(visit, "period", Period), amount, mode, _thresholds(visit))
    await visit.services.budgets.set(visit.operator, name, budget)
    return visit.done(_path(name), "budget-set")


def _thresholds(visit: Visit) -> list[int]:
    words = visit.given.get("thresholds", "").replace(",", " ").split()
    return [_whole("thresholds", word) for word in words]


def _one_of(visit: Visit, name: str, kind: Any) -> Any:  # noqa: ANN401  # any of the enumerations
    try:
        return kind(visit.require(name))
    except ValueError:
        raise bad_parameter(name, f"should be one of {', '.join(kind)}") from None


@pages.post(HERE + "/{name}/clear-budget", Role.KEYS)
async def clear_budget(visit: Visit) -> Response:
    """Take a budget away."""
    name = visit.request.path_params["name"]
    period = _one_of(visit, "period", Period)
    await visit.services.budgets.clear(visit.operator, name, period)
    return visit.done(_path(name), "budget-cleared")


# -- keys


@pages.post("/console/keys", Role.KEYS)
async def create_key(visit: Visit) -> Response:
    """Issue a key, shown this once, and create its client if the name is new."""
    scopes = [_scope(word) for word in visit.lists.get("scopes", ())]
    issued = await visit.services.keys.create(
        visit.require("client"),
        scopes=scopes or None,
        expires_at=visit.instant("expires_at"),
        operator=visit.operator,
    )
    return _shown_once(visit, f"New key of {issued.client}", issued.api_key, _path(issued.client))


def _scope(word: str) -> Scope:
    try:
        return Scope(word)
    except ValueError:
        name = "scopes"
        raise bad_parameter(name, f"should be among {', '.join(Scope)}") from None


@pages.post("/console/keys/{key_id}/revoke", Role.KEYS)
async def revoke_key(visit: Visit) -> Response:
    """Revoke a key at once and for good."""
    key_id: UUID = visit.id("key_id")
    if not await visit.services.keys.revoke(str(key_id), operator=visit.operator):
        detail = "There is no living key with this id."
        raise NotFoundError(detail)
    return visit.done(visit.back, "revoked")


@pages.post("/console/admin-keys", Role.KEYS)
async def create_admin_key(visit: Visit) -> Response:
    """Issue an operator's key, shown this once."""
    role = _one_of(visit, "role", Role)
    issued = await visit.services.admin_keys.create(visit.operator, visit.require("name"), role)
    return _shown_once(visit, f"New admin key of {issued.name}", issued.admin_key, HERE)


@pages.post("/console/admin-keys/{name}/revoke", Role.KEYS)
async def revoke_admin_key(visit: Visit) -> Response:
    """Revoke an operator's key: the sessions that began with it are over, too."""
    await visit.services.admin_keys.revoke(visit.operator, visit.request.path_params["name"])
    return visit.done(visit.back, "revoked")


def _shown_once(visit: Visit, title: str, secret: str, back: str) -> Response:
    return visit.render("secret.html", here=HERE, title=title, secret=secret, back=back)
