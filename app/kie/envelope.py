"""The outside of every answer and callback of kie.ai's: `{"code", "msg" or "message", "data"}`."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.domain import exact_json
from app.domain.report import Unreadable
from app.kie import values

MAX_MESSAGE = 1_000
MAX_FAIL_MESSAGE = 4_000

OK = 200
SUCCESSES = frozenset({OK, 0})
"""0 is tolerated: several clients take it for success, and nobody was seen receiving it."""

IDS = ("taskId", "task_id")
ALONE = "recordId"
"""It repeats `taskId`, so it counts only where there is none."""

_BARE_ID = re.compile(r"(?=\D*\d)[A-Za-z0-9][A-Za-z0-9_-]{7,199}", re.ASCII)
"""An id that stands for all of `data` under a success; "success" is none."""
_CERTAIN_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
"""The same under an error, whose `data` may be any text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """An envelope, and all that stands beside its three members."""

    code: int | None
    message: str | None
    data: Any
    root: Mapping[str, Any]

    @property
    def succeeds(self) -> bool:
        return self.code in SUCCESSES


def opened(body: bytes) -> Envelope | Unreadable:
    """Read the outside; an answer without a `code` is not kie.ai's but some framework's."""
    try:
        root = exact_json.read(body)
    except exact_json.UnreadableDocumentError as error:
        return Unreadable(reason=error.reason[:MAX_MESSAGE])
    if not isinstance(root, dict):
        return Unreadable(reason="not a JSON object")
    messages = (values.text(root.get(name), MAX_FAIL_MESSAGE) for name in ("msg", "message"))
    return Envelope(
        code=values.code(root.get("code")),
        message=next((message for message in messages if message is not None), None),
        data=root.get("data"),
        root=root,
    )


def words(code: int, envelope: Envelope) -> str:
    """Return kie.ai's own words; where it has none, say so."""
    return values.text(envelope.message, MAX_MESSAGE) or said(code, envelope)


def said(code: int, envelope: Envelope) -> str:
    return f"kie.ai answered code {code}: {envelope.message or '(no message)'}"[:MAX_MESSAGE]


def created_id(envelope: Envelope) -> str | None:
    """Return the task's id wherever the answer to a create has it; None: nowhere."""
    return next(_created_ids(envelope), None)


def _created_ids(envelope: Envelope) -> Iterator[str]:
    for holder in (envelope.data, envelope.root):
        for name in (*IDS, ALONE) if isinstance(holder, Mapping) else ():
            if (found := values.identifier(holder.get(name))) is not None:
                yield found
    shape = _BARE_ID if envelope.succeeds else _CERTAIN_ID
    bare = values.identifier(envelope.data)
    if bare is not None and shape.fullmatch(bare):
        yield bare
