"""What the doctor looks at, one finding for each."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import httpx

from app.cli.context import DatabaseAwayError, dsn, schema_state, with_any_secret
from app.cli.operators.finding import Finding
from app.cli.operators.room import room_of
from app.cli.operators.standing import replicas, server
from app.config import Settings
from app.domain.admission import HoldReason
from app.domain.report import NoAnswer
from app.domain.retention import DAY
from app.services.clients.resealing import Seals
from app.services.services import Services
from app.store.releases import needed
from app.store.tasks.room import Room
from app.wiring import wired

TIMEOUT = 10.0

OVERDUE = 120.0
"""Seconds after which work that is due and not done needs a person."""

BOUNDS: Mapping[str, float] = {"number": 30.0}
"""The same where it is less: the feed's readers hear of nothing meanwhile."""

REMEDIES = {
    "database": "check PostgreSQL as that process reaches it",
    "schema": "kie-gateway migrate",
    "loops": "restart that process; its log has loop.stuck, and before it the loop's error",
}
"""What to do about each check of `/readyz`."""

HOLD_REMEDIES: Mapping[str, str] = {
    HoldReason.KIE_ACCOUNT: "buy credits at kie.ai, or correct GATEWAY_KIE_API_KEY; the hold then "
    "ends by itself",
    HoldReason.DATABASE_RESTORED: "PostgreSQL has lost commits, or is another one than before: see "
    "to what `kie-gateway tasks review` lists, then kie-gateway admission resume --restored",
    HoldReason.DATABASE_MOVING: "start the processes on the new database, or "
    "kie-gateway admission expect-move --cancel",
    HoldReason.KIE_UNANSWERED: "look for the lost creates: kie-gateway stuck; kie.ai is tried "
    "again by itself",
}
"""What to do about a hold; the others pass, or show in the finding `kie.ai`."""


async def examined(found: Settings, urls: Sequence[str]) -> list[Finding]:
    """Look at everything, each `serve` or `worker` at the URLs included."""
    async with wired(with_any_secret(found), dsn(found)) as services:
        return [
            _secrets(found),
            *[finding async for finding in _database(found, services)],
            await _public_url(found),
            *[await _process(url.rstrip("/")) for url in urls],
            await _kie(found, services),
        ]


def _secrets(found: Settings) -> Finding:
    if found.secret_keys:
        return Finding("secrets", f"{len(found.secret_keys)} in GATEWAY_SECRET_KEYS")
    remedy = "kie-gateway secrets generate, then GATEWAY_SECRET_KEYS='[\"…\"]'"
    return Finding("secrets", "GATEWAY_SECRET_KEYS is not set", remedy)


def seals(found: Settings, seen: Seals) -> Finding:
    """Say what old entries of GATEWAY_SECRET_KEYS are still needed for."""
    if seen.unopened:
        said = f"{seen.unopened} of {seen.total} clients' secrets cannot be opened"
        remedy = "put the GATEWAY_SECRET_KEYS entry back, or kie-gateway keys rotate-secret NAME"
        return Finding("seals", said, remedy)
    if seen.old:
        said = f"{seen.old} of {seen.total} clients' secrets are sealed with an old entry"
        return Finding("seals", said, "kie-gateway secrets reseal, before that entry goes")
    said = f"all {seen.total} of clients' secrets are sealed with the first entry"
    if len(found.secret_keys) > 1:
        said += (
            "; the others are needed only for callback URLs made before the first one: until "
            f"{found.callback_token_days} days after the last of those tasks became final"
        )
    return Finding("seals", said)


async def _database(found: Settings, services: Services) -> AsyncIterator[Finding]:
    try:
        state = await schema_state(dsn(found))
    except DatabaseAwayError as error:
        yield Finding("database", f"cannot be used: {error}", error.remedy)
        return
    yield Finding("database", "answers")
    for finding in await room_of(dsn(found), found):
        yield finding
    if state.misfit is not None:
        yield Finding("schema", state.misfit.said, state.misfit.remedy)
        return
    newer = state.revision != needed()
    yield Finding("schema", "newer, and fit for this release" if newer else "up to date")
    inspected = await services.witness.inspect()
    for finding in (*server(inspected, may_forget=found.allow_unsafe_fsync), *replicas(inspected)):
        yield finding
    if found.secret_keys:
        yield seals(found, await services.resealing.seals())
    living = await services.keys.living()
    yield Finding("keys", f"{living} active", None if living else "kie-gateway keys create NAME")
    yield retained(found, await services.metrics_page.room())
    backlog = await services.metrics_page.backlog()
    if backlog is not None:
        yield _work(backlog.overdue)
    pairs = sum(backlog.held_pairs.values()) if backlog is not None else 0
    yield _admission(await services.health.account(), pairs)


def retained(found: Settings, room: Room | None) -> Finding:
    """Say how long tasks and bodies are kept, and what they take."""
    said = ", ".join(
        f"{name} {f'{days} days' if days else unbounded}"
        for name, days, unbounded in (
            ("tasks", found.retention_days, "for ever"),
            ("raw bodies", found.raw_retention_days, "as long as their tasks"),
        )
    )
    if room is None:
        return Finding("retention", said)
    oldest = room.oldest_task / DAY
    said += f"; {sum(room.bytes.values()) / 1e9:.2f} GB in all, the oldest {oldest:.0f} days"
    if found.retention_days and oldest > found.retention_days + 1:
        remedy = "run a worker; where one runs, look for loop.broken of `retain` in its log"
        return Finding("retention", said, remedy)
    return Finding("retention", said)


def _work(overdue: Mapping[str, float]) -> Finding:
    """Judge the loops, in whichever process they run, by the work that is overdue."""
    late = {loop: wait for loop, wait in overdue.items() if wait > BOUNDS.get(loop, OVERDUE)}
    if not late:
        return Finding("work", "none is overdue")
    said = ", ".join(f"{loop} for {seconds:.0f} s" for loop, seconds in late.items())
    remedy = (
        "run `kie-gateway worker`, or `serve` without --no-worker; "
        "where one runs, check it with --url, or it cannot keep up"
    )
    return Finding("work", f"due and not done: {said}", remedy)


def _admission(account: Mapping[str, Any], pairs: int) -> Finding:
    """Judge what keeps tasks in the queue: a hold for a while is no fault."""
    if account["paused_at"] is not None:
        said = f"paused since {account['paused_at']:%Y-%m-%d %H:%M} UTC"
        return Finding("admission", said, "kie-gateway admission resume, once it is time")
    if account["hold_reason"] is not None:
        said = f"held: {account['hold_reason']} since {account['held_since']:%Y-%m-%d %H:%M} UTC"
        return Finding("admission", said, HOLD_REMEDIES.get(account["hold_reason"]))
    if pairs:
        said = f"open, but for {pairs} held (a client's model each): kie-gateway admission status"
        return Finding("admission", said)
    return Finding("admission", "open")


async def _public_url(found: Settings) -> Finding:
    url = found.public_url
    if url is None:
        return Finding("public URL", "none: the gateway polls kie.ai and gets no callbacks")
    answer = await _get(f"{url}/livez")
    if isinstance(answer, str):
        remedy = "start the gateway, and let GATEWAY_PUBLIC_URL lead to it from the internet"
        return Finding("public URL", f"{url} does not answer: {answer}", remedy)
    if not (answer.status_code == httpx.codes.OK and '"kie-gateway"' in answer.text):
        said = f"{url}/livez answers {answer.status_code}, and not as a gateway does"
        remedy = "another server is there: correct GATEWAY_PUBLIC_URL or the proxy before it"
        return Finding("public URL", said, remedy)
    troubles = _troubles(await _get(f"{url}/readyz"))  # it need not be reachable from outside
    if troubles:
        return _unfit("public URL", url, troubles)
    return Finding("public URL", f"{url} leads to a gateway")


async def _process(url: str) -> Finding:
    answer = await _get(f"{url}/readyz")
    troubles = _troubles(answer)
    if troubles:
        return _unfit("process", url, troubles)
    if troubles is not None:
        return Finding("process", f"{url} is fit for work")
    said = answer if isinstance(answer, str) else f"{answer.status_code}, not as a gateway does"
    remedy = "give the URL of serve.listening or worker.listening in the log of a running process"
    return Finding("process", f"{url}/readyz answers: {said}", remedy)


def _unfit(name: str, url: str, troubles: Mapping[str, str]) -> Finding:
    said = "; ".join(f"{check}: {trouble}" for check, trouble in troubles.items())
    remedy = "; ".join(REMEDIES[check] for check in troubles if check in REMEDIES)
    return Finding(name, f"{url} is not fit for work: {said}", remedy or "read its log")


def _troubles(answer: httpx.Response | str) -> Mapping[str, str] | None:
    """Read what `/readyz` finds wrong; None: no gateway answered there."""
    if isinstance(answer, str):
        return None
    try:
        checks: dict[str, str] = answer.json()["checks"]
        found = {str(name): str(said) for name, said in checks.items() if said != "ok"}
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    found.pop("admission", None)  # found in the database, and no trouble of that process
    return found


async def _get(url: str) -> httpx.Response | str:
    """Return the answer, or why there is none."""
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as http:
            return await http.get(url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return str(error) or type(error).__name__


async def _kie(found: Settings, services: Services) -> Finding:
    if found.kie_api_key is None:
        remedy = "set GATEWAY_KIE_API_KEY to the account's key from kie.ai"
        return Finding("kie.ai", "GATEWAY_KIE_API_KEY is not set", remedy)
    balance = await services.kie.credit()
    if isinstance(balance, NoAnswer):
        remedy = (
            "correct GATEWAY_KIE_API_KEY"
            if balance.account
            else "check GATEWAY_KIE_BASE_URL, GATEWAY_EGRESS_PROXY and the network"
        )
        return Finding("kie.ai", balance.reason, remedy)
    if balance <= 0:
        return Finding("kie.ai", "the account has no credits", "buy credits at kie.ai")
    return Finding("kie.ai", "the key is right and the account has credits")
