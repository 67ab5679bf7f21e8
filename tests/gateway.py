"""A running gateway, as its caller and kie.ai see it."""

import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx

from app.config import Settings
from app.domain.audit import Actor, Operator
from app.services.clients.keys import Keys
from app.services.clients.vault import Vault
from app.wiring import new_id
from tests.lending import lent
from tests.stage import eventually

SECRET = "a-secret-of-the-tests-not-to-be-shown"
OPERATOR = Operator(Actor.COMMAND_LINE, "tests")
BODY: Mapping[str, Any] = {"model": "google/nano-banana", "input": {"prompt": "a cat"}}


class Gateway:
    """Calls a gateway over HTTP with a key of the client `tests`."""

    def __init__(self, http: httpx.AsyncClient, settings: Settings, api_key: str) -> None:
        self.http = http
        self.settings = settings
        self.api_key = api_key

    @classmethod
    @contextlib.asynccontextmanager
    async def at(cls, url: str, settings: Settings) -> AsyncIterator["Gateway"]:
        api_key = await issue_key(settings, "tests")
        headers = {"Authorization": f"Bearer {api_key}"}
        limits = httpx.Limits(max_connections=300)
        async with httpx.AsyncClient(
            base_url=url, headers=headers, trust_env=False, timeout=30, limits=limits
        ) as http:
            yield cls(http, settings, api_key)

    async def post(
        self, body: object = BODY, *, key: str | None = None, **params: object
    ) -> httpx.Response:
        """Send any body to POST /v1/tasks; bytes go as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self.http.post(
            "/v1/tasks", content=content, headers=headers, params=_texts(params)
        )

    async def create(self, **members: object) -> dict[str, Any]:
        """Create a task; returns it."""
        response = await self.post({**BODY, **members})
        assert response.status_code == 201, response.text
        return _object(response)

    async def task(self, task_id: str, **params: object) -> dict[str, Any]:
        response = await self.http.get(f"/v1/tasks/{task_id}", params=_texts(params))
        assert response.status_code == 200, response.text
        return _object(response)

    async def callbacks(self, task_id: str) -> list[dict[str, Any]]:
        """Read them all: a page of large bodies ends early."""
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] | None = {}
        while cursor is not None:
            response = await self.http.get(f"/v1/tasks/{task_id}/callbacks", params=cursor)
            assert response.status_code == 200, response.text
            page = response.json()
            found += page["data"]
            cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else None
        return found

    async def verdicts(self, task_id: str) -> list[str]:
        """What was made of each statement, oldest first."""
        return [callback["verdict"] for callback in reversed(await self.callbacks(task_id))]

    async def call_back(
        self, path: str, body: object, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Speak to the receiver as kie.ai; `path` as `Upstream.callback_path` has it."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        path = "/callbacks/" + path.split("/callbacks/")[1]
        return await self.http.post(
            path, content=content, headers={"Authorization": "", **(headers or {})}
        )

    async def reaches(self, task_id: str, *states: str) -> dict[str, Any]:
        """Wait until the task is in one of the states; returns it."""

        async def look() -> dict[str, Any] | None:
            task = await self.task(task_id)
            return task if task["state"] in states else None

        return await eventually(look)


async def issue_key(settings: Settings, name: str) -> str:
    """Issue a key as the command line does, without wiring all the rest."""
    url = settings.database_url
    assert url is not None
    async with lent(url.get_secret_value()) as database:
        sealer = Vault([secret.get_secret_value() for secret in settings.secret_keys])
        keys = Keys(database, sealer, new_id, secrets.token_bytes)
        return (await keys.create(name, operator=OPERATOR)).api_key


def _texts(params: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in params.items()}


def _object(response: httpx.Response) -> dict[str, Any]:
    document = response.json()
    assert isinstance(document, dict)
    return document
