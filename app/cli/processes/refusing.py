"""What the edge answers by itself, and how that is counted and logged."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

import structlog

from app.api.browsers import HEADERS
from app.log import Sampled

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that needs no application; `code` is stable, see docs/errors.md."""

    status: HTTPStatus
    code: str
    title: str

    def render(self) -> bytes:
        problem = {
            "type": f"urn:kie-gateway:error:{self.code}",
            "title": self.title,
            "status": self.status.value,
            "code": self.code,
        }
        body = json.dumps(problem).encode()
        headers = {
            "content-type": "application/problem+json",
            "content-length": str(len(body)),
            "connection": "close",
            **HEADERS,
        }
        lines = [f"HTTP/1.1 {self.status.value} {self.status.phrase}"]
        lines += [f"{name.lower()}: {value}" for name, value in headers.items()]
        return "\r\n".join((*lines, "", "")).encode() + body


MALFORMED = Refusal(HTTPStatus.BAD_REQUEST, "malformed_request", "This is no HTTP/1.1 request")
NO_HOST = Refusal(
    HTTPStatus.BAD_REQUEST, "malformed_request", "A request of HTTP/1.1 has one Host header"
)
ODD_ENCODING = Refusal(
    HTTPStatus.BAD_REQUEST, "malformed_request", "The one Transfer-Encoding that is read is chunked"
)
HEADERS_TOO_LARGE = Refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", "The headers are too large"
)
URL_TOO_LONG = Refusal(HTTPStatus.REQUEST_URI_TOO_LONG, "url_too_long", "The URL is too long")
TOO_SLOW = Refusal(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "The request took too long")


class Refused:
    """Counts everything, and logs the first of each reason and then one in ten seconds."""

    def __init__(self, count: Callable[[str], None], sampled: Sampled | None = None) -> None:
        """Take what counts one; the reasons are the metric's own, `EDGE_REASONS`."""
        self._count = count
        self._sampled = sampled or Sampled()

    def __call__(self, reason: str, address: str | None) -> None:
        self._count(reason)
        suppressed = self._sampled.admit(reason)
        if suppressed is not None:
            log.warning("edge.refused", reason=reason, address=address, suppressed=suppressed)
