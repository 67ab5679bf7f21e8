"""The settings that bound what one client costs the others, beside those of requests."""

from pydantic import BaseModel, Field


class LimitSettings(BaseModel):
    """How much of what is large one client may have of one process."""

    client_large_bytes_per_second: int = Field(
        16_777_216,
        ge=65_536,
        le=17_179_869_184,
        description="Bytes per second that one client may read from one process in large answers: "
        "lists with inputs, callbacks, and whatever else is over 64 KiB. Over it they wait, up to "
        "5 s; lists with inputs and lists of callbacks are read one at a time.",
    )
    client_uploads_per_minute: int = Field(
        60,
        ge=1,
        le=1_000_000,
        description="Uploads that one client may begin at one process per minute; a sixth of them "
        "at once.",
    )
    max_uploads: int = Field(
        40,
        ge=1,
        le=100_000,
        description="Uploads that a process takes in at once, of all clients. Beyond it a client "
        "has one all the same, until there are twice as many.",
    )
