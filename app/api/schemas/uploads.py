"""The bodies about files: what is accepted, and what is answered, for the document."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from app.api.schemas.answers import AnswerBody
from app.api.schemas.bodies import RequestBody, Url, example


class FileFromUrl(RequestBody):
    """A file that the gateway is to fetch."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"url": "https://cdn.example/a.png"}]}
    )

    url: Url = Field(
        description="Fetched from a public address, without credentials and redirects."
    )
    name: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = Field(
        default=None, description="What to call it; none: as the URL's path ends."
    )


UPLOAD_BODIES = (FileFromUrl,)


class File(AnswerBody):
    """A file that kie.ai has."""

    model_config = example(
        id="019aa1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b",
        name="portrait.png",
        content_type="image/png",
        bytes=481_223,
        sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        url="https://tempfile.redpandaai.co/r/78cf2f0472f0.png",
        expires_at="2026-12-01T12:00:00Z",
        created_at="2026-11-28T12:00:00Z",
        reference="kgw-file:019aa1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b",
    )

    id: UUID
    name: str
    content_type: str
    bytes: int
    sha256: str
    url: str = Field(description="Where kie.ai has it: anyone can fetch it there.")
    expires_at: datetime = Field(description="When kie.ai deletes it.")
    created_at: datetime
    reference: str = Field(
        description="In the `input` of a task, as a whole text, it stands for the file's URL."
    )


class FileList(AnswerBody):
    """A page of files, newest first."""

    data: list[File]
    next_cursor: str | None
