"""kie.ai's upload host in tests, as the simulator plays it."""

from typing import Any

import httpx


class Host:
    """The upload host, as the simulator plays it."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.url = str(http.base_url).rstrip("/")

    async def has(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = (await self.http.get("/simulator/uploads")).json()["data"]
        return rows

    async def cut_off(self) -> int:
        found: int = (await self.http.get("/simulator/uploads")).json()["cutOff"]
        return found

    async def next(self, **plan: Any) -> None:
        assert (await self.http.post("/simulator/uploads", json=plan)).status_code == 200
