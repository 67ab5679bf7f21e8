"""What kie.ai says about a task, whichever way it comes: callback, query, or create's answer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar
from uuid import UUID

from app.domain.callback_url import CallbackUrls
from app.domain.evidence import (
    Judgement,
    Signature,
    Verdict,
    judge_callback,
    judge_create,
    judge_query,
)
from app.domain.redact import redacted_outcome, redacted_report, without_told_balance
from app.domain.report import Facts, Progress, Report, Unreadable
from app.domain.submission import Accepted, Outcome, Unknown
from app.domain.task import Source, Standing, move


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A callback, or the answer to a query; `id` makes storing it a second time harmless."""

    id: UUID
    task_id: UUID
    source: Source
    body: bytes = field(repr=False)
    """The bytes that came; those that are read back lack the task's callback tokens."""
    content: Report | Unreadable
    headers: Mapping[str, str] = field(default_factory=dict)
    signature: Signature = Signature.UNCHECKED
    whole: bool = True
    """False: more came than was read."""
    alleged: bool = False
    """The query asked about an id that only a callback named, and nobody vouched for."""

    @property
    def report(self) -> Report | None:
        """What it says, where it can be read."""
        return self.content if isinstance(self.content, Report) else None

    @property
    def echoed_url(self) -> str | None:
        """The callback URL of the create that kie.ai reports on."""
        return self.report.callback_url if self.report else None

    @property
    def ends(self) -> bool:
        """Whether it reports an end."""
        return self.report is not None and self.report.progress is not Progress.RUNNING


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAnswer:
    """How one attempt to create the task at kie.ai ended."""

    task_id: UUID
    attempt: int
    tries: int
    """Refusals of this task in a row before it."""
    outcome: Outcome


Said = Statement | CreateAnswer
"""Everything that kie.ai can say about a task."""

OneSaid = TypeVar("OneSaid", Statement, CreateAnswer)


def redacted(said: OneSaid, urls: CallbackUrls) -> OneSaid:
    """Return it without the callback tokens that it echoes and the balance; a body stays."""
    tokens = urls.tokens(said.task_id)
    if isinstance(said, CreateAnswer):
        return replace(said, outcome=redacted_outcome(said.outcome, tokens))
    if isinstance(said.content, Unreadable):
        return said
    content = without_told_balance(said.content)
    if not _only_echoed(said.body, said.echoed_url, tokens):
        content = redacted_report(content, tokens)
    return said if content is said.content else replace(said, content=content)


def _only_echoed(body: bytes, echoed_url: str | None, tokens: Iterable[str]) -> bool:
    """Tell that every token in the body is that of the echoed URL, which nobody is shown.

    Looking through the bytes is far quicker than through what was read of them, which is large at
    times. A token that is spelled by number is only found there.
    """
    by_number = b"\\u00" in body
    echoed = echoed_url or ""
    return not by_number and all(
        body.count(token.encode()) == echoed.count(token) for token in tokens
    )


def judged(
    said: Said,
    standing: Standing | None,
    known: Facts,
    urls: CallbackUrls,
    *,
    confirm_first: bool,
    anothers: bool = False,
) -> Judgement:
    """Judge it by the rules of the way on which it came.

    `known`: what is kept of an end. `confirm_first`: the end that a callback reports is only
    believed from a query. `anothers`: the id that it would bind is another task's. Raises
    `NoSuchArrowError` where a rule asks for a move that the task cannot make.
    """
    if anothers and isinstance(said, Statement):
        return Judgement(verdict=Verdict.DISAGREED)
    judgement = _judgement(said, standing, known, urls, confirm_first=confirm_first)
    if standing is not None and judgement.target is not None:
        move(standing, judgement.target, said.source if isinstance(said, Statement) else None)
    return judgement


def _judgement(
    said: Said,
    standing: Standing | None,
    known: Facts,
    urls: CallbackUrls,
    *,
    confirm_first: bool,
) -> Judgement:
    if isinstance(said, CreateAnswer):
        if standing is None:
            return Judgement(verdict=Verdict.UNMATCHED)
        return judge_create(standing, said.attempt, said.outcome, said.tries)
    echo = urls.echo(said.task_id, said.echoed_url)
    if said.source is Source.CALLBACK:
        return judge_callback(
            standing,
            known,
            said.content,
            said.signature,
            echo=echo,
            confirm_first=confirm_first,
        )
    if standing is None or said.report is None:
        return Judgement(verdict=Verdict.UNMATCHED)
    return judge_query(standing, known, said.report, echo=echo, alleged=said.alleged)


def brought_id(said: Said) -> str | None:
    """Return kie.ai's id that it would bind; None: it names none, or is no proof of one."""
    if isinstance(said, CreateAnswer):
        return said.outcome.kie_task_id if isinstance(said.outcome, Accepted) else None
    if said.source is Source.CALLBACK or said.report is None:
        return None
    return said.report.kie_task_ids[0] if said.report.kie_task_ids else None


def disowned(said: OneSaid) -> OneSaid:
    """Return what remains of it where the id that it brings is another task's: nobody knows."""
    if isinstance(said, CreateAnswer):
        return replace(said, outcome=Unknown(reason="kie.ai answered with another task's id"))
    return said


def is_kept(statement: Statement, judgement: Judgement) -> bool:
    """Tell whether its bytes are stored: of every callback, and of a query that reports an end."""
    if statement.source is Source.CALLBACK:
        return True
    return statement.ends and judgement.verdict not in {Verdict.UNVERIFIED, Verdict.UNMATCHED}
