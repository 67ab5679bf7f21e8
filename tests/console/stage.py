"""An operator's browser, as far as forms go: cookies, a form's token, what a page says."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, TypeAlias

import asyncpg
import httpx
from typing_extensions import override

Sql: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
ADMIN_KEY = "an-admin-key-not-to-be-shown"
HOME = "/console"
PAGES = (
    HOME,
    "/console/needs-you",
    "/console/tasks",
    "/console/deliveries",
    "/console/models",
    "/console/usage",
    "/console/clients",
    "/console/audit",
)
"""Those that every page leads to."""


@dataclass
class Form:
    """A form of a page."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)


class _Reader(HTMLParser):
    """Finds forms, and what would break the policy."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.inline: list[str] = []
        self._inside = ""

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._inside = tag
        if tag == "form":
            self.forms.append(Form(given.get("action", ""), given.get("method", "get")))
        if tag == "input" and self.forms:
            self.forms[-1].fields.setdefault(given.get("name", ""), given.get("value", ""))
        inline = [name for name in given if name.startswith("on") or name == "style"]
        if inline or (tag in {"script", "style"} and "src" not in given):
            self.inline.append(f"{tag} {inline}")


def read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    return reader


class Browser:
    """Signs in, follows links by hand, and fills forms in."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def open(self, path: str, status: int = 200) -> str:
        answer = await self.http.get(path)
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.text

    async def token(self, path: str = HOME) -> str:
        found = re.search(r'name="form_token" value="([^"]+)"', (await self.http.get(path)).text)
        assert found is not None
        return found[1]

    async def sign_in(self, key: str = ADMIN_KEY, **fields: str) -> httpx.Response:
        token = await self.token("/console/login")
        data = {"admin_key": key, "form_token": token, **fields}
        return await self.http.post("/console/login", data=data)

    async def act(self, action: str, status: int = 303, **fields: Any) -> httpx.Response:
        """Send a form as a page of this session has it."""
        data = {"form_token": await self.token(), **fields}
        answer = await self.http.post(action, data=data)
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer
