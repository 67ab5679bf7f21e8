"""Receiving kie.ai's webhooks: stored before they are answered, whatever they say."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import structlog

from app.domain.callback_url import CallbackUrls
from app.domain.errors import NotFoundError
from app.domain.evidence import Judgement, Verdict, judge_callback
from app.domain.policy import Confirm, Policy
from app.domain.redact import redacted_report
from app.domain.report import Report, Unreadable
from app.domain.task import FINAL, Source
from app.kie.signature import verify
from app.kie.wire import read_callback
from app.metrics import Metrics
from app.services.tasks.lifecycle import Settling
from app.store.clients import audit
from app.store.engine import Connection, Database
from app.store.signals import DELIVER, POLL, QUEUE, Signals
from app.store.tasks import callbacks, rows
from app.store.tasks.callbacks import NewCallback

PATIENCE = 12.0
"""Seconds to keep trying while PostgreSQL is away: kie.ai waits 15 for an answer."""

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
        database: Database,
        signals: Signals,
        urls: CallbackUrls,
        settling: Settling,
        policy: Policy,
        hmac_keys: Sequence[bytes],
        new_id: Callable[[], UUID],
        clock: Callable[[], datetime],
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._signals = signals
        self._urls = urls
        self._settling = settling
        self._confirm_first = policy.confirm is Confirm.BEFORE
        self._hmac_keys = hmac_keys
        self._new_id = new_id
        self._clock = clock
        self._metrics = metrics

    def admit(self, task_id: UUID, token: str) -> None:
        """Refuse what no create of ours can have caused; raises `NotFoundError`."""
        if not self._urls.verifies(task_id, token):
            log.warning("callback.wrong_token", task_id=str(task_id))
            self._metrics.rejected()
            detail = "No such callback address."
            raise NotFoundError(detail)

    async def receive(self, task_id: UUID, body: bytes, headers: Mapping[str, str]) -> Verdict:
        """Store one callback that was admitted and apply it; on return it is committed.

        `headers` have lower-case names. Raises `DatabaseUnavailableError` after `PATIENCE`.
        """
        statement = read_callback(body)
        if isinstance(statement, Report):
            statement = redacted_report(statement, self._urls.tokens(task_id))
        signature = verify(
            self._hmac_keys,
            statement.kie_task_ids if isinstance(statement, Report) else (),
            headers.get("x-webhook-timestamp"),
            headers.get("x-webhook-signature"),
            self._clock(),
        )
        callback = NewCallback(
            id=self._new_id(),
            task_id=task_id,
            source=Source.CALLBACK,
            body=body,
            headers={name: headers[name] for name in KEPT_HEADERS if name in headers},
            signature=signature,
        )
        judgement = await self._database.run(
            lambda connection: self._keep(connection, callback, statement), patience=PATIENCE
        )
        self._signals.announce(task_id.hex, POLL, QUEUE, DELIVER)
        self._count(task_id, judgement)
        log.info("callback.received", task_id=str(task_id), verdict=judgement.verdict)
        return judgement.verdict

    def _count(self, task_id: UUID, judgement: Judgement) -> None:
        """Count after the commit."""
        self._metrics.called_back(judgement.verdict)
        if judgement.verdict is Verdict.DISAGREED:
            self._metrics.disagreed(Source.CALLBACK)
        if judgement.second_id is not None:
            log.error("task.paid_twice", task_id=str(task_id))
            self._metrics.paid_twice()
        if judgement.target in FINAL:
            self._metrics.settled(task_id, Source.CALLBACK, judgement.target)

    async def _keep(
        self, connection: Connection, callback: NewCallback, statement: Report | Unreadable
    ) -> Judgement:
        standing = await rows.lock_task(connection, callback.task_id)
        report = statement if isinstance(statement, Report) else None
        judgement = judge_callback(
            standing,
            statement,
            callback.signature,
            foreign=self._urls.is_foreign(
                callback.task_id, report.callback_url if report else None
            ),
            confirm_first=self._confirm_first,
        )
        stored = await callbacks.insert_callback(
            connection,
            callback,
            judgement.verdict,
            report=report,
            reason=statement.reason if isinstance(statement, Unreadable) else None,
        )
        if stored and standing is not None:
            if judgement.second_id is not None:
                await audit.note_paid_twice(
                    connection,
                    callback.task_id,
                    known=standing.kie_task_id,
                    second=judgement.second_id,
                )
            await self._settling.apply(
                connection, callback.task_id, standing, judgement, report, Source.CALLBACK
            )
        return judgement
