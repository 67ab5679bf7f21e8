"""Speaks HTTP with kie.ai. Trouble comes back as a value, with what it proves about the request.

What matters most here is one line: which failures prove that a paid create never left.
"""

import ssl
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from decimal import Decimal
from functools import partial
from importlib import metadata
from typing import Any

import aiohttp
from aiohttp.connector import Connection
from typing_extensions import override
from yarl import URL

from app.domain.exact_json import Verbatim
from app.domain.report import Answer, DownloadLink, NoAnswer
from app.domain.submission import Outcome, Unknown, Unsent
from app.kie import wire
from app.kie.awake import awake_timeout
from app.kie.reading import apart

CREATE_TASK = "/api/v1/jobs/createTask"
RECORD_INFO = "/api/v1/jobs/recordInfo"
CREDIT = "/api/v1/chat/credit"
DOWNLOAD_URL = "/api/v1/common/download-url"

KEEPALIVE_EXPIRY = 2.0
"""Seconds that an idle connection is kept. A POST written to a connection that the far side is
just closing gets no answer, and with that becomes an `Unknown`: hang up before they do, and many
servers do after 5 s."""

PROOF_OF_NOT_SENT: tuple[type[Exception], ...] = (
    # Checked in aiohttp 3.14: each of these is raised before ClientRequest.send() writes the
    # first byte of our request, and a POST is never tried a second time within one call.
    aiohttp.ClientConnectorError,  # connector.py: DNS, TCP, TLS, certificate, the proxy's own TCP
    aiohttp.ClientHttpProxyError,  # connector.py: the proxy refused to open the tunnel
    aiohttp.ConnectionTimeoutError,  # client.py: around connector.connect() and nothing else
    aiohttp.InvalidURL,  # like the next: there is no address to connect to
    aiohttp.NonHttpUrlClientError,
)
"""A disconnect *after* sending is a ServerDisconnectedError or a ClientOSError: these and their
relatives ClientConnectionError and ServerTimeoutError prove nothing and must stay out."""


class TooLateError(Exception):
    """The claim under which a create was to be sent is over."""


TOO_LATE = "this process stood still, and its claim was over before the request was written"

_IN_TIME: ContextVar[Callable[[], bool] | None] = ContextVar("in_time", default=None)


class _FencedConnector(aiohttp.TCPConnector):
    """Looks at the clock last: nothing but `ClientRequest.send()` comes after it.

    To look before the call would leave out what takes longest: names, TCP, TLS, and the wait for a
    free connection.
    """

    @override
    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        in_time = _IN_TIME.get()
        if in_time is not None and not in_time():
            connection.release()
            raise TooLateError
        return connection


class OversizedAnswerError(Exception):
    """The answer has more bytes than `GATEWAY_KIE_MAX_ANSWER_BYTES`."""


class EncodedAnswerError(Exception):
    """The answer is compressed, although we asked for it as it is: 400 bytes may hold gigabytes.

    Whatever its status is, it proves nothing: a create that it answers stays unknown.
    """


class KieClient:
    """kie.ai's market API for one account.

    No method raises for anything that the network or kie.ai does. Cancelling raises, and leaves
    a create's outcome unknown.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession,
        *,
        base_url: str,
        api_key: str,
        timeout: float,
        max_answer: int,
        proxy: str | None = None,
    ) -> None:
        """`timeout` is the most seconds that one call may take in all; `http` bounds its parts.

        `max_answer`: the most bytes of an answer that are read; a compressed one is not. `proxy` is
        the URL of the one that leads to kie.ai.
        """
        if not (api_key.isascii() and api_key.isprintable()):
            reason = "the kie.ai API key holds characters that no HTTP header can carry"
            raise ValueError(reason)  # here, because others would quote the key
        self._http = http
        self._base_url = base_url.rstrip("/")
        # Not the session's: aiohttp would give those to the proxy too.
        self._headers = {
            "Authorization": f"Bearer {api_key}",
            "User-Agent": f"kie-gateway/{metadata.version('kie-gateway')}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        self._through = {} if proxy is None else _through(proxy)
        self._timeout = timeout
        self._max_answer = max_answer

    async def create_task(
        self,
        model: str,
        input: Mapping[str, Any] | Verbatim,  # noqa: A002  # kie.ai's name for it
        callback_url: str | None,
        in_time: Callable[[], bool] | None = None,
    ) -> Outcome:
        """Create a paid task, at most once: nothing here sends a second time.

        `in_time` is asked last before the first byte is written; where it says no, none is.
        """
        body = wire.create_body(model, input, callback_url)
        token = _IN_TIME.set(in_time)
        try:
            answered = await self._call("POST", CREATE_TASK, content=body)
        finally:
            _IN_TIME.reset(token)
        match answered:
            case (status, answer):
                return await apart(partial(wire.read_create, status), answer)
            case TooLateError():
                return Unsent(reason=TOO_LATE, late=True)
            case Exception() as error if isinstance(error, PROOF_OF_NOT_SENT):
                return Unsent(reason=_reason(error))
            case Exception() as error:
                return Unknown(reason=_reason(error))

    async def record_info(self, kie_task_id: str) -> Answer:
        """Ask how a task is."""
        match await self._call("GET", RECORD_INFO, params={"taskId": kie_task_id}):
            case (status, answer):
                return await apart(partial(wire.read_query, status), answer)
            case Exception() as error:
                return NoAnswer(reason=_reason(error))

    async def credit(self) -> Decimal | NoAnswer:
        """Ask for the account's balance in credits."""
        match await self._call("GET", CREDIT):
            case (status, answer):
                return wire.read_credit(status, answer)
            case Exception() as error:
                return NoAnswer(reason=_reason(error))

    async def download_url(self, url: str) -> DownloadLink | NoAnswer:
        """Ask for a link to a file of kie.ai's by which anyone can fetch it for a while."""
        match await self._call("POST", DOWNLOAD_URL, content=wire.download_body(url)):
            case (status, answer):
                return wire.read_download(status, answer)
            case Exception() as error:
                return NoAnswer(reason=_reason(error))

    async def _call(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        params: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes] | Exception:
        """Return status and whole body, or whatever went wrong on the way."""
        headers = self._headers | ({"Content-Type": "application/json"} if content else {})
        try:
            async with (
                awake_timeout(self._timeout),
                self._http.request(
                    method,
                    self._base_url + path,
                    data=content,
                    params=params,
                    headers=headers,
                    allow_redirects=False,
                    **self._through,
                ) as response,
            ):
                return response.status, await _read(response, self._max_answer)
        except Exception as error:  # noqa: BLE001  # a paid create's outcome outlives any bug
            # aiohttp also lets its parser's own exceptions, ValueErrors and RuntimeErrors through.
            return error


def http_client(
    *,
    connect: float,
    read: float | None,
    pool: float,
    max_connections: int = 100,
    ca_bundle: str | None = None,
) -> aiohttp.ClientSession:
    """Open the session that `KieClient` speaks through; timeouts in seconds.

    `read` is None where `KieClient` bounds it: after a standstill its timer would come before the
    answer that is there. `pool` bounds waiting for a connection and connecting together, so it is
    at least `connect`. Without `ca_bundle` (a PEM file) the system's authorities are trusted. The
    environment's proxies are ignored.
    """
    connector = _FencedConnector(
        ssl=ssl.create_default_context(cafile=ca_bundle) if ca_bundle else True,
        limit=max_connections,
        keepalive_timeout=KEEPALIVE_EXPIRY,
    )
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(
            total=None, connect=pool, sock_connect=connect, sock_read=read
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
    )


def _through(proxy: str) -> Mapping[str, Any]:
    """Move credentials from the URL to a header: aiohttp deprecates the other way."""
    url = URL(proxy)
    bare = url.with_user(None)
    if url.user is None and url.password is None:
        return {"proxy": bare}
    credentials = aiohttp.encode_basic_auth(url.user or "", url.password or "")
    return {"proxy": bare, "proxy_headers": {"Proxy-Authorization": credentials}}


PLAIN = frozenset({"", "identity"})
"""The only codings of a body that are read."""


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read as many bytes as came over the network, never more than they are."""
    codings = response.headers.get("Content-Encoding", "").lower().split(",")
    if not PLAIN.issuperset(coding.strip() for coding in codings):
        raise EncodedAnswerError
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise OversizedAnswerError
    return bytes(body)


def _reason(error: Exception) -> str:
    """Name the exception, with the system's words where it has some.

    Never its own text, which can quote URLs, headers and bodies.
    """
    words = error.strerror if isinstance(error, OSError) else None
    name = type(error).__name__
    return f"{name}: {words}"[:200] if words else name
