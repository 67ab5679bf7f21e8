"""The schema. Migrations make it; `alembic check` in the tests proves that the two agree."""

from app.store.tables.account import (
    ClientQueue,
    KieAccount,
    KieBreaker,
    KieSlot,
    Process,
    QueueSize,
)
from app.store.tables.base import Base
from app.store.tables.clients import AdminKey, ApiKey, AuditEntry, BulkRun, Client
from app.store.tables.deliveries import (
    Delivery,
    DeliveryAttempt,
    DeliveryHost,
    DeliveryUrl,
    DisabledUrl,
    FailingUrl,
)
from app.store.tables.feed import FeedEntry, FeedWriter
from app.store.tables.schema import SchemaRelease
from app.store.tables.spend import Budget, SpendDay, UsageDay, UsageEntry
from app.store.tables.tasks import CHANGED, Callback, Task, TaskEvent

__all__ = [
    "CHANGED",
    "AdminKey",
    "ApiKey",
    "AuditEntry",
    "Base",
    "Budget",
    "BulkRun",
    "Callback",
    "Client",
    "ClientQueue",
    "Delivery",
    "DeliveryAttempt",
    "DeliveryHost",
    "DeliveryUrl",
    "DisabledUrl",
    "FailingUrl",
    "FeedEntry",
    "FeedWriter",
    "KieAccount",
    "KieBreaker",
    "KieSlot",
    "Process",
    "QueueSize",
    "SchemaRelease",
    "SpendDay",
    "Task",
    "TaskEvent",
    "UsageDay",
    "UsageEntry",
]
