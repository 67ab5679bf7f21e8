"""What kie.ai says of a task, in one shape whichever way it came: callback or query."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any


class Progress(StrEnum):
    """How far a task is by kie.ai's own word; an unknown state counts as running."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What kie.ai gives about an end: in a report, and as a task keeps it."""

    result: dict[str, Any] | None = None
    """`resultJson` as an object, exact numbers (see `app/domain/exact_json.py`)."""
    result_urls: Sequence[str] = ()
    """Every media URL in `result`, in order, each once."""
    fail_code: str | None = None
    fail_message: str | None = None
    credits_consumed: Decimal | None = None
    duration_seconds: Decimal | None = None
    kie_created_at: datetime | None = None
    kie_completed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Facts):
    """One readable statement of kie.ai about one task."""

    progress: Progress
    kie_task_ids: tuple[str, ...] = ()
    """Every task id that the body names, in order, each once; more than one is a contradiction."""
    code: int | None = None
    """The envelope's code."""
    message: str | None = None
    """The envelope's `msg` or `message`."""
    kie_state: str | None = None
    """kie.ai's own word for the state, as it stands there."""
    callback_url: str | None = field(default=None, repr=False)
    """`param.callBackUrl`, the echo of the create. It holds our token: never shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A body that is not a statement about a task."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A query's answer about the task, with the exact bytes that said so."""

    report: Report
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotVisible:
    """kie.ai does not know the id (yet): normal for some seconds after the create."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    """No usable answer: ask again later."""

    reason: str
    account: bool = False
    """The gateway's own key or credits were refused (envelope 401 or 402)."""
    throttled: bool = False
    """kie.ai is there, and says that it is asked too often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadLink:
    """kie.ai's answer to the wish for a link to one of its files, a refusal of the URL included."""

    code: int
    message: str
    url: str | None = field(repr=False)
    """The link, which lives for 20 minutes; None: there is none."""


Answer = Answered | NotVisible | NoAnswer
