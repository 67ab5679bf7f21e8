"""One task's evidence: why it is where it is, and all that is known of it; and what can be done."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from starlette.responses import Response, StreamingResponse

from app.api.browsers import GUARDED
from app.api.cursors import id_cursor, read_id_cursor
from app.console import words
from app.console.routing import Pages
from app.console.visits import Visit
from app.domain.access import Role
from app.domain.bulk import Act, Order, Selection
from app.domain.client import url_host
from app.domain.errors import NotFoundError
from app.domain.exact_json import read
from app.domain.paging import Chosen
from app.domain.task import FINAL, State
from app.services.tasks.overview import Owner

pages = Pages()

EVENTS = 200
DELIVERIES = 50
RASTER = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif", "image/avif"})
"""What a browser draws without running anything: no SVG, no HTML."""

_TONES: Mapping[str, str] = {
    **dict.fromkeys((State.SUCCEEDED,), "good"),
    **dict.fromkeys((State.FAILED,), "bad"),
    **dict.fromkeys((State.UNCONFIRMED, State.EXPIRED), "warn"),
}
_PATH = "/console/tasks/{task_id}"


@pages.get(_PATH)
async def evidence(visit: Visit) -> Response:
    """Show one task."""
    task_id, services = visit.id("task_id"), visit.services
    owner = await services.overview.owner(task_id)
    task = await services.reader.task(owner.id, task_id)
    owed = await services.overview.work_owed(task_id)
    events = await services.feed.history(owner.id, task_id, after=0, limit=EVENTS + 1)
    before = read_id_cursor(visit.given.get("cursor"))
    callbacks, last = await services.reader.callbacks(owner.id, task_id, before=before)
    base = f"/console/tasks/{task_id}"
    return visit.render(
        "task.html",
        here="/console/tasks",
        live=f"/console/live?task={task_id}",
        base=base,
        client=owner.client,
        task=task,
        owed=owed,
        sentence=words.why(task, owed, datetime.now(UTC)),  # noqa: TID251  # shown, never stored
        tone=_TONES.get(task["state"], "note"),
        acts=_acts(task, owed),
        webhook_host=task["webhook_url"] and url_host(task["webhook_url"]),
        events=events[:EVENTS],
        more_events=len(events) > EVENTS,
        callbacks=callbacks,
        more_callbacks=f"{base}?cursor={id_cursor(last)}" if last else None,
        artifacts=_files(task, base),
        deliveries=await _deliveries(visit, owner, task_id),
    )


def _acts(task: Mapping[str, Any], owed: Mapping[str, Any]) -> Sequence[str]:
    """Return what can be done about a task as it stands."""
    state, has_id = State(task["state"]), task["kie_task_id"] is not None
    possible = {
        "cancel": state is State.QUEUED,
        "refresh": has_id and state not in (State.QUEUED, State.CANCELED),
        "release": owed["parked_at"] is not None,
        "bind": not has_id and state in (State.UNCONFIRMED, State.EXPIRED),
        "requeue": not has_id and state is State.UNCONFIRMED,
        "fail": state in (State.QUEUED, State.UNCONFIRMED),
        "erase": state in FINAL,
    }
    return [name for name, is_possible in possible.items() if is_possible]


def _files(task: Mapping[str, Any], base: str) -> list[dict[str, Any]]:
    """Return the files of a result; those that a browser can draw with where they are."""
    found: list[dict[str, Any]] = read(task["artifacts"].encoded_json)
    return [
        {**one, "thumbnail": f"{base}/artifacts/{one['n']}" if _is_drawn(one) else None}
        for one in found
    ]


def _is_drawn(one: Mapping[str, Any]) -> bool:
    return one["state"] == "stored" and one["content_type"] in RASTER


async def _deliveries(visit: Visit, owner: Owner, task_id: UUID) -> list[dict[str, Any]]:
    """Return the newest deliveries about the task: of each URL the host, the rest is a secret."""
    chosen = Chosen(task_id=task_id)
    found, _ = await visit.services.deliveries.page(owner.id, chosen, before=None, limit=DELIVERIES)
    return [
        {
            **{name: one[name] for name in one if name != "url"},
            "host": url_host(one["url"]),
            "last": one["attempts"][-1] if one["attempts"] else None,
        }
        for one in found
    ]


@pages.get(_PATH + "/artifacts/{n}")
async def artifact(visit: Visit) -> Response:
    """Stream a picture of the result from the archive, whatever kind of archive it is."""
    text = visit.request.path_params["n"]
    task_id = visit.id("task_id")
    owner = await visit.services.overview.owner(task_id)
    n = int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 0  # noqa: PLR2004  # a million
    handed = await visit.services.handout.artifact(owner.id, task_id, n)
    if handed.content_type not in RASTER:
        detail = "Only pictures are shown here."
        raise NotFoundError(detail)
    found = await visit.services.handout.read(handed.name, 0, None)
    return StreamingResponse(found.chunks, media_type=handed.content_type, headers=GUARDED)


# -- what can be done


@pages.post(_PATH + "/cancel", Role.OPERATE)
async def cancel(visit: Visit) -> Response:
    """Take it out of the queue."""
    return await _ordered(visit, Act.CANCEL, "canceled")


@pages.post(_PATH + "/fail", Role.OPERATE)
async def fail(visit: Visit) -> Response:
    """End it as failed, with a reason for its caller."""
    return await _ordered(visit, Act.FAIL, "failed", reason=visit.require("reason"))


async def _ordered(visit: Visit, act: Act, word: str, reason: str | None = None) -> Response:
    order = Order(act=act, selection=Selection(ids=(visit.id("task_id"),)), reason=reason)
    run = await visit.services.bulk.run(visit.operator, order)
    if not run.done:
        detail = "The task has moved on meanwhile: look at it again."
        raise NotFoundError(detail)
    return visit.done(visit.back, word)


@pages.post(_PATH + "/refresh", Role.OPERATE)
async def refresh(visit: Visit) -> Response:
    """Have kie.ai asked about it now."""
    task_id, services = visit.id("task_id"), visit.services
    owner = await services.overview.owner(task_id)
    wait = services.api.refresh_wait
    await services.commands.refresh(owner.id, task_id, seconds=wait, operator=visit.operator)
    return visit.done(visit.back, "asked")


@pages.post(_PATH + "/bind", Role.OPERATE)
async def bind(visit: Visit) -> Response:
    """Give it its id at kie.ai."""
    kie_task_id = visit.require("kie_task_id")
    await visit.services.stuck.bind(visit.operator, visit.id("task_id"), kie_task_id)
    return visit.done(visit.back, "bound")


@pages.post(_PATH + "/requeue", Role.OPERATE)
async def requeue(visit: Visit) -> Response:
    """Send it again, and perhaps pay for it again."""
    agreed = visit.given.get("may_pay_again") == "yes"
    await visit.services.stuck.requeue(visit.operator, visit.id("task_id"), may_pay_again=agreed)
    return visit.done(visit.back, "requeued")


@pages.post(_PATH + "/release", Role.OPERATE)
async def release(visit: Visit) -> Response:
    """Work on it again."""
    await visit.services.stuck.release(visit.operator, visit.id("task_id"))
    return visit.done(visit.back, "released")


@pages.post(_PATH + "/erase", Role.OPERATE)
async def erase(visit: Visit) -> Response:
    """Erase it for good: there is no page of it to come back to."""
    visit.require("for_good")
    await visit.services.erasure.of_any_client(visit.operator, visit.id("task_id"))
    return visit.done("/console/tasks", "erased")
