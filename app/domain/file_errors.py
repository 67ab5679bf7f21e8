"""What may be wrong with files: those that are uploaded, and copies of results."""

from app.domain.errors import GatewayError, NotFoundError, RateLimitedError


class TooManyUploadsError(RateLimitedError):
    """The client has as many uploads under way as it may."""

    code = "too_many_uploads"
    title = "Too many uploads"


class MalformedMultipartError(GatewayError):
    """The body is not `multipart/form-data` with one file."""

    code = "malformed_multipart"
    title = "The body is not a usable multipart form"


class UnsupportedFileTypeError(GatewayError):
    """A file of a type that is not taken, or whose bytes are of another than it says."""

    code = "unsupported_file_type"
    title = "Files of this type are not taken"


class UploadStalledError(GatewayError):
    """No byte of an upload came for `GATEWAY_UPLOAD_STALL_TIMEOUT` seconds."""

    code = "upload_stalled"
    title = "The upload came to a standstill"


class UploadRefusedError(GatewayError):
    """kie.ai does not take the file; `detail` has its words."""

    code = "upload_refused"
    title = "kie.ai does not take the file"


class FileNotFetchableError(GatewayError):
    """The URL of a file cannot be fetched, or must not be."""

    code = "file_not_fetchable"
    title = "The file cannot be fetched"


class FileExpiredError(GatewayError):
    """kie.ai has deleted the file, and nobody else has a copy."""

    code = "file_expired"
    title = "The file has expired"


class ArtifactNotStoredError(GatewayError):
    """The archive does not have the file: not yet, or not any more."""

    code = "artifact_not_stored"
    title = "The archive does not have this file"


class ArchiveAwayError(GatewayError):
    """The archive does not answer."""

    code = "archive_unavailable"
    title = "The archive is away"


class RangeNotSatisfiableError(GatewayError):
    """A range of bytes that the file does not have."""

    code = "range_not_satisfiable"
    title = "The file has no such bytes"

    def __init__(self, detail: str, *, size: int = 0) -> None:
        super().__init__(detail)
        self.size = size
        """Bytes that it has."""


def no_such_file() -> NotFoundError:
    """Say the same of no file at all and of another client's."""
    detail = "You have no file with this id: check the id, and whose API key you use."
    return NotFoundError(detail)
