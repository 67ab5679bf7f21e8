"""Receiving kie.ai's webhooks: stored before they are answered, whatever they say."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import NoReturn
from uuid import UUID

import structlog

from app.domain.callback_url import CallbackUrls
from app.domain.errors import NotFoundError
from app.domain.evidence import Verdict
from app.domain.report import Report, Unreadable
from app.domain.statement import Statement
from app.domain.task import Source, created_at
from app.kie.reading import apart
from app.kie.signature import verify
from app.kie.wire import read_callback
from app.log import Sampled
from app.metrics import Metrics
from app.services.consequences import Consequences
from app.services.tasks.intake import Applied, Intake
from app.store.connections.engine import Connection
from app.store.connections.sharing import SENDER_WAITS, errand
from app.store.tasks import rows
from app.traces import Span, Step, Traces

PATIENCE = 12.0
"""Seconds to keep trying while PostgreSQL is away: kie.ai waits 15 for an answer."""

CUT_OFF = Unreadable(reason="larger than GATEWAY_KIE_MAX_ANSWER_BYTES, or slower than we wait")
"""What is said of a body of which only the head is kept."""

KEPT_HEADERS = (
    "content-type",
    "content-length",
    "user-agent",
    "x-request-id",
    "x-webhook-timestamp",
    "x-webhook-signature",
)
"""The headers that matter when somebody asks later what came."""

log = structlog.get_logger(__name__)


class Receiver:
    """Keeps every callback whose token is right; believes those that are genuine."""

    def __init__(
        self,
        intake: Intake,
        urls: CallbackUrls,
        hmac_keys: Sequence[bytes],
        new_id: Callable[[], UUID],
        clock: Callable[[], datetime],
        metrics: Metrics,
        traces: Traces,
        token_life: float,
    ) -> None:
        """`token_life`: seconds after its task's final state for which a callback URL is good."""
        self._traces = traces
        self._intake = intake
        self._urls = urls
        self._hmac_keys = hmac_keys
        self._new_id = new_id
        self._clock = clock
        self._metrics = metrics
        self._token_life = token_life
        self._refusals = Sampled(clock=metrics.now)

    def admit(self, task_id: UUID, token: str) -> None:
        """Refuse what no create of ours can have caused; raises `NotFoundError`."""
        if not self._urls.verifies(task_id, token):
            self._refuse("callback.wrong_token", task_id)

    def _refuse(self, event: str, task_id: UUID) -> NoReturn:
        self._metrics.rejected()
        suppressed = self._refusals.admit(event)
        if suppressed is not None:
            log.warning(event, task_id=str(task_id), suppressed=suppressed)
        detail = "No such callback address."
        raise NotFoundError(detail)

    async def receive(
        self, task_id: UUID, body: bytes, headers: Mapping[str, str], *, whole: bool = True
    ) -> Verdict:
        """Store one callback that was admitted and apply it; on return it is committed.

        `headers` have lower-case names. Of a body that is not `whole` nothing is believed, and
        kie.ai is asked. Raises `DatabaseUnavailableError` after `PATIENCE`, and `NotFoundError`
        where the URL has ended.
        """
        with errand(SENDER_WAITS), self._traces.span(Step.CALLBACK) as span:
            content = await apart(read_callback, body) if whole else CUT_OFF
            callback = self._statement(task_id, body, headers, content)

            async def work(
                connection: Connection, consequences: Consequences
            ) -> Applied[Statement] | None:
                if await self._has_ended(connection, task_id):
                    return None
                applied = await self._intake.apply(connection, consequences, callback)
                verdict = applied.judgement.verdict
                consequences.count(partial(self._metrics.called_back, verdict))
                return applied

            applied = await self._intake.run(work, patience=PATIENCE, insist=True)
            if applied is None:
                self._refuse("callback.url_ended", task_id)
            _note(span, applied)
        verdict = applied.judgement.verdict
        log.info("callback.received", task_id=str(task_id), verdict=verdict)
        return verdict

    async def _has_ended(self, connection: Connection, task_id: UUID) -> bool:
        """Tell whether the task's URL is good no more.

        The token cannot say so: it is computed, not stored. The id has the task's age, so
        PostgreSQL is asked about old tasks only.
        """
        age = self._clock().timestamp() - created_at(task_id)
        return age > self._token_life and await rows.has_rested(
            connection, task_id, seconds=self._token_life
        )

    def _statement(
        self,
        task_id: UUID,
        body: bytes,
        headers: Mapping[str, str],
        content: Report | Unreadable,
    ) -> Statement:
        """Say what came, and how far its signature vouches for it."""
        return Statement(
            id=self._new_id(),
            task_id=task_id,
            source=Source.CALLBACK,
            body=body,
            content=content,
            headers={name: headers[name] for name in KEPT_HEADERS if name in headers},
            whole=content is not CUT_OFF,
            signature=verify(
                self._hmac_keys,
                content.kie_task_ids if isinstance(content, Report) else (),
                headers.get("x-webhook-timestamp"),
                headers.get("x-webhook-signature"),
                self._clock(),
            ),
        )


def _note(span: Span, applied: Applied[Statement]) -> None:
    """Put a callback into its task's trace, now that the task was read."""
    standing, judgement = applied.standing, applied.judgement
    if standing is not None:
        span.under(standing.traceparent)
        span.note(model=standing.model, state=judgement.target or standing.state)
    span.note(task_id=applied.said.task_id, outcome=judgement.verdict)
