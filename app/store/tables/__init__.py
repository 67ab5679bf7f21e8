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
from app.store.tables.erasure import ErasedTask
from app.store.tables.feed import FeedEntry, FeedWriter
from app.store.tables.files import Artifact
from app.store.tables.schema import SchemaRelease
from app.store.tables.spend import (
    BalanceReading,
    Budget,
    Model,
    ModelHour,
    SpendDay,
    UsageDay,
    UsageEntry,
)
from app.store.tables.tasks import CHANGED, Callback, Task, TaskEvent
from app.store.tables.uploads import File

__all__ = [
    "CHANGED",
    "AdminKey",
    "ApiKey",
    "Artifact",
    "AuditEntry",
    "BalanceReading",
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
    "ErasedTask",
    "FailingUrl",
    "FeedEntry",
    "FeedWriter",
    "File",
    "KieAccount",
    "KieBreaker",
    "KieSlot",
    "Model",
    "ModelHour",
    "Process",
    "QueueSize",
    "SchemaRelease",
    "SpendDay",
    "Task",
    "TaskEvent",
    "UsageDay",
    "UsageEntry",
]
