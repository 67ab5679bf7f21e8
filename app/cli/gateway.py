"""A small client of the gateway's own API, for the commands that act as a caller."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx

from app.domain.document import parse, render

AT_REST = ("succeeded", "failed", "canceled", "expired")
LOOK_EVERY = 0.2
SHOWN = ("state", "kie_state", "hold_reason")
"""What makes a change worth telling."""


class CallFailedError(Exception):
    """The gateway did not answer, or refused; the text says what and why."""


class Gateway:
    """Calls a gateway at `url` with an API key."""

    def __init__(self, url: str, api_key: str) -> None:
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {api_key}"}, timeout=70
        )
        self._url = url

    def create(self, body: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
        headers = {"Idempotency-Key": key} if key else {}
        return self._call("POST", "/v1/tasks", content=render(body).encode(), headers=headers)

    def task(self, task_id: str) -> dict[str, Any]:
        return self._call("GET", f"/v1/tasks/{task_id}")

    def callbacks(self, task_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._call("GET", f"/v1/tasks/{task_id}/callbacks")["data"]
        return found

    def watch(
        self, task_id: str, *, sleep: Callable[[float], None] = time.sleep
    ) -> Iterator[dict[str, Any]]:
        """Yield the task now and whenever it looks different, until it rests."""
        seen: tuple[object, ...] = ()
        while True:
            task = self.task(task_id)
            looks = tuple(task[name] for name in SHOWN)
            if looks != seen:
                yield task
                seen = looks
            if task["state"] in AT_REST:
                return
            sleep(LOOK_EVERY)

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        try:
            response = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            message = f"no answer from {self._url}: {str(error) or type(error).__name__}"
            raise CallFailedError(message) from None
        try:
            answer: dict[str, Any] = parse(response.content)
        except ValueError:
            message = f"{self._url} is not a kie-gateway: HTTP {response.status_code} without JSON"
            raise CallFailedError(message) from None
        if response.is_error:
            message = f"{answer.get('code')}: {answer.get('detail')}"
            raise CallFailedError(message)
        return answer
