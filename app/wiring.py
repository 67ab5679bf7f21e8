"""Builds everything once and closes it in reverse. Clock and chance are born here."""

import random
import secrets
import time
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib import metadata
from uuid import UUID

import aiohttp
import httpx
from pydantic import SecretStr
from uuid_utils.compat import uuid7

from app.config import Settings, variable
from app.domain.admission import Limit, Limits, QueueBounds
from app.domain.callback_url import CallbackUrls, derive
from app.domain.fence import Instant
from app.domain.limits import ClientLimits, Limited
from app.domain.load import Bounds
from app.domain.policy import Confirm, Policy
from app.domain.replicas import SHARED_SETTINGS, fingerprint
from app.domain.retention import retention
from app.kie.client import KieClient, http_client
from app.metrics import Metrics
from app.outbound.connections import session
from app.outbound.guard import Guard, PrivateNetworks
from app.outbound.sender import Sender
from app.services.account.admission import Admission
from app.services.account.pauses import Pauses
from app.services.account.probe import Account
from app.services.account.restores import Restores
from app.services.account.witness import Self, Witness
from app.services.clients.admin_keys import AdminKeys
from app.services.clients.authentication import Authentication
from app.services.clients.keys import Keys
from app.services.clients.known_keys import KnownKeys
from app.services.clients.limits import Limits as ClientsLimits
from app.services.clients.resealing import Resealing
from app.services.clients.settings import Clients
from app.services.clients.uses import Uses
from app.services.clients.vault import Vault
from app.services.deliveries.budget import Budget
from app.services.deliveries.deliver import Deliverer, Trying
from app.services.deliveries.history import Deliveries
from app.services.deliveries.outbox import Outbox
from app.services.deliveries.signing import Signing
from app.services.dropin import DropIn
from app.services.health import Health
from app.services.limits.refusals import LimitRefusals
from app.services.limits.under_way import UnderWay
from app.services.metrics import MetricsPage
from app.services.services import ApiSettings, Services
from app.services.shutdown import Shutdown
from app.services.spend.bookkeeping import Bookkeeping
from app.services.spend.budgets import Budgets
from app.services.spend.spending import Spending
from app.services.spend.usage import Usage
from app.services.tasks.bulk import Bulk
from app.services.tasks.commands import Commands
from app.services.tasks.create import Creates
from app.services.tasks.erasure import Erasure
from app.services.tasks.events import Feed
from app.services.tasks.intake import Intake
from app.services.tasks.leases import Leases
from app.services.tasks.lifecycle import Lifecycle
from app.services.tasks.numbering import Numbering
from app.services.tasks.poll import Poller
from app.services.tasks.read import Reader
from app.services.tasks.receive import Receiver
from app.services.tasks.removal import Removal
from app.services.tasks.retention import Retainer
from app.services.tasks.streams import Streams
from app.services.tasks.stuck import StuckTasks
from app.services.tasks.submit import Submitter
from app.services.tasks.sweep import Sweeper
from app.services.tasks.waiters import Waiters
from app.store.engine import Pools
from app.store.signals import Signals

CONNECT_TIMEOUT = 5.0
"""Seconds for TCP and TLS with kie.ai: over it, the request is proved not to have been sent."""


DAY = 86_400.0
"""Seconds."""


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_id() -> UUID:
    """Make a UUIDv7 (RFC 9562): new rows lie beside each other in every index."""
    return uuid7()


_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def both_clocks() -> Instant:
    """Read the clock that a sleeping machine does not stop, and the one on the wall."""
    return Instant(boot=time.clock_gettime(_BOOT), wall=time.time())


@asynccontextmanager
async def wired(
    settings: Settings,
    dsn: str,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    clocks: Callable[[], Instant] = both_clocks,
) -> AsyncIterator[Services]:
    """Lend the services over the database at `dsn`; connections open when first needed."""
    pools = Pools.of(dsn, settings.database_pool_size)
    listen_url = settings.database_listen_url
    signals = Signals(listen_url.get_secret_value() if listen_url else dsn)
    try:
        async with (
            _kie_http(settings) as http,
            session(
                _guard(settings), connect=CONNECT_TIMEOUT, ca_bundle=_ca_bundle(settings)
            ) as callers,
        ):
            yield build(settings, pools, signals, http, callers, monotonic, clocks)
    finally:
        await pools.dispose()


def _guard(settings: Settings) -> Guard:
    return Guard(
        allow_loopback=settings.delivery_allow_loopback,
        blocked=settings.delivery_blocked_networks,
        private=PrivateNetworks(settings.delivery_private_networks),
    )


def _ca_bundle(settings: Settings) -> str | None:
    return str(settings.ca_bundle) if settings.ca_bundle else None


def _kie_http(settings: Settings) -> httpx.AsyncClient:
    proxy = settings.egress_proxy
    return http_client(
        connect=CONNECT_TIMEOUT,
        read=None,
        write=settings.kie_timeout,
        pool=settings.kie_timeout,
        ca_bundle=_ca_bundle(settings),
        proxy=proxy.get_secret_value() if proxy else None,
    )


def build(
    settings: Settings,
    pools: Pools,
    signals: Signals,
    http: httpx.AsyncClient,
    callers: aiohttp.ClientSession,
    monotonic: Callable[[], float] = time.monotonic,
    clocks: Callable[[], Instant] = both_clocks,
) -> Services:
    """Build the services upon what `wired` opens and closes."""
    secret_keys = [secret.get_secret_value() for secret in settings.secret_keys]
    hmac_keys = [key.get_secret_value().encode() for key in settings.kie_webhook_hmac_keys]
    admin_key = settings.admin_key.get_secret_value() if settings.admin_key else None
    policy = _policy(settings)
    callback_keys = [secret.get_secret_value() for secret in settings.callback_keys]
    tokens = [derive(secret, "callback-token") for secret in (*callback_keys, *secret_keys)]
    urls = CallbackUrls(tokens, settings.public_url)
    kie = KieClient(
        http,
        base_url=settings.kie_base_url,
        api_key=settings.kie_api_key.get_secret_value() if settings.kie_api_key else "",
        timeout=settings.kie_timeout,
        max_answer=settings.kie_max_answer_bytes,
    )
    database, working = pools.callers, pools.working
    metrics = Metrics(metadata.version("kie-gateway"), utc_now, monotonic)
    under_way = UnderWay(_bounds(settings), _overloaded(metrics))
    leases = Leases(working, policy.lease)
    waiters = Waiters(working, signals)
    streams = Streams(working, signals)
    uses = Uses(working)
    known_keys = KnownKeys(metrics.now)
    signals.tap(known_keys.hear)
    guard = _guard(settings)
    vault = Vault(secret_keys)
    chance = random.SystemRandom().random
    ourselves = _ourselves(settings, new_id(), utc_now())
    clients_limits = ClientsLimits(_client_limits(settings), metrics)
    outbox = Outbox(new_id, settings.delivery_schedule[0], metrics)
    health = Health(working, monotonic, policy.limits)
    for_callers = Lifecycle(database, signals, outbox, policy, chance, metrics)
    lifecycle = Lifecycle(working, signals, outbox, policy, chance, metrics)
    removal = Removal(metrics)
    kept_for = retention(
        days=settings.retention_days,
        raw_days=settings.raw_retention_days,
        token_days=settings.callback_token_days,
    )
    witness = Witness(working, lifecycle.run, ourselves, utc_now, metrics)
    admission = Admission(working, policy, chance, witness, clocks)
    intake = Intake(lifecycle, urls, policy, metrics)
    submitter = Submitter(intake, kie, leases, urls, admission, new_id, metrics)
    account = Account(working, kie, lifecycle.run, policy, chance)
    budgets = Budgets(database)
    shutdown = Shutdown(settings.shutdown_timeout, monotonic)
    for stop in (submitter.stop, health.end, waiters.close):
        shutdown.stops(stop)
    return Services(
        authentication=Authentication(
            database, uses, clients_limits, admin_key, metrics, known_keys
        ),
        uses=uses,
        limits=clients_limits,
        keys=Keys(database, vault, new_id, secrets.token_bytes, known_keys.forget),
        admin_keys=AdminKeys(database, new_id, secrets.token_bytes),
        lifecycle=lifecycle,
        intake=intake,
        creates=Creates(
            *(for_callers, submitter, guard, policy, new_id),
            Spending(metrics),
            metrics,
        ),
        submitter=submitter,
        receiver=Receiver(
            *(intake, urls, hmac_keys, new_id, utc_now, metrics),
            token_life=settings.callback_token_days * DAY,
        ),
        poller=Poller(working, intake, kie, leases, policy, new_id, chance, metrics),
        account=account,
        pauses=Pauses(database, lifecycle.run, policy),
        restores=Restores(lifecycle.run, witness),
        stuck=StuckTasks(database, lifecycle, kie, urls),
        bulk=Bulk(database, lifecycle, new_id),
        clients=Clients(database, guard, known_keys.forget),
        resealing=Resealing(database, vault, new_id),
        deliverer=Deliverer(
            working,
            signals.announce,
            Sender(callers, guard, settings.delivery_timeout),
            Signing(vault),
            Trying(schedule=settings.delivery_schedule, timeout=settings.delivery_timeout),
            chance,
            metrics,
        ),
        deliveries=Deliveries(
            database,
            for_callers.run,
            new_id,
            Budget(settings.client_redeliveries_per_minute, metrics),
        ),
        dropin=DropIn(database, kie, account, budgets),
        budgets=budgets,
        usage=Usage(database, utc_now),
        sweeper=Sweeper(
            working,
            lifecycle,
            Bookkeeping(working, lifecycle.run, new_id, settings.delivery_schedule[0], metrics),
        ),
        erasure=Erasure(database, for_callers, removal),
        retainer=Retainer(
            lifecycle, removal, Erasure(working, lifecycle, removal), kept_for, metrics
        ),
        reader=Reader(database, waiters, urls, policy.limits),
        commands=Commands(database, signals, for_callers, metrics),
        feed=Feed(database, streams, waiters),
        streams=streams,
        numbering=Numbering(working, signals, new_id(), monotonic),
        waiters=waiters,
        witness=witness,
        leases=leases,
        signals=signals,
        health=health,
        shutdown=shutdown,
        under_way=under_way,
        metrics=metrics,
        metrics_page=MetricsPage(
            pools, under_way, health, metrics, monotonic, policy.limits, kept_for
        ),
        kie=kie,
        api=_api(settings),
    )


def _overloaded(metrics: Metrics) -> Callable[[Hashable], None]:
    """Return what counts a request that was one too many, and logs whose it was."""
    refusals = LimitRefusals(metrics)

    def note(whose: Hashable) -> None:
        metrics.overloaded()
        refusals.note(Limited.OVERLOADED, whose)

    return note


def _bounds(settings: Settings) -> Bounds:
    return Bounds(requests=settings.max_concurrent_requests, size=settings.max_bytes_in_flight)


def _api(settings: Settings) -> ApiSettings:
    return ApiSettings(
        max_body_bytes=settings.max_body_bytes,
        max_json_values=settings.max_json_values,
        max_callback_bytes=settings.kie_max_answer_bytes,
        submit_wait=settings.submit_wait,
    )


def _client_limits(settings: Settings) -> ClientLimits:
    return ClientLimits(
        requests_per_second=settings.client_requests_per_second,
        streams=settings.client_streams,
        waits=settings.client_waits,
        max_held=settings.max_held,
    )


def _ourselves(settings: Settings, me: UUID, started_at: datetime) -> Self:
    """Return what the process tells the others of itself: so they notice where they differ."""
    found = {name: getattr(settings, name) for name in Settings.model_fields}
    shared = {name: found[name] for name in found if variable(name) in SHARED_SETTINGS}
    secrets_of = {name: shared.pop(name) for name in ("secret_keys", "callback_keys")}
    kie_api_key = shared.pop("kie_api_key")
    # Whose limits they are matters only where kie.ai is called.
    values = {} if settings.receives_only else {name: str(value) for name, value in shared.items()}
    if settings.secret_keys:
        values["secret_keys"] = _fingerprint_of(secrets_of["secret_keys"])
    # Who has none signs with the others: that differs from who has some.
    values["callback_keys"] = _fingerprint_of(secrets_of["callback_keys"])
    if kie_api_key is not None:
        values["kie_api_key"] = fingerprint(kie_api_key.get_secret_value())
    return Self(
        id=me,
        version=metadata.version("kie-gateway"),
        started_at=started_at,
        fingerprints={variable(name): value for name, value in values.items()},
    )


def _fingerprint_of(keys: Sequence[SecretStr]) -> str:
    return fingerprint(" ".join(key.get_secret_value() for key in keys))


def _confirm(settings: Settings) -> Confirm:
    asked = Confirm(settings.kie_confirm)
    if asked is not Confirm.AUTO:
        return asked
    return Confirm.AFTER if settings.kie_webhook_hmac_keys else Confirm.BEFORE


def _policy(settings: Settings) -> Policy:
    return Policy(
        submit_within=settings.submit_within,
        task_expires_after=settings.task_expires_after,
        unconfirmed_expires_after=settings.unconfirmed_expires_after,
        confirm=_confirm(settings),
        callbacks_expected=settings.public_url is not None or settings.receives_only,
        limits=Limits(
            creates=Limit(calls=settings.kie_creates_per_10s, window=settings.kie_create_window),
            queries=Limit.per_second(settings.kie_queries_per_second),
            running=settings.kie_max_running,
            running_share=settings.client_running_share,
        ),
        queue=QueueBounds(tasks=settings.client_queued_tasks, bytes=settings.client_queued_bytes),
        call=settings.kie_timeout,
        unknown_cost=settings.budget_unknown_model_cost,
    )
