"""Delivering: claim, send, settle; no transaction is open while anything is on the network."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog

from app.domain.audit import Action
from app.domain.delivery import (
    FAILING_FOR,
    NOTED_FROM,
    SLOW_AFTER,
    TROUBLED_AFTER,
    After,
    DeliveryState,
    DisableReason,
    Obstacle,
    after_attempt,
    is_dead,
    is_hopeless,
    is_placeholder,
    webhook_id,
)
from app.domain.dialect import Dialect
from app.domain.errors import DatabaseUnavailableError
from app.log import Sampled
from app.metrics import Metrics
from app.outbound.sender import Sender, Sent
from app.services.clients.vault import UnopenedSecretError
from app.services.deliveries.signing import Signing
from app.services.inflight import InFlight
from app.store import signals
from app.store.clients import audit
from app.store.connections.engine import Connection, Database, after_commit
from app.store.deliveries import attempts, health, urls
from app.store.deliveries.attempts import Attempt, DueDelivery
from app.store.signals import DELIVER
from app.traces import Step, Traces

AT_ONCE = 100
"""Deliveries that one process has under way at most."""

PER_HOST = 10
"""To any one host, over all processes: a slow one must not take them all."""

MOST_HASH = 2**63
"""Lanes are numbered from its negative up to it."""

GATHER = 0.02
"""Seconds between claims at least: what comes in quick succession is claimed together."""

LEASE_MARGIN = 15.0
"""Seconds beyond an attempt's timeout until others may try: time enough to settle it."""

SETTLE_PATIENCE = 60.0

SAID_EVERY = 60.0
"""Seconds between log lines that name the same client and host as slow, or as held."""

FORGOTTEN_AFTER = 2 * FAILING_FOR
"""Seconds after which a URL that failed, and was not called since, counts as new."""

UNSIGNED = "not sent: its signing secret was sealed with a GATEWAY_SECRET_KEYS entry that is gone"

NOT_SENT = Sent(
    seconds=0.0,
    error="blocked: the URL has a host that examples are written with",
    obstacle=Obstacle.PLACEHOLDER,
)
"""What becomes of a result that would go to a stranger who owns an example's domain."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trying:
    """How attempts are made; all in seconds."""

    schedule: Sequence[float]
    """The waits before each attempt."""
    timeout: float


class Deliverer:
    """Tells callers, at least once, for as long as the schedule says."""

    def __init__(
        self,
        database: Database,
        announce: Callable[[str], None],
        sender: Sender,
        signing: Signing,
        trying: Trying,
        chance: Callable[[], float],
        metrics: Metrics,
        traces: Traces,
    ) -> None:
        self._traces = traces
        self._database = database
        self._announce = announce
        self._sender = sender
        self._signing = signing
        self._schedule = tuple(trying.schedule)
        self._lease = trying.timeout + LEASE_MARGIN
        self._chance = chance
        self._metrics = metrics
        self._in_flight = InFlight()
        self._claiming = asyncio.Lock()
        self._claimed_at = 0.0
        self._under_way = 0
        self._more = False
        """Whether something due waits for a place."""
        self._taking = False
        """Whether an attempt that ended is about to give up its place."""
        self._draining = False
        self._said = Sampled(every=SAID_EVERY)

    async def deliver_due(self) -> float | None:
        """Try the deliveries that are due; None: nobody knows when there will be more.

        What is due and has to wait for a place is taken when an attempt gives one up.
        """
        async with self._claiming:
            await self._gather()
            await self._claim()
        return None

    async def drain(self) -> None:
        """Wait until every attempt that was started is settled; none is started meanwhile."""
        self._draining = True
        try:
            await self._in_flight.drain()
        finally:
            self._draining = False

    async def _claim(self) -> None:
        self._claimed_at = asyncio.get_running_loop().time()
        room = AT_ONCE - self._under_way
        self._more = room <= 0
        if self._more:
            return
        async with self._database.begin() as connection:
            claimed = await attempts.claim_due(
                connection,
                room=room,
                per_host=PER_HOST,
                lease=self._lease,
                start=round((2 * self._chance() - 1) * (MOST_HASH - 1024)),
            )
        self._under_way += len(claimed.due)
        self._more = claimed.more
        for delivery in claimed.due:
            self._in_flight.start(self._carry(delivery), f"deliver {delivery.id}")

    async def _carry(self, delivery: DueDelivery) -> None:
        """Try it, and give its place to what waits for one."""
        try:
            await self._deliver(delivery)
        finally:
            self._under_way -= 1
        if self._draining or self._taking or not self._more:
            return
        self._taking = True  # for all that end meanwhile
        async with self._claiming:
            try:
                await self._gather()
            finally:
                self._taking = False
            if self._more:  # else somebody took it for us just now
                with suppress(DatabaseUnavailableError):  # the loop's next turn comes anyway
                    await self._claim()

    async def _gather(self) -> None:
        await asyncio.sleep(self._claimed_at + GATHER - asyncio.get_running_loop().time())

    async def _deliver(self, delivery: DueDelivery) -> None:
        sent, after = await self._try(delivery)
        try:
            settled = await self._database.run(
                lambda connection: self._settle(connection, delivery, sent, after),
                patience=SETTLE_PATIENCE,
                at_once=_is_settled_at_once(delivery, sent, after),
            )
        except DatabaseUnavailableError:
            log.warning("delivery.database_away", delivery_id=str(delivery.id))
            return  # its lease runs out and it is sent again, under the same webhook-id
        if settled is None:
            return
        if settled.state is DeliveryState.PENDING:
            self._announce(signals.after(DELIVER, settled.wait or 0.0))
        if delivery.noted:
            self._announce(DELIVER)  # what waited behind it may go
        self._count(delivery, sent, settled)

    async def _try(self, delivery: DueDelivery) -> tuple[Sent, After]:
        """Send it once; returns what became of that, and what follows."""
        tries = delivery.tries + 1
        with self._traces.span(Step.DELIVERY, delivery.traceparent) as span:
            sent = await self._send(delivery, span.traceparent)
            after = after_attempt(
                sent.status,
                tries,
                self._schedule,
                retry_after=sent.retry_after,
                share=self._chance(),
                hopeless=is_hopeless(sent.obstacle, Dialect(delivery.dialect), tries),
            )
            span.note(
                task_id=delivery.task_id,
                client_id=delivery.client_id,
                attempt=tries,
                outcome=_label(sent, after),
            )
        return sent, after

    async def _send(self, delivery: DueDelivery, traceparent: str | None) -> Sent:
        if delivery.dialect == Dialect.KIE and is_placeholder(delivery.host):
            return NOT_SENT
        now = delivery.claimed_at
        secrets = [delivery.signing_secret, delivery.previous_secret]
        message = webhook_id(delivery.id.hex)
        try:
            headers = self._signing.headers(message, now, delivery.body, secrets)
            if delivery.dialect == Dialect.KIE and delivery.task_id is not None:
                task_id, newest = delivery.task_id.hex, delivery.signing_secret
                headers |= self._signing.kie_headers(task_id, now, newest)
            if traceparent is not None:
                headers["traceparent"] = traceparent
        except UnopenedSecretError:
            return Sent(seconds=0.0, error=UNSIGNED)
        # A native URL was vetted when its task was created: it is delivered to as it was then, but
        # for private networks, where its client's hosts may decide.
        return await self._sender.post(
            delivery.url,
            delivery.body,
            headers,
            delivery.webhook_hosts,
            others=delivery.dialect == Dialect.NATIVE,
        )

    async def _settle(
        self, connection: Connection, delivery: DueDelivery, sent: Sent, after: After
    ) -> After | None:
        """Keep the attempt and what follows from it; None: another process was faster."""
        attempt = Attempt(
            delivery_id=delivery.id,
            number=delivery.tries + 1,
            seconds=sent.seconds,
            status=sent.status,
            error=sent.error,
            address=sent.address,
            answer=sent.answer,
            answer_bytes=sent.answer_bytes,
            answer_type=sent.answer_type,
        )
        if not await attempts.settle(connection, attempt, after.state, wait=after.wait):
            return None
        if sent.error == UNSIGNED or after.is_hopeless:
            return after
        await self._note_health(connection, delivery, sent)
        if after.state is not DeliveryState.DELIVERED:
            return await self._note_failure(connection, delivery, after)
        if delivery.failing:
            await urls.succeeded(connection, delivery.client_id, delivery.url)
        return after

    async def _note_health(self, connection: Connection, delivery: DueDelivery, sent: Sent) -> None:
        where = (delivery.client_id, delivery.url, delivery.host)
        if sent.status is None:
            failures, held = await health.failed(connection, *where, sent.seconds)
            after_commit(connection, lambda: self._announce(signals.after(DELIVER, held)))
            if failures >= TROUBLED_AFTER:
                self._say("delivery.held", delivery)
            return
        mean = await health.answered(connection, *where, sent.seconds, noted=delivery.noted)
        if mean > SLOW_AFTER:
            self._say("delivery.slow", delivery)

    def _say(self, what: str, delivery: DueDelivery) -> None:
        """Name client and host, now and then for each."""
        suppressed = self._said.admit(f"{what} {delivery.client_id} {delivery.host}")
        if suppressed is not None:
            client_id = str(delivery.client_id)
            log.warning(what, client_id=client_id, host=delivery.host, suppressed=suppressed)

    async def _note_failure(
        self, connection: Connection, delivery: DueDelivery, after: After
    ) -> After:
        """Disable the URL where that is due; returns what follows, with the reason if it was."""
        exhausted = after.state is DeliveryState.EXHAUSTED
        client, url = delivery.client_id, delivery.url
        failing = await urls.failed(connection, client, url, exhausted=exhausted)
        if exhausted:
            await urls.forget(connection, FORGOTTEN_AFTER)
            await health.forget(connection, FORGOTTEN_AFTER)
        dead = is_dead(*failing) or await urls.is_disabled(connection, client, url)
        reason = after.disables or (DisableReason.FAILING if dead else None)
        name = await urls.disable(connection, client, url, reason) if reason else None
        if name is not None:
            detail = {"webhook_host": delivery.host, "reason": str(reason)}
            await audit.note(connection, Action.URL_DISABLED, client=name, detail=detail)
        return replace(after, disables=None if name is None else reason)

    def _count(self, delivery: DueDelivery, sent: Sent, after: After) -> None:
        """Count after the commit."""
        lag = delivery.age + sent.seconds
        self._metrics.attempted(_label(sent, after), first=delivery.tries == 0, lag=lag)
        if after.state is DeliveryState.EXHAUSTED:
            self._metrics.exhausted()
        if after.state is DeliveryState.UNDELIVERABLE:
            self._metrics.undeliverable()
        if after.disables is not None:
            self._metrics.url_disabled(after.disables)
            log.warning(
                "delivery.url_disabled",
                client_id=str(delivery.client_id),
                host=delivery.host,
                reason=after.disables,
            )
        log.info(
            "delivery.attempted",
            delivery_id=str(delivery.id),
            number=delivery.tries + 1,
            status=sent.status,
            state=after.state,
        )


def _is_settled_at_once(delivery: DueDelivery, sent: Sent, after: After) -> bool:
    """Tell whether nothing is to be noted of its URL: then one statement is all."""
    is_quick = sent.status is not None and sent.seconds < NOTED_FROM
    is_well = is_quick and not (delivery.noted or delivery.failing)
    return is_well and after.state is DeliveryState.DELIVERED


def _label(sent: Sent, after: After) -> str:
    if after.state is DeliveryState.UNDELIVERABLE:
        return "impossible"
    if sent.status is None:
        return "unanswered"
    known = {DeliveryState.DELIVERED: "delivered", DeliveryState.DISABLED: "gone"}
    return known.get(after.state, "refused")
