"""Which of the gateway's two APIs a task was created by, and a delivery speaks."""

from enum import StrEnum


class Dialect(StrEnum):
    """A way of speaking about tasks."""

    NATIVE = "native"
    """`/v1`, and Standard Webhooks."""
    KIE = "kie"
    """kie.ai's own: `/api/v1`, and callbacks as kie.ai writes and signs them."""
