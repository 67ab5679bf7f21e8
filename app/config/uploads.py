"""The settings of uploads."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field

from app.config.values import Seconds, WebUrl, listed


class UploadSettings(BaseModel):
    """Which files are handed on to kie.ai, and within which bounds."""

    kie_upload_url: WebUrl = Field(
        "https://kieai.redpandaai.co",
        description="kie.ai's file upload API.",
    )
    max_upload_bytes: int = Field(
        104_857_600,
        ge=1024,
        le=17_179_869_184,
        description="Largest file that is uploaded. It is handed on as it comes: its size takes no "
        "memory.",
    )
    upload_stall_timeout: Seconds = Field(
        30,
        description="How long an upload may stand still, on either side, before it ends; "
        "GATEWAY_BODY_TIMEOUT does not apply to it.",
    )
    upload_types: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(
        ("image/*", "video/*", "audio/*", "text/*", "application/pdf", "application/json"),
        description="Content types of the files that are uploaded; `image/*` is a whole family, "
        "`*/*` all. What browsers or machines run is never taken.",
    )
    upload_allow_loopback: bool = Field(
        default=False,
        description="Whether files may be fetched from loopback addresses: for tests.",
    )
    client_uploads: int = Field(
        4, ge=1, le=10_000, description="Uploads that one client may have under way at one process."
    )
