"""Builds everything once and closes it in reverse. Clock and chance are born here."""

import random
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib import metadata
from uuid import UUID

import aiohttp
from uuid_utils.compat import uuid7

from app.config import Settings
from app.domain.callback_url import CallbackUrls, derive
from app.domain.fence import Instant
from app.domain.limits import Limited
from app.domain.pace import Paces
from app.kie.client import KieClient, http_client
from app.kie.uploads import KieUploads, upload_session
from app.metrics import Metrics
from app.outbound.archive import Archive
from app.outbound.connections import session
from app.outbound.fetch import Fetcher
from app.outbound.sender import Sender
from app.services.account.admission import Admission
from app.services.account.pauses import Pauses
from app.services.account.probe import Account
from app.services.account.restores import Restores
from app.services.account.witness import Witness
from app.services.clients.admin_keys import AdminKeys
from app.services.clients.authentication import Authentication
from app.services.clients.keys import Keys
from app.services.clients.known_keys import KnownKeys
from app.services.clients.limits import Limits as ClientsLimits
from app.services.clients.resealing import Resealing
from app.services.clients.sessions import Sessions
from app.services.clients.settings import Clients
from app.services.clients.uses import Uses
from app.services.clients.vault import Vault
from app.services.consequences import Transactions
from app.services.deliveries.budget import Budget
from app.services.deliveries.deliver import Deliverer, Trying
from app.services.deliveries.history import Deliveries
from app.services.deliveries.outbox import Outbox
from app.services.deliveries.signing import Signing
from app.services.dropin import DropIn
from app.services.files.archiver import Archiver
from app.services.files.handout import Handout
from app.services.files.renewal import Renewal
from app.services.files.uploads import Uploads
from app.services.health import Health
from app.services.limits.large import LargeAnswers
from app.services.limits.refusals import noting, overloaded
from app.services.limits.under_way import UnderWay
from app.services.metrics import MetricsPage
from app.services.services import Services
from app.services.shutdown import Shutdown
from app.services.spend.bookkeeping import Bookkeeping
from app.services.spend.budgets import Budgets
from app.services.spend.models import Models
from app.services.spend.reconciliation import ReadingPolicy, Reconciliation
from app.services.spend.spending import Spending
from app.services.spend.usage import Usage
from app.services.tasks.bulk import Bulk
from app.services.tasks.commands import Commands
from app.services.tasks.create import Creates
from app.services.tasks.crowd import Crowd
from app.services.tasks.erasure import Erasure
from app.services.tasks.events import Feed
from app.services.tasks.inputs import Inputs
from app.services.tasks.intake import Intake
from app.services.tasks.leases import Leases
from app.services.tasks.lifecycle import Lifecycle
from app.services.tasks.numbering import Numbering
from app.services.tasks.overview import Overview
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
from app.store.connections.engine import Pools
from app.store.signals import Signals
from app.terms import (
    api_settings,
    archive_terms,
    bounds,
    ca_bundle,
    client_limits,
    egress_proxy,
    files_guard,
    guard_of,
    inputs_guard,
    ourselves_as,
    policy_of,
    retention_of,
    upload_terms,
)
from app.traces import Traces, opened

CONNECT_TIMEOUT = 5.0
"""Seconds for TCP and TLS with kie.ai: over it, the request is proved not to have been sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """The connections of a process to all that is outside, but for PostgreSQL."""

    kie: aiohttp.ClientSession
    callers: aiohttp.ClientSession
    uploading: aiohttp.ClientSession
    fetching: aiohttp.ClientSession
    results: aiohttp.ClientSession | None = None
    """What fetches results for the archive; None: there is none."""


DAY = 86_400.0
"""Seconds."""


def utc_now() -> datetime:
    return datetime.now(UTC)


def today() -> date:
    """Return the day in UTC."""
    return utc_now().date()


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
    traced: bool = False,
) -> AsyncIterator[Services]:
    """Lend the services over the database at `dsn`; connections open when first needed."""
    pools = Pools.of(dsn, settings.database_pool_size)
    listen_url = settings.database_listen_url
    signals = Signals(listen_url.get_secret_value() if listen_url else dsn)
    try:
        async with (
            _kie_http(settings) as http,
            session(
                guard_of(settings), connect=CONNECT_TIMEOUT, ca_bundle=ca_bundle(settings)
            ) as callers,
            _files_http(settings) as results,
            upload_session(connect=CONNECT_TIMEOUT, ca_bundle=ca_bundle(settings)) as uploading,
            session(
                inputs_guard(settings), connect=CONNECT_TIMEOUT, ca_bundle=ca_bundle(settings)
            ) as fetching,
        ):
            outside = Outside(
                kie=http,
                callers=callers,
                uploading=uploading,
                fetching=fetching,
                results=results,
            )
            yield build(settings, pools, signals, outside, monotonic, clocks, traced=traced)
    finally:
        await pools.dispose()


@asynccontextmanager
async def _files_http(settings: Settings) -> AsyncIterator[aiohttp.ClientSession | None]:
    """Lend the client that fetches results; None where nothing is fetched."""
    if settings.archive_url is None:
        yield None
        return
    guard = files_guard(settings)
    async with session(guard, connect=CONNECT_TIMEOUT, fetches=True) as files:
        yield files


def _kie_http(settings: Settings) -> aiohttp.ClientSession:
    return http_client(
        connect=CONNECT_TIMEOUT,
        read=None,
        pool=settings.kie_timeout,
        ca_bundle=ca_bundle(settings),
    )


def build(
    settings: Settings,
    pools: Pools,
    signals: Signals,
    outside: Outside,
    monotonic: Callable[[], float] = time.monotonic,
    clocks: Callable[[], Instant] = both_clocks,
    *,
    traced: bool = False,
) -> Services:
    """Build the services upon what `wired` opens and closes."""
    secret_keys = [secret.get_secret_value() for secret in settings.secret_keys]
    hmac_keys = [key.get_secret_value().encode() for key in settings.kie_webhook_hmac_keys]
    admin_key = settings.admin_key.get_secret_value() if settings.admin_key else None
    policy = policy_of(settings)
    callback_keys = [secret.get_secret_value() for secret in settings.callback_keys]
    tokens = [derive(secret, "callback-token") for secret in (*callback_keys, *secret_keys)]
    urls = CallbackUrls(tokens, settings.public_url)
    kie = KieClient(
        outside.kie,
        base_url=settings.kie_base_url,
        api_key=settings.kie_api_key.get_secret_value() if settings.kie_api_key else "",
        timeout=settings.kie_timeout,
        max_answer=settings.kie_max_answer_bytes,
        proxy=egress_proxy(settings),
    )
    database, working = pools.callers, pools.working
    metrics = Metrics(metadata.version("kie-gateway"), utc_now, monotonic)
    traces = opened(metrics.traced) if traced else Traces()
    under_way = UnderWay(bounds(settings), overloaded(metrics))
    large = LargeAnswers(
        settings.client_large_bytes_per_second, noting(metrics, Limited.LARGE_ANSWERS)
    )
    leases = Leases(working, policy.lease)
    waiters = Waiters(working, signals)
    streams = Streams(working, signals)
    uses = Uses(working)
    known_keys = KnownKeys(metrics.now)
    signals.tap(known_keys.hear)
    guard = guard_of(settings)
    vault = Vault(secret_keys)
    chance = random.SystemRandom().random
    ourselves = ourselves_as(settings, new_id(), utc_now())
    clients_limits = ClientsLimits(client_limits(settings), metrics)
    authentication = Authentication(database, uses, clients_limits, admin_key, metrics, known_keys)
    outbox = Outbox(new_id, settings.delivery_schedule[0], metrics)
    health = Health(working, monotonic, policy.limits)
    paces = Paces()
    for_callers = Lifecycle(Transactions(database, signals), outbox, policy, chance, metrics, paces)
    lifecycle = Lifecycle(Transactions(working, signals), outbox, policy, chance, metrics, paces)
    removal = Removal(metrics)
    kept_for = retention_of(settings)
    witness = Witness(working, lifecycle.run, ourselves, utc_now, metrics)
    admission = Admission(working, policy, chance, witness, clocks)
    intake = Intake(lifecycle, urls, policy, metrics)
    archive = Archive(settings.archive_url) if settings.archive_url else None
    uploads, renewal = _uploads(settings, pools, outside, archive, metrics)
    inputs = Inputs(database, working, renewal.renewed)
    submitter = Submitter(intake, kie, leases, urls, inputs, admission, new_id, metrics, traces)
    account = Account(working, kie, lifecycle.run, policy, chance)
    budgets = Budgets(database)
    fetcher = Fetcher(
        outside.results or outside.callers,
        files_guard(settings),
        stall=settings.archive_stall,
        most=settings.archive_max_bytes,
    )
    handout = Handout(database, archive)
    shutdown = Shutdown(settings.shutdown_timeout, monotonic)
    for stop in (submitter.stop, health.end, waiters.close):
        shutdown.stops(stop)
    return Services(
        authentication=authentication,
        sessions=Sessions(database, authentication, secret_keys, utc_now, secrets.token_bytes),
        uses=uses,
        limits=clients_limits,
        keys=Keys(database, vault, new_id, secrets.token_bytes, known_keys.forget),
        admin_keys=AdminKeys(database, new_id, secrets.token_bytes),
        lifecycle=lifecycle,
        intake=intake,
        creates=Creates(
            *(for_callers, submitter, Crowd(intake, submitter, new_id), inputs, guard, policy),
            *(new_id, Spending(metrics), metrics, traces),
        ),
        submitter=submitter,
        receiver=Receiver(
            *(intake, urls, hmac_keys, new_id, utc_now, metrics, traces),
            token_life=settings.callback_token_days * DAY,
        ),
        poller=Poller(working, intake, kie, leases, policy, new_id, chance, metrics, paces, traces),
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
            Sender(outside.callers, guard, settings.delivery_timeout),
            Signing(vault),
            Trying(schedule=settings.delivery_schedule, timeout=settings.delivery_timeout),
            *(chance, metrics, traces),
        ),
        archiver=Archiver(
            *(working, lifecycle.run, archive if outside.results else None, fetcher),
            *(archive_terms(settings), lifecycle.files.archived, chance, metrics),
        ),
        handout=handout,
        archive=archive,
        deliveries=Deliveries(
            database,
            for_callers.run,
            new_id,
            Budget(settings.client_redeliveries_per_minute, metrics),
        ),
        dropin=DropIn(database, kie, account, budgets, handout),
        uploads=uploads,
        budgets=budgets,
        usage=Usage(database, utc_now),
        models=Models(database, working, paces, metrics, learns=not settings.receives_only),
        reconciliation=Reconciliation(
            *(database, working, account, policy),
            ReadingPolicy(every=settings.balance_every, alert=settings.unexplained_alert_credits),
            *(new_id, metrics, today),
        ),
        sweeper=Sweeper(
            working,
            lifecycle,
            admission,
            Bookkeeping(
                *(working, lifecycle.run, new_id, settings.delivery_schedule[0], metrics, today),
            ),
        ),
        erasure=Erasure(database, for_callers, removal),
        retainer=Retainer(
            lifecycle, removal, Erasure(working, lifecycle, removal), kept_for, metrics
        ),
        reader=Reader(database, waiters, urls, policy.limits, paces, utc_now, large),
        overview=Overview(database),
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
        traces=traces,
        metrics_page=MetricsPage(
            pools, under_way, health, metrics, monotonic, policy.limits, kept_for
        ),
        kie=kie,
        api=api_settings(settings),
    )


def _uploads(
    settings: Settings,
    pools: Pools,
    outside: Outside,
    archive: Archive | None,
    metrics: Metrics,
) -> tuple[Uploads, Renewal]:
    kie = KieUploads(
        outside.uploading,
        base_url=settings.kie_upload_url,
        api_key=settings.kie_api_key.get_secret_value() if settings.kie_api_key else "",
        proxy=egress_proxy(settings),
    )
    terms = upload_terms(settings)
    fetcher = Fetcher(
        outside.fetching, inputs_guard(settings), stall=terms.stall, most=terms.max_bytes
    )
    return (
        Uploads(pools.callers, kie, fetcher, archive, terms, new_id, metrics),
        Renewal(pools.working, kie, archive, terms),
    )
