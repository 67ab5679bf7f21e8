"""`kie-gateway doctor`: what would keep this gateway from working, and what to do about it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import typer

from app.cli.setup import dsn, settings, with_database
from app.config import Settings
from app.domain.errors import DatabaseUnavailableError
from app.domain.report import Unanswered
from app.wiring import Services, wired

TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `remedy` is what to do, None where all is well."""

    name: str
    said: str
    remedy: str | None = None


def doctor() -> None:
    """Look at settings, database, schema, keys, public URL and kie.ai. Exits 1 on a finding."""
    with with_database(settings()) as ready:
        findings = asyncio.run(_examined(ready))
    for found in findings:
        mark = (
            typer.style("ok  ", fg="green")
            if found.remedy is None
            else typer.style("FAIL", fg="red")
        )
        typer.echo(f"{mark} {found.name:<12} {found.said}")
        if found.remedy is not None:
            typer.echo(f"     {'':<12} → {found.remedy}")
    if any(found.remedy is not None for found in findings):
        raise typer.Exit(1)


async def _examined(found: Settings) -> list[Finding]:
    async with wired(found, dsn(found)) as services:
        return [
            *_settings(found),
            *[finding async for finding in _database(services)],
            await _public_url(found),
            await _kie(found, services),
        ]


def _settings(found: Settings) -> list[Finding]:
    if found.secret_keys:
        return [Finding("secrets", f"{len(found.secret_keys)} in GATEWAY_SECRET_KEYS")]
    remedy = "kie-gateway secrets generate, then GATEWAY_SECRET_KEYS='[\"…\"]'"
    return [Finding("secrets", "GATEWAY_SECRET_KEYS is not set", remedy)]


async def _database(services: Services) -> AsyncIterator[Finding]:
    try:
        trouble = await services.health.schema_trouble()
    except DatabaseUnavailableError as error:
        remedy = "start PostgreSQL, or correct GATEWAY_DATABASE_URL"
        yield Finding("database", f"does not answer: {error.__cause__}", remedy)
        return
    yield Finding("database", "answers")
    if trouble is not None:
        yield Finding("schema", trouble, "kie-gateway migrate")
        return
    yield Finding("schema", "up to date")
    living = await services.keys.living()
    yield Finding("keys", f"{living} living", None if living else "kie-gateway keys create NAME")


async def _public_url(found: Settings) -> Finding:
    if found.public_url is None:
        return Finding("public URL", "none: the gateway polls kie.ai and gets no callbacks")
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as http:
            answer = await http.get(f"{found.public_url}/livez")
    except httpx.HTTPError as error:
        remedy = "start the gateway, and let GATEWAY_PUBLIC_URL lead to it from the internet"
        said = f"{found.public_url} does not answer: {str(error) or type(error).__name__}"
        return Finding("public URL", said, remedy)
    if answer.status_code == httpx.codes.OK and "x-request-id" in answer.headers:
        return Finding("public URL", f"{found.public_url} leads to a gateway")
    said = f"{found.public_url}/livez answers {answer.status_code}"
    remedy = "something else stands there: correct GATEWAY_PUBLIC_URL or the proxy before it"
    return Finding("public URL", said, remedy)


async def _kie(found: Settings, services: Services) -> Finding:
    if found.kie_api_key is None:
        remedy = "set GATEWAY_KIE_API_KEY to the account's key from kie.ai"
        return Finding("kie.ai", "GATEWAY_KIE_API_KEY is not set", remedy)
    balance = await services.kie.credit()
    if isinstance(balance, Unanswered):
        remedy = (
            "correct GATEWAY_KIE_API_KEY"
            if balance.account
            else "look at GATEWAY_KIE_BASE_URL, GATEWAY_EGRESS_PROXY and the network"
        )
        return Finding("kie.ai", balance.reason, remedy)
    if balance <= 0:
        return Finding("kie.ai", "the account has no credits", "buy credits at kie.ai")
    return Finding("kie.ai", "the key is right and the account has credits")
