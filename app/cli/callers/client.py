"""A small client of the gateway's own API, for the commands that act as a caller."""

import ipaddress
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from app.cli.exits import give_up
from app.domain.exact_json import parse, render

if TYPE_CHECKING:
    import httpx

FINAL = ("succeeded", "failed", "canceled", "expired")
LOOK_EVERY = 0.2
AWAY_AT_MOST = 30.0
"""Seconds for which a watched gateway may be away: one that is deployed anew comes back."""
TIMEOUT = 70.0
SHOWN = ("state", "kie_state", "hold_reason")
"""What makes a change worth showing."""
DONE = 204
"""There is nothing to say."""

TOO_MANY = 429
PASSING = (502, 503, 504)
"""What a gateway, or the proxy before it, answers while it starts."""


class CallFailedError(Exception):
    """The gateway did not answer, or refused; the text says what and why."""


class TooManyError(CallFailedError):
    """It was one too many."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds after which there is room."""


class AwayError(CallFailedError):
    """There was no answer; there may be one later."""


@contextmanager
def calling(url: str, api_key: str) -> "Iterator[Gateway]":
    """Lend a client of the gateway at `url`; ends the command with the reason of a refusal."""
    try:
        yield Gateway(url, api_key)
    except CallFailedError as error:
        give_up(str(error))


class Gateway:
    """Calls a gateway at `url` with an API key; httpx is imported with the first one."""

    def __init__(self, url: str, api_key: str) -> None:
        import httpx

        self._url = url
        self._http = httpx.Client(
            headers={b"Authorization": b"Bearer " + api_key.strip().encode()},
            timeout=TIMEOUT,
            trust_env=not _is_here(url),  # no proxy leads to this machine
        )

    def create(self, body: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
        headers = {"Idempotency-Key": key.encode()} if key else {}
        return self._task("POST", "/v1/tasks", content=render(body).encode(), headers=headers)

    def task(self, task_id: str) -> dict[str, Any]:
        return self._task("GET", f"/v1/tasks/{quote(task_id, safe='')}")

    def tasks(self, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._call("GET", "/v1/tasks", params=params)["data"]
        return found

    def cancel(self, task_id: str) -> dict[str, Any]:
        return self._call("POST", f"/v1/tasks/{task_id}/cancel")

    def erase(self, task_id: str) -> None:
        self._call("DELETE", f"/v1/tasks/{quote(task_id, safe='')}")

    def callbacks(self, task_id: str) -> list[dict[str, Any]]:
        path = f"/v1/tasks/{quote(task_id, safe='')}/callbacks"
        found: list[dict[str, Any]] = self._call("GET", path)["data"]
        return found

    def deliveries(
        self, params: Mapping[str, Any], task_id: str | None = None
    ) -> list[dict[str, Any]]:
        below = f"/tasks/{quote(task_id, safe='')}" if task_id else ""
        found: list[dict[str, Any]] = self._call("GET", f"/v1{below}/deliveries", params=params)[
            "data"
        ]
        return found

    def redeliver(self, delivery_id: str) -> dict[str, Any]:
        return self._call("POST", f"/v1/deliveries/{quote(delivery_id, safe='')}/redeliver")

    def redeliver_all(
        self, chosen: Mapping[str, Any], *, sleep: Callable[[float], None] = time.sleep
    ) -> Iterator[dict[str, Any]]:
        """Repeat all of the chosen ones, as fast as the client may; yields each call's answer."""
        cursor = None
        while True:
            body = {**chosen, **({"cursor": cursor} if cursor else {})}
            content = render(body).encode()
            try:
                answer = self._call("POST", "/v1/deliveries/redeliver", content=content)
            except TooManyError as error:
                sleep(error.retry_after)
                continue
            yield answer
            cursor = answer["next_cursor"]
            if cursor is None:
                return

    def enable(self, url: str) -> dict[str, Any]:
        return self._call("POST", "/v1/deliveries/enable", content=render({"url": url}).encode())

    def watch(
        self, task_id: str, *, sleep: Callable[[float], None] = time.sleep
    ) -> Iterator[dict[str, Any]]:
        """Yield the task now and whenever it looks different, until its state is final."""
        task = self.task(task_id)
        seen: tuple[object, ...] = ()
        while True:
            looks = tuple(task.get(name) for name in SHOWN)
            if looks != seen:
                yield task
                seen = looks
            if task["state"] in FINAL:
                return
            sleep(LOOK_EVERY)
            task = self._patiently(task_id, sleep)

    def _patiently(self, task_id: str, sleep: Callable[[float], None]) -> dict[str, Any]:
        deadline = time.monotonic() + AWAY_AT_MOST
        while True:
            try:
                return self.task(task_id)
            except AwayError:
                if time.monotonic() > deadline:
                    raise
                sleep(LOOK_EVERY)

    def _task(self, method: str, path: str, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        task = self._call(method, path, **options)
        if not {"id", "state"} <= task.keys():
            message = f"{self._url} is not a kie-gateway: it answers something else"
            raise CallFailedError(message)
        return task

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        import httpx

        try:
            response = self._http.request(method, self._url.rstrip("/") + path, **options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            message = f"no answer from {self._url}: {str(error) or type(error).__name__}"
            raise AwayError(message) from None
        try:
            answer = parse(response.content)
        except ValueError:
            answer = None
        if response.status_code in PASSING:
            raise AwayError(self._refusal(response, answer))
        if response.status_code == TOO_MANY:
            retry_after = float(response.headers.get("Retry-After", "1"))
            raise TooManyError(self._refusal(response, answer), retry_after)
        if response.status_code == DONE:
            return {}
        if response.is_error or not isinstance(answer, dict):
            raise CallFailedError(self._refusal(response, answer))
        return answer

    def _refusal(self, response: "httpx.Response", answer: object) -> str:
        if not isinstance(answer, dict) or "detail" not in answer:
            return f"{self._url} is not a kie-gateway: it answers HTTP {response.status_code}"
        flaws = [
            f"{flaw.get('pointer', flaw.get('parameter'))}: {flaw['detail']}"
            for flaw in answer.get("errors", [])
        ]
        # The sentence of one flaw says the same as the flaw.
        said = flaws if len(flaws) == 1 else [answer["detail"], *flaws]
        return f"{answer.get('code')}: " + "\n  ".join(said)


def _is_here(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
