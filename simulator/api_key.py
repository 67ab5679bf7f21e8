"""Checks the API key: one key is right, or any."""

import hmac
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from simulator.answers import answer
from simulator.bodies import RefusedError
from simulator.envelopes import envelope

Endpoint = Callable[[Request], Awaitable[Response]]


class ApiKeyCheck:
    """Knows the one right key; None: any key is right, as long as there is one."""

    def __init__(self, api_key: str | None) -> None:
        self._api_key = api_key

    def required(self, endpoint: Endpoint) -> Endpoint:
        """Call the endpoint only with the right key, and answer every refusal by an envelope."""

        async def keyed(request: Request) -> Response:
            try:
                self.check(request)
                return await endpoint(request)
            except RefusedError as refusal:
                return answer(envelope(refusal.code, refusal.message, None))

        return keyed

    def check(self, request: Request) -> None:
        """Raise `RefusedError`."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self._is_right(key.strip()):
            raise RefusedError(401, "You do not have access permissions")

    def _is_right(self, key: str) -> bool:
        if self._api_key is None:
            return bool(key)
        return hmac.compare_digest(key.encode(), self._api_key.encode())
