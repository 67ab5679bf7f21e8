"""`kie-gateway doctor`: what would keep this gateway from working, and what to do about it."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import typer
from pydantic import SecretStr
from rich.console import Console
from rich.text import Text

from app.cli.setup import DatabaseAwayError, at_schema, dsn, revision, settings, with_database
from app.config import Settings
from app.domain.report import Unanswered
from app.store import schema
from app.wiring import Services, wired

TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `remedy` is what to do, None where all is well."""

    name: str
    said: str
    remedy: str | None = None


def doctor() -> None:
    """Look at settings, database, schema, keys, public URL and kie.ai. Exits 1 on a finding.

    Run it with the settings that `serve` has (GATEWAY_…), beside a running
    gateway or before the first start. It changes nothing, creates no task,
    and shows neither secrets nor the balance.

    \b
    kie-gateway doctor
    docker compose exec gateway kie-gateway doctor
    """
    with with_database(settings(log_level="warning")) as ready:
        findings = asyncio.run(_examined(ready))
        concerns = ready.warnings()
    console = Console(soft_wrap=True)
    for found in findings:
        console.print(_line(found))
    for concern in concerns:
        console.print(Text.assemble(("note ", "yellow"), concern))
    if any(found.remedy is not None for found in findings):
        raise typer.Exit(1)


def _line(found: Finding) -> Text:
    mark = ("ok  ", "green") if found.remedy is None else ("FAIL", "bold red")
    remedy = "" if found.remedy is None else f"\n     {'':<12} → {found.remedy}"
    return Text.assemble(mark, f" {found.name:<12} {found.said}{remedy}")


async def _examined(found: Settings) -> list[Finding]:
    async with wired(_with_any_secret(found), dsn(found)) as services:
        return [
            _secrets(found),
            *[finding async for finding in _database(dsn(found), services)],
            await _public_url(found),
            await _kie(found, services),
        ]


def _with_any_secret(found: Settings) -> Settings:
    """Make up a secret where there is none: looking signs nothing and opens nothing."""
    if found.secret_keys:
        return found
    return found.model_copy(update={"secret_keys": (SecretStr(secrets.token_urlsafe(32)),)})


def _secrets(found: Settings) -> Finding:
    if found.secret_keys:
        return Finding("secrets", f"{len(found.secret_keys)} in GATEWAY_SECRET_KEYS")
    remedy = "kie-gateway secrets generate, then GATEWAY_SECRET_KEYS='[\"…\"]'"
    return Finding("secrets", "GATEWAY_SECRET_KEYS is not set", remedy)


async def _database(url: str, services: Services) -> AsyncIterator[Finding]:
    try:
        present = await revision(url)
    except DatabaseAwayError as error:
        remedy = "start PostgreSQL, or correct GATEWAY_DATABASE_URL"
        yield Finding("database", f"cannot be used: {error}", remedy)
        return
    yield Finding("database", "answers")
    if present != schema.needed():
        yield Finding("schema", at_schema(present), "kie-gateway migrate")
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
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        remedy = "start the gateway, and let GATEWAY_PUBLIC_URL lead to it from the internet"
        said = f"{found.public_url} does not answer: {str(error) or type(error).__name__}"
        return Finding("public URL", said, remedy)
    if answer.status_code == httpx.codes.OK and '"kie-gateway"' in answer.text:
        return Finding("public URL", f"{found.public_url} leads to a gateway")
    said = f"{found.public_url}/livez answers {answer.status_code}, and not as a gateway does"
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
