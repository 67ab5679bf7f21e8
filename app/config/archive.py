"""The settings of the archive."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from app.config.values import ArchiveUrl, Seconds, Wait, listed, rising


class ArchiveSettings(BaseModel):
    """Where results are copied to, and within which bounds."""

    archive_url: ArchiveUrl | None = Field(
        None,
        description="Where results are copied to, before kie.ai deletes them: `s3://bucket/prefix`,"
        " `gs://…`, `az://container/…` or `file:///directory`; none: nowhere. Credentials "
        "are in the environment, as docs/archive.md has it.",
    )
    archive_concurrency: int = Field(
        4, ge=1, le=1000, description="Result files that a process copies at once."
    )
    archive_max_bytes: int = Field(
        2**30, ge=1, le=2**40, description="Largest result file that is copied."
    )
    archive_bytes_in_flight: int = Field(
        25_165_824,
        ge=1_048_576,
        le=17_179_869_184,
        description="Bytes of result files that a process holds at once: 10 MiB for each that is "
        "larger, 2 MiB with a directory.",
    )
    archive_timeout: Seconds = Field(900, description="Longest that copying one file may take.")
    archive_stall: Seconds = Field(
        30, description="Longest that nothing of a result file may come before it is tried again."
    )
    archive_schedule: Annotated[
        tuple[Wait, ...], BeforeValidator(listed), AfterValidator(rising)
    ] = Field(
        (0, 10, 60, 300, 1800, 7200, 21600, 43200, *(86400,) * 13),
        description="Waits before each try to copy a result file: 14 days, the life of results.",
    )
    archive_allow_loopback: bool = Field(
        default=False,
        description="Whether result files may be fetched from loopback addresses: for tests. "
        "Private networks are closed in any case.",
    )
