"""Uploads files to kie.ai as they come: nothing is held but the piece that is being written.

All ways in end at kie.ai's upload of streams: a form with the file first, as in its own examples,
and its fields behind it. Trouble comes back as a value, but for what the source of the bytes
raises.
"""

import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from importlib import metadata
from urllib.parse import quote

import aiohttp

from app.domain.client import url_objection
from app.domain.report import NoAnswer, Unreadable
from app.domain.uploads import Rejected, Stored
from app.kie.envelope import SUCCESSES, opened, words

UPLOAD = "/api/file-stream-upload"
MAX_ANSWER = 64 * 1024
"""Bytes of an answer that are read."""
MAX_UPLOADS = 200
"""Connections of one process to the upload host."""

_AS_THEY_ARE = "%/:?#[]@!$&'()*+,;=-._~"
"""Characters of a URL; all others are escaped, as blanks in a name."""

Fields = Callable[[], Mapping[str, str]]
"""The form's other fields, asked for once the file has gone: they may come behind it."""


class KieUploads:
    """kie.ai's upload host for one account."""

    def __init__(
        self, session: aiohttp.ClientSession, *, base_url: str, api_key: str, proxy: str | None
    ) -> None:
        self._session = session
        self._url = base_url.rstrip("/") + UPLOAD
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._proxy = proxy

    async def upload(
        self, file_name: str, content_type: str, chunks: AsyncIterator[bytes], fields: Fields
    ) -> Stored | Rejected | NoAnswer:
        """Upload a file whose size nobody knows; `file_name` and type are fit for a header.

        The caller bounds the time. What `chunks` raises ends the upload and comes back as an answer
        that is missing: the caller knows its own trouble.
        """
        boundary = f"kie-gateway-{secrets.token_hex(16)}"
        form = _form(boundary, file_name, content_type, chunks, fields)
        headers = {**self._headers, "Content-Type": f"multipart/form-data; boundary={boundary}"}
        try:
            async with self._session.post(
                self._url, data=form, headers=headers, allow_redirects=False, proxy=self._proxy
            ) as response:
                body = await response.content.read(MAX_ANSWER)
                return read_upload(response.status, body)
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:
            return NoAnswer(reason=type(error).__name__)


async def _form(
    boundary: str,
    file_name: str,
    content_type: str,
    chunks: AsyncIterator[bytes],
    fields: Fields,
) -> AsyncIterator[bytes]:
    """Write the form; each piece goes out before the next is asked for."""
    about = f'name="file"; filename="{file_name}"'
    yield (
        f"--{boundary}\r\nContent-Disposition: form-data; {about}\r\n"
        f"Content-Type: {content_type}\r\n\r\n"
    ).encode()
    async for chunk in chunks:
        yield chunk
    parts = (
        f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}'
        for name, value in fields().items()
    )
    yield ("".join(parts) + f"\r\n--{boundary}--\r\n").encode()


def read_upload(status: int, body: bytes) -> Stored | Rejected | NoAnswer:
    """Read the answer: failures come with HTTP 200 and `success: false` as well."""
    envelope = opened(body)
    if isinstance(envelope, Unreadable) or envelope.code is None:
        return NoAnswer(reason=f"HTTP {status} without an envelope")
    if not envelope.succeeds or envelope.root.get("success") is False:
        code = status if envelope.code in SUCCESSES else envelope.code
        return Rejected(code=code, message=words(code, envelope))
    data = envelope.data if isinstance(envelope.data, Mapping) else {}
    url = next((data[name] for name in ("downloadUrl", "fileUrl", "url") if data.get(name)), None)
    url = quote(url.strip(), safe=_AS_THEY_ARE) if isinstance(url, str) else ""
    if url_objection(url) is not None:
        return NoAnswer(reason="the answer has no URL")
    return Stored(url=url)


def upload_session(*, connect: float, ca_bundle: str | None) -> aiohttp.ClientSession:
    """Open the session for `KieUploads`; `connect` in seconds, `ca_bundle` as in `http_client`."""
    connector = aiohttp.TCPConnector(
        ssl=ssl.create_default_context(cafile=ca_bundle) if ca_bundle else True,
        limit=MAX_UPLOADS,
        force_close=True,
    )
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        headers={
            "User-Agent": f"kie-gateway/{metadata.version('kie-gateway')}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        },
    )
