"""Two clients of one gateway, one with something to hide; asked in this process, without sockets.

The routes are those that `app.main` serves: a new one is in every test that goes through them.
"""

import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
import httpx
from fastapi.routing import APIRoute
from pydantic import SecretStr

from app.api import health
from app.config import Settings
from app.domain.access import Role, Scope
from app.main import ADMIN, ROUTERS, Surface, create_app
from app.services.services import Services
from tests import database
from tests.api.stage import NOBODY
from tests.gateway import OPERATOR, SECRET
from tests.upstream import Upstream, succeeded

ADMIN_KEY = "an-admin-key-not-to-be-shown"
PROMPT = "what only the victim may know"
HOOK = "https://hooks.victim.test/secret-path"
RESULT = "https://example.com/generated-image.jpg"

ROUTES: Mapping[str, APIRoute] = {
    f"{method} {route.path}": route
    for router in (*ROUTERS[Surface.ALL], *ADMIN[Surface.ALL], health.numbers)
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods or ())
}
"""Every route, by method and path."""

OPEN = {
    "GET /livez",
    "GET /readyz",
    "GET /metrics",
    "POST /callbacks/kie/{task_id}/{token}",
}
"""Those without a key: a callback's URL is its own."""

OPERATORS = {name: route for name, route in ROUTES.items() if "/v1/admin" in name}
CALLERS = {
    name: route for name, route in ROUTES.items() if name not in OPEN and name not in OPERATORS
}


@dataclass(kw_only=True)
class Neighbours:
    """A gateway with a victim and a stranger, who has keys of every kind."""

    http: httpx.AsyncClient
    services: Services
    sql: "asyncpg.Connection[asyncpg.Record]"
    keys: dict[str, str] = field(default_factory=dict)
    """API keys and admin keys, by what is wrong with them or right."""
    ids: dict[str, str] = field(default_factory=dict)
    """What is the victim's."""

    async def ask(
        self, name: str, key: str = "", *, content: bytes = b"", **options: Any
    ) -> httpx.Response:
        """Call a route by its name with no one's ids, or with those of `ids`."""
        method, _, path = name.partition(" ")
        ids = {
            "task_id": NOBODY,
            "delivery_id": NOBODY,
            "key_id": NOBODY,
            "name": "nobody",
            "n": "1",
        }
        ids["period"] = "day"
        ids["file_id"] = NOBODY
        for parameter, value in (ids | options.pop("ids", {})).items():
            path = path.replace(f"{{{parameter}}}", value)
        assert "{" not in path, f"{name}: say which id stands there"
        headers = {"Authorization": f"Bearer {self.keys.get(key, key)}"} if key else {}
        headers |= options.pop("headers", {})
        return await self.http.request(method, path, headers=headers, content=content, **options)

    async def victims(self) -> str:
        """Digest everything that is the victim's."""
        query = """
            SELECT md5(string_agg(line, '' ORDER BY line)) FROM (
            SELECT tasks::text FROM tasks WHERE client_id = $1
            UNION ALL SELECT deliveries::text FROM deliveries
                JOIN tasks ON tasks.id = task_id WHERE tasks.client_id = $1
            UNION ALL SELECT budgets::text FROM budgets WHERE client_id = $1
            UNION ALL SELECT models::text FROM models WHERE client_id = $1
            UNION ALL SELECT usage_entries::text FROM usage_entries WHERE client_id = $1
            UNION ALL SELECT clients::text FROM clients WHERE id = $1) AS found (line)
        """
        return str(await self.sql.fetchval(query, UUID(self.ids["client"])))


@asynccontextmanager
async def neighbours(dsn: str, upstream: Upstream) -> AsyncIterator[Neighbours]:
    upstream.reset()
    settings = Settings(
        database_url=SecretStr(dsn),
        secret_keys=(SecretStr(SECRET),),
        kie_base_url=upstream.url,
        kie_upload_url=upstream.url,
        kie_api_key=SecretStr("sk-not-to-be-shown"),
        public_url="https://gateway.test",
        kie_confirm="after",
        allow_unsafe_fsync=True,
        admin_key=SecretStr(ADMIN_KEY),
        submit_wait=0,
        client_requests_per_second=100_000,
    )
    app = create_app(settings, worker=False)
    sql = await asyncpg.connect(dsn)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as http,
    ):
        made = Neighbours(http=http, services=app.state.services, sql=sql)
        try:
            await _furnish(made, upstream)
            yield made
        finally:
            await database.emptied(sql)
            await sql.close()


async def _furnish(made: Neighbours, upstream: Upstream) -> None:
    keys = made.services.keys
    made.keys["victim"] = (await keys.create("victim", operator=OPERATOR)).api_key
    await _issue(made)
    body = {"model": "m", "input": {"prompt": PROMPT}, "webhook_url": HOOK}
    for which in ("settled", "running"):
        answer = await made.ask(
            "POST /v1/tasks",
            "victim",
            content=json.dumps(body).encode(),
            headers={"Idempotency-Key": f"the victims {which}"},
            params={"wait": "0"},
        )
        made.ids[which] = answer.json()["id"]
        await made.services.submitter.drain()
        answer = await made.ask("GET /v1/tasks/{task_id}", "victim", ids=_of(made, which))
        made.ids[f"{which} at kie"] = answer.json()["kie_task_id"]
        if which == "settled":
            callback = succeeded(made.ids["settled at kie"])
            path = upstream.callback_path
            assert (await made.http.post(path, json=callback)).status_code == 200
    await made.sql.execute(
        "INSERT INTO artifacts (task_id, n, client_id, kind, digest, state, object)"
        " SELECT id, 1, client_id, 'result', '', 'stored', 'victim/x' FROM tasks"
    )
    made.ids["delivery"] = str(await made.sql.fetchval("SELECT id FROM deliveries"))
    found = await made.sql.fetchval("SELECT id FROM clients WHERE name = 'victim'")
    made.ids["client"] = str(found)
    await made.sql.execute(
        "INSERT INTO budgets (client_id, period, credits, mode, thresholds)"
        " VALUES ($1, 'day', 1000, 'hard', '{80}')",
        found,
    )
    await made.sql.execute(
        "INSERT INTO models (client_id, model, tasks_24h, succeeded_24h, faults_24h, tasks_7d,"
        " succeeded_7d, measured) VALUES ($1, 'victims/model', 1, 1, 0, 1, 1, 0)",
        found,
    )


def _of(made: Neighbours, which: str) -> dict[str, str]:
    return {"task_id": made.ids[which]}


async def _issue(made: Neighbours) -> None:
    """Issue the stranger's keys, of every kind; and admin keys of every role."""
    keys, admin_keys = made.services.keys, made.services.admin_keys
    for kind in ("valid", "revoked", "expired"):
        made.keys[kind] = (await keys.create("stranger", operator=OPERATOR)).api_key
    for scope in Scope:
        others = [other for other in Scope if other is not scope]
        only = await keys.create("stranger", scopes=[scope], operator=OPERATOR)
        without = await keys.create("stranger", scopes=others, operator=OPERATOR)
        made.keys |= {f"only {scope}": only.api_key, f"without {scope}": without.api_key}
    made.keys["disabled"] = (await keys.create("disabled", operator=OPERATOR)).api_key
    made.keys["unknown"] = f"kgw_{secrets.token_urlsafe(32)}"
    made.keys |= {"malformed": "kgw_short", "none": "", "admin": ADMIN_KEY}
    end = "UPDATE api_keys SET {} = now() - interval '1 second' WHERE digest = $1"
    for kind, column in (("revoked", "revoked_at"), ("expired", "expires_at")):
        digest = hashlib.sha256(made.keys[kind].encode()).digest()
        await made.sql.execute(end.format(column), digest)
    await made.sql.execute(
        "UPDATE client_queues SET disabled_at = now()"
        " WHERE client_id = (SELECT id FROM clients WHERE name = 'disabled')"
    )
    for role in Role:
        issued = await admin_keys.create(OPERATOR, f"a {role}".replace(" ", "-"), role)
        made.keys[f"role {role}"] = issued.admin_key
    gone = await admin_keys.create(OPERATOR, "gone", Role.KEYS)
    await admin_keys.revoke(OPERATOR, "gone")
    made.keys["gone"] = gone.admin_key
