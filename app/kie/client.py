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
import httpx
from aiohttp.connector import Connection
from httpx_aiohttp import AiohttpTransport
from typing_extensions import override

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
"""aiohttp's own exceptions, never httpx's: the transport maps a disconnect *after* sending
(ServerDisconnectedError, ClientOSError) to `httpx.ConnectTimeout`. Their relatives
ClientConnectionError, ClientOSError and ServerTimeoutError prove nothing and must stay out."""


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
        http: httpx.AsyncClient,
        *,
        base_url: str,
        api_key: str,
        timeout: float,
        max_answer: int,
    ) -> None:
        """`timeout` is the most seconds that one call may take in all; `http` bounds its parts.

        `max_answer`: the most bytes of an answer that are read; a compressed one is not.
        """
        if not (api_key.isascii() and api_key.isprintable()):
            reason = "the kie.ai API key holds characters that no HTTP header can carry"
            raise ValueError(reason)  # here, because httpx would quote the key
        self._http = http
        self._base_url = base_url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._timeout = timeout
        self._max_answer = max_answer

    async def create_task(
        self,
        model: str,
        input: Mapping[str, Any],  # noqa: A002  # kie.ai's name for it
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
            case Exception() as error if isinstance(_original(error), PROOF_OF_NOT_SENT):
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
                self._http.stream(
                    method, self._base_url + path, content=content, params=params, headers=headers
                ) as response,
            ):
                return response.status_code, await _read(response, self._max_answer)
        except Exception as error:  # noqa: BLE001  # a paid create's outcome outlives any bug
            # aiohttp also lets its parser's own exceptions, ValueErrors and RuntimeErrors through.
            return error


def http_client(
    *,
    connect: float,
    read: float | None,
    write: float,
    pool: float,
    max_connections: int = 100,
    ca_bundle: str | None = None,
    proxy: str | None = None,
) -> httpx.AsyncClient:
    """Build the HTTP client that `KieClient` speaks through; timeouts in seconds.

    `read` is None where `KieClient` bounds it: after a standstill its timer would come before the
    answer that is there. `pool` bounds waiting for a connection and connecting together, so it is
    at least `connect`. The transport ignores `write`; the total of `KieClient` covers it. Without
    `ca_bundle` (a PEM file) the system's authorities are trusted. The environment's proxies are
    ignored.
    """
    context = ssl.create_default_context(cafile=ca_bundle)

    def session() -> aiohttp.ClientSession:
        connector = _FencedConnector(
            ssl=context, limit=max_connections, keepalive_timeout=KEEPALIVE_EXPIRY
        )
        return aiohttp.ClientSession(connector=connector)

    transport = AiohttpTransport(
        verify=context,
        trust_env=False,
        proxy=None if proxy is None else _proxy(proxy),
        client=session,
    )
    return httpx.AsyncClient(
        transport=transport,
        timeout=httpx.Timeout(connect=connect, read=read, write=write, pool=pool),
        follow_redirects=False,
        trust_env=False,
        headers={
            "User-Agent": f"kie-gateway/{metadata.version('kie-gateway')}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        },
    )


def _proxy(url: str) -> httpx.Proxy:
    """Move credentials from the URL to a header: aiohttp deprecates the other way."""
    parsed = httpx.URL(url)
    bare = parsed.copy_with(username=None, password=None)
    if not parsed.userinfo:
        return httpx.Proxy(bare)
    credentials = aiohttp.encode_basic_auth(parsed.username, parsed.password)
    return httpx.Proxy(bare, headers={"Proxy-Authorization": credentials})


PLAIN = frozenset({"", "identity"})
"""The only codings of a body that are read."""


async def _read(response: httpx.Response, limit: int) -> bytes:
    """Read as many bytes as came over the network, never more than they are."""
    codings = response.headers.get("Content-Encoding", "").lower().split(",")
    if not PLAIN.issuperset(coding.strip() for coding in codings):
        raise EncodedAnswerError
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > limit:
            raise OversizedAnswerError
    return bytes(body)


def _original(error: Exception) -> BaseException:
    """Unwrap aiohttp's exception where httpx's transport has wrapped one."""
    return error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error


def _reason(error: Exception) -> str:
    """Name the original exception, with the system's words where it has some.

    Never its own text, which can quote URLs, headers and bodies.
    """
    original = _original(error)
    words = original.strerror if isinstance(original, OSError) else None
    name = type(original).__name__
    return f"{name}: {words}"[:200] if words else name
