"""What services see of tracing, and all of it while it is off: steps, and spans without effect."""

from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import Self, TypedDict
from uuid import UUID

from typing_extensions import Unpack


class Step(StrEnum):
    """What a span is of, and its name."""

    CREATE = "task.create"
    SUBMIT = "task.submit"
    CALLBACK = "task.callback"
    QUERY = "task.query"
    DELIVERY = "task.delivery"


class Attributes(TypedDict, total=False):
    """All that a span may say beside its times: no URL, no body, no text of anybody's."""

    task_id: UUID | None
    client_id: UUID
    model: str | None
    state: str
    attempt: int
    outcome: str


class Span:
    """One step, from entering to leaving; this one records nothing."""

    __slots__ = ("_parent",)

    def __init__(self, parent: str | None) -> None:
        self._parent = parent

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""

    @property
    def traceparent(self) -> str | None:
        """What the next step is a child of, as W3C's header has it; None: there is no trace."""
        return self._parent

    def under(self, parent: str | None) -> None:
        """Name a parent that was not known at the beginning; only before anything is noted."""
        self._parent = parent

    def note(self, **attributes: Unpack[Attributes]) -> None:
        """Keep what is known of the step."""


class Traces:
    """Makes spans; these record nothing."""

    def span(self, step: Step, parent: str | None = None) -> Span:
        """Begin a step under `parent`, a valid traceparent; None: it has no parent, or not yet."""
        del step
        return Span(parent)

    async def close(self, within: float) -> None:
        """Export what is left, for `within` seconds at most."""


Count = Callable[[str, int], None]
"""Takes `exported`, `failed` or `dropped`, and how many spans were; from any thread."""


def opened(count: Count) -> Traces:
    """Start recording and exporting, as OpenTelemetry's own variables say."""
    from app.traces.recording import recording  # noqa: PLC0415  # only for those who trace

    return recording(count)
