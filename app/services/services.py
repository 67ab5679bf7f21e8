"""The one bundle of use cases that the ways in share: API, worker and commands."""

from dataclasses import dataclass

from app.kie.client import KieClient
from app.metrics import Metrics
from app.outbound.archive import Archive
from app.services.account.pauses import Pauses
from app.services.account.probe import Account
from app.services.account.restores import Restores
from app.services.account.witness import Witness
from app.services.clients.admin_keys import AdminKeys
from app.services.clients.authentication import Authentication
from app.services.clients.keys import Keys
from app.services.clients.limits import Limits
from app.services.clients.resealing import Resealing
from app.services.clients.sessions import Sessions
from app.services.clients.settings import Clients
from app.services.clients.uses import Uses
from app.services.deliveries.deliver import Deliverer
from app.services.deliveries.history import Deliveries
from app.services.dropin import DropIn
from app.services.files.archiver import Archiver
from app.services.files.handout import Handout
from app.services.files.uploads import Uploads
from app.services.health import Health
from app.services.limits.under_way import UnderWay
from app.services.metrics import MetricsPage
from app.services.shutdown import Shutdown
from app.services.spend.budgets import Budgets
from app.services.spend.models import Models
from app.services.spend.reconciliation import Reconciliation
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
from app.services.tasks.overview import Overview
from app.services.tasks.poll import Poller
from app.services.tasks.read import Reader
from app.services.tasks.receive import Receiver
from app.services.tasks.retention import Retainer
from app.services.tasks.streams import Streams
from app.services.tasks.stuck import StuckTasks
from app.services.tasks.submit import Submitter
from app.services.tasks.sweep import Sweeper
from app.services.tasks.waiters import Waiters
from app.store.signals import Signals
from app.traces import Traces


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """What the settings say of the HTTP API alone."""

    max_body_bytes: int
    max_json_values: int
    max_callback_bytes: int
    submit_wait: float
    """Seconds that a create waits for kie.ai's answer before it answers without."""
    refresh_wait: float = 5.0
    """Seconds that a refresh waits for the answer of kie.ai."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The use cases, and what they share; made by `app/wiring.py`."""

    authentication: Authentication
    sessions: Sessions
    uses: Uses
    limits: Limits
    keys: Keys
    admin_keys: AdminKeys
    lifecycle: Lifecycle
    intake: Intake
    creates: Creates
    submitter: Submitter
    receiver: Receiver
    poller: Poller
    account: Account
    pauses: Pauses
    restores: Restores
    stuck: StuckTasks
    bulk: Bulk
    clients: Clients
    resealing: Resealing
    deliverer: Deliverer
    archiver: Archiver
    handout: Handout
    archive: Archive | None
    deliveries: Deliveries
    dropin: DropIn
    budgets: Budgets
    usage: Usage
    uploads: Uploads
    models: Models
    reconciliation: Reconciliation
    sweeper: Sweeper
    erasure: Erasure
    retainer: Retainer
    reader: Reader
    overview: Overview
    commands: Commands
    feed: Feed
    streams: Streams
    numbering: Numbering
    waiters: Waiters
    witness: Witness
    leases: Leases
    signals: Signals
    health: Health
    shutdown: Shutdown
    under_way: UnderWay
    metrics: Metrics
    traces: Traces
    metrics_page: MetricsPage
    kie: KieClient
    api: ApiSettings
