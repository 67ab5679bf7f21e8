"""kie.ai's own bodies and envelopes, for the document and for what is checked of them."""

# ruff: noqa: N815  # kie.ai's names

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from app.api.schemas.answers import AnswerBody
from app.api.schemas.bodies import Number
from app.domain.client import MAX_URL
from app.domain.errors import Flaw, InvalidRequestError


class KieBody(BaseModel):
    """A body as kie.ai takes it: what it does not know it ignores, as clients expect."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, defer_build=True)

    WRONG: ClassVar[Mapping[str, str]] = {}
    """kie.ai's message about a member that is missing or of another type."""


def _or_none(url: str) -> str | None:
    """Take the empty text for none, and any other text, as kie.ai does."""
    if len(url) > MAX_URL:
        message = f"should have at most {MAX_URL} characters"
        raise ValueError(message)
    return url.strip() or None


class KieCreate(KieBody):
    """A task to create, as kie.ai's `createTask` takes it. What is inside `input` is kie.ai's."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "google/nano-banana-edit",
                    "callBackUrl": "https://shop.example.com/kie",
                    "input": {
                        "prompt": "turn this photo into a character figure",
                        "image_urls": ["https://file.aiquickdraw.com/custom-page/akr/photo.png"],
                    },
                }
            ]
        },
    )

    WRONG: ClassVar[Mapping[str, str]] = {
        "model": "The model name you specified is not supported. Please verify your input and "
        "use one of the supported models provided by KIE.",
        "input": "input must be an object",
        "callBackUrl": "callBackUrl must be a string",
    }

    model: Annotated[str, StringConstraints(min_length=1, max_length=200)] = Field(
        description="kie.ai's name of the model."
    )
    input: dict[str, Any] = Field(description="The model's input, passed on unchanged.")
    callBackUrl: Annotated[str, AfterValidator(_or_none)] | None = Field(
        default=None,
        description="Notified of the task's end as kie.ai notifies. Any text is taken; what is "
        "no URL that can be called ends as an `undeliverable` delivery.",
    )


class KieDownload(KieBody):
    """A result of one of your tasks."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"url": "https://tempfile.aiquickdraw.com/r/5db7.jpg"}]}
    )

    WRONG: ClassVar[Mapping[str, str]] = {"url": "url is wrong"}

    url: Annotated[str, StringConstraints(min_length=1)]


class KieBase64(KieBody):
    """A file in a text."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "base64Data": "data:image/png;base64,iVBORw0KGgo=",
                    "uploadPath": "images/user-uploads",
                    "fileName": "photo.png",
                }
            ]
        }
    )

    base64Data: str
    uploadPath: str | None = None
    fileName: str | None = None


class KieFetch(KieBody):
    """A file that is fetched."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"fileUrl": "https://cdn.example/a.png", "uploadPath": "images/user-uploads"}
            ]
        }
    )

    WRONG: ClassVar[Mapping[str, str]] = {
        "fileUrl": "fileUrl is required",
        "uploadPath": "uploadPath must be a string",
        "fileName": "fileName must be a string",
    }

    fileUrl: Annotated[str, StringConstraints(min_length=1, max_length=MAX_URL)]
    uploadPath: str | None = None
    fileName: str | None = None


KIE_BODIES = (KieCreate, KieDownload, KieBase64, KieFetch)
"""What `app/api/dropin.py` reads, and the OpenAPI document describes by name."""


KieBodyT = TypeVar("KieBodyT", bound=KieBody)


def kie_validated(model: type[KieBodyT], value: object) -> KieBodyT:
    """Check a parsed body; raises `InvalidRequestError` in kie.ai's words where it has some."""
    if not isinstance(value, dict):
        detail = "The request body must be a JSON object"
        raise InvalidRequestError(detail)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
    member, message = str(found[0]["loc"][0]), found[0]["msg"]
    if found[0]["type"] == "value_error":
        flaw = Flaw(f"/{member}", message.removeprefix("Value error, "))
        raise InvalidRequestError(message, [flaw])
    raise InvalidRequestError(model.WRONG[member])


class Created(AnswerBody):
    """Both are the gateway's id, as 32 hex digits."""

    taskId: str
    recordId: str


class Record(AnswerBody):
    """A task as kie.ai writes it."""

    taskId: str = Field(description="The gateway's id, as 32 hex digits.")
    model: str
    state: str = Field(description="waiting, queuing, generating, success or fail.")
    param: str = Field(description="The create as JSON text; its `input` is JSON text once more.")
    resultJson: str = Field(description="JSON text; empty where there is no result.")
    failCode: str | None = Field(description="Of a failure always a text.")
    failMsg: str | None = Field(description="Of a failure always a text.")
    costTime: int | None = Field(description="Whole seconds.")
    completeTime: int | None = Field(description="Milliseconds since 1970.")
    createTime: int = Field(description="Milliseconds since 1970.")
    creditsConsumed: Number | None = Field(default=None, description="Once it is known.")
    updateTime: int | None = Field(default=None, description="Of a failure.")


class CreatedEnvelope(AnswerBody):
    """The answer to a create; of a refusal `code` is not 200, and `data` is null."""

    code: int
    msg: str
    data: Created | None


class RecordEnvelope(AnswerBody):
    """The answer to a query; of an id that is not yours `code` is 422, and `data` is null."""

    code: int
    msg: str
    data: Record | None


class CreditEnvelope(AnswerBody):
    """The account's credits, for clients that may see them."""

    code: int
    msg: str
    data: Number | None


class DownloadEnvelope(AnswerBody):
    """A link that lives for 20 minutes."""

    code: int
    msg: str
    data: str | None


class KieFile(AnswerBody):
    """A file that kie.ai has."""

    success: bool
    fileName: str
    filePath: str = Field(description="The path that was asked for; kie.ai's own begins otherwise.")
    downloadUrl: str
    fileSize: int
    mimeType: str
    uploadedAt: str


class UploadEnvelope(AnswerBody):
    """The answer to an upload; of a refusal `success` is false, and `data` is null."""

    success: bool
    code: int
    msg: str
    data: KieFile | None
