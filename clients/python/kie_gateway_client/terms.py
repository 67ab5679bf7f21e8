"""Where a gateway is, by which key, and how long it is tried: what all calls share."""

import ipaddress
import os
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from kie_gateway_client import __version__
from kie_gateway_client.errors import (
    GatewayError,
    RateLimited,
    UnexpectedAnswer,
    Unreachable,
    Unusable,
    class_of,
)
from kie_gateway_client.exact import NotJSONError, parse_object
from kie_gateway_client.steps import Answer, Call, Lost, Request, Sleep, Upload, sent

URL_VARIABLE = "KIE_GATEWAY_URL"
KEY_VARIABLE = "KIE_GATEWAY_API_KEY"
HERE = "http://127.0.0.1:8000"

PATIENCE = 60.0
"""Seconds for which a call is tried again after its first failure."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
MAX_DIGITS = 9
TOO_MANY = 429
OK, REDIRECTED, REFUSED = 200, 300, 400
PASSING = frozenset({502, 503, 504})
"""What a gateway, or a proxy before it, answers while something is away."""

Params = Mapping[str, object]


@dataclass(frozen=True)
class Terms:
    """The gateway's URL and key, and how long it is tried; the key is in no `repr`."""

    url: str
    key: bytes = field(repr=False)
    patience: float = PATIENCE
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    chance: Callable[[], float] = field(default=random.random, repr=False)

    @classmethod
    def given(cls, url: str | None, key: str | None, patience: float) -> "Terms":
        """Take what is given, else the environment's; raises `Unusable` without the key in it."""
        url = url or os.environ.get(URL_VARIABLE) or HERE
        key = (key or os.environ.get(KEY_VARIABLE) or "").strip()
        objection = _objection(url)
        if objection:
            raise Unusable(objection)
        if not key or any(ord(letter) < ord(" ") for letter in key):
            message = f"an API key is needed: give one, or set {KEY_VARIABLE}"
            raise Unusable(message)
        return cls(url.rstrip("/"), key.encode(), patience)

    @property
    def trusts_environment(self) -> bool:
        """Whether a proxy of the environment may be used: none leads to this machine."""
        host = urlsplit(self.url).hostname or ""
        try:
            return host != "localhost" and not ipaddress.ip_address(host).is_loopback
        except ValueError:
            return True

    def request(
        self,
        method: str,
        *path: object,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        upload: Upload | None = None,
        held: float = 0.0,
        is_safe: bool = True,
    ) -> Request:
        """Describe a request below `/v1`, with the key; raises `Unusable` for no id."""
        return Request(
            method,
            "/".join([f"{self.url}/v1", *map(_quoted, path)]),
            tuple(_pairs(params or {})),
            {**_headers(body), **(headers or {}), "Authorization": b"Bearer " + self.key},
            body,
            upload,
            held=held,
            is_safe=is_safe,
        )

    def elsewhere(self, answer: Answer) -> Request:
        """Describe a request to where an answer points, without the key."""
        url = answer.headers.get("location", "")
        if _objection(url.partition("?")[0]):
            raise self.stranger(answer.status)
        return Request("GET", url, headers=_headers(None))

    # -- sending

    def document(self, request: Request) -> Call[dict[str, Any]]:
        """Send until there is an answer, and read it; raises a `GatewayError`."""
        answer = yield from self.answer(request)
        return self.read(answer)

    def read(self, answer: Answer) -> dict[str, Any]:
        """Read an answer's object; raises `UnexpectedAnswer`."""
        try:
            return parse_object(answer.body)
        except NotJSONError:
            pass
        raise self.stranger(answer.status)

    def answer(self, request: Request) -> Call[Answer]:
        """Send until there is an answer that is no refusal, within the patience."""
        tries = Tries(self)
        while True:
            reply = yield from sent(request)
            if isinstance(reply, Answer) and OK <= reply.status < REDIRECTED:
                return reply
            error = self.error(reply)
            yield Sleep(tries.pause(request, error))

    def stranger(self, status: int) -> UnexpectedAnswer:
        message = f"{self.url} is not a kie-gateway: it answers HTTP {status}"
        return UnexpectedAnswer(message, status=status)

    def error(self, reply: Answer | Lost) -> GatewayError:
        """Make an error of a refusal, or of no answer."""
        if isinstance(reply, Lost):
            error = Unreachable(f"no answer from {self.url}: {reply.why}")
            error.sent = reply.sent
            return error
        problem: dict[str, Any] = {}
        with suppress(NotJSONError):
            problem = parse_object(reply.body)
        code, detail = problem.get("code"), problem.get("detail") or problem.get("title")
        if not isinstance(code, str) or not isinstance(detail, str) or reply.status < REFUSED:
            return self._foreign(reply)
        request_id = problem.get("request_id")
        return class_of(code, reply.status)(
            detail,
            status=reply.status,
            code=code,
            request_id=request_id if isinstance(request_id, str) else None,
            retry_after=seconds_of(reply.headers.get("retry-after")),
            problem=problem,
        )

    def _foreign(self, reply: Answer) -> GatewayError:
        """Judge what no gateway has written: a proxy on the way, or another service."""
        if reply.status not in PASSING | {TOO_MANY}:
            return self.stranger(reply.status)
        message = f"{self.url} is not a kie-gateway: it answers HTTP {reply.status}"
        retry_after = seconds_of(reply.headers.get("retry-after"))
        return class_of(None, reply.status)(message, status=reply.status, retry_after=retry_after)


class Tries:
    """How often, and for how long, something is tried again."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._until: float | None = None
        self._failed = 0

    def succeeded(self) -> None:
        """Begin anew: it went on meanwhile."""
        self._until, self._failed = None, 0

    def pause(self, request: Request, error: GatewayError) -> float:
        """Return the seconds to wait before the next; raises the error where there is none."""
        now = self._terms.clock()
        if self._until is None:
            self._until = now + self._terms.patience
        pause = self._pause(error.retry_after)
        if not may_repeat(request, error) or now + pause > self._until:
            raise error
        self._failed += 1
        return pause

    def _pause(self, told: float | None) -> float:
        """Spread those who were refused at once; what is told is the least."""
        if told is not None:
            return told + FIRST_PAUSE * self._terms.chance()
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failed, 10))
        return float(longest * (0.5 + self._terms.chance() / 2))


def may_repeat(request: Request, error: GatewayError) -> bool:
    """Judge whether sending it again can do nothing twice."""
    if request.upload is not None and not request.upload.can_repeat:
        return False
    if isinstance(error, RateLimited):
        return True  # nothing was done
    if isinstance(error, Unreachable):
        return request.is_safe or not error.sent
    return request.is_safe and error.status in PASSING


def seconds_of(said: str | None) -> float | None:
    """Read `Retry-After` in seconds; None for a date, which the gateway never sends."""
    is_number = said is not None and said.isascii() and said.isdigit() and len(said) < MAX_DIGITS
    return float(said) if is_number and said is not None else None


def _quoted(part: object) -> str:
    """Write a part of a path; one of only dots would lead elsewhere."""
    text = quote(str(part), safe="")
    if not text.strip("."):
        message = "an id is needed"
        raise Unusable(message)
    return text


def _headers(body: bytes | None) -> dict[str, str]:
    return {
        "Accept": "application/json",
        "Accept-Encoding": "identity",  # a small answer that becomes a large one is not asked for
        "User-Agent": f"kie-gateway-client/{__version__}",
        **({} if body is None else {"Content-Type": "application/json"}),
    }


def _pairs(params: Params) -> list[tuple[str, str]]:
    """Write parameters: None is left out, several values repeat the name."""
    pairs: list[tuple[str, str]] = []
    for name, value in params.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        pairs += [(name, str(one)) for one in values if one is not None]
    return pairs


def _objection(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "the gateway's URL cannot be read"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return f"{url} is no http or https URL"
    if "@" in parts.netloc or parts.query or parts.fragment:
        return "the gateway's URL has no user, query or fragment"
    return None
