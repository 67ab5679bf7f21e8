"""What is written down for operators: who did what, and what only they can mend."""

from dataclasses import dataclass
from enum import StrEnum


class Actor(StrEnum):
    """Who acted."""

    ADMIN_API = "admin_api"
    COMMAND_LINE = "command_line"
    CONSOLE = "console"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Operator:
    """Who acted, and how to find the request again."""

    actor: Actor
    who: str
    """The admin key's name, or that of the user of the operating system."""
    address: str | None = None
    """Where the request came from; None: it was no request."""
    request_id: str | None = None


SOMEBODY = Operator(Actor.COMMAND_LINE, "unknown")
"""Where nobody says who it is: neither a command nor the API."""

GATEWAY = Operator(Actor.GATEWAY, "gateway")
"""What the gateway finds by itself."""


class Action(StrEnum):
    """What was done, or found."""

    ADMIN_KEY_CREATED = "admin_key_created"
    ADMIN_KEY_REVOKED = "admin_key_revoked"
    ADMISSION_PAUSED = "admission_paused"
    ADMISSION_RESUMED = "admission_resumed"
    AUDIT_PRUNED = "audit_pruned"
    """Entries went because they were old; `entries` says how many, `before` until when."""
    BUDGET_CLEARED = "budget_cleared"
    BUDGET_SET = "budget_set"
    CLIENT_CHANGED = "client_changed"
    CLIENT_DISABLED = "client_disabled"
    CLIENT_ENABLED = "client_enabled"
    CLIENT_ERASING = "client_erasing"
    """Its keys open nothing from then on, and its tasks go."""
    CLIENT_ERASED = "client_erased"
    """Nothing is left of it but its name and what it used; `tasks` says how many went."""
    CONSOLE_ENTERED = "console_entered"
    """Somebody signed in to the console."""
    DATABASE_ACCEPTED = "database_accepted"
    """After a failover or a move nothing is lost: sending goes on."""
    DATABASE_HELD = "database_held"
    """The database has lost commits, or is another one: nothing is sent."""
    DATABASE_RESUMED = "database_resumed"
    """A person has looked, and sending goes on."""
    DELIVERIES_REPEATED = "deliveries_repeated"
    """An operator had deliveries sent again; the detail says which, and how many."""
    MOVE_CANCELED = "move_canceled"
    MOVE_EXPECTED = "move_expected"
    """A planned move of the database was announced."""
    KEY_CREATED = "key_created"
    KEY_REVOKED = "key_revoked"
    SECRET_ROTATED = "secret_rotated"  # noqa: S105  # a word, no secret
    SECRETS_RESEALED = "secrets_resealed"  # as above
    """Clients' secrets were sealed with the first key; `done` says how many."""
    TASK_BOUND = "task_bound"
    TASK_ERASED = "task_erased"
    """An operator erased a task: what it said is gone, and its caller's key creates nothing."""
    TASK_REQUEUED = "task_requeued"
    TASK_RELEASED = "task_released"
    """A task that was set aside is worked on again."""
    TASK_REFRESHED = "task_refreshed"
    """An operator had kie.ai asked about a task."""
    TASKS_CANCELED = "tasks_canceled"
    """Many at once; the detail says which were meant, and how many it were."""
    TASKS_REQUEUED = "tasks_requeued"
    TASKS_FAILED = "tasks_failed"
    TASK_SET_ASIDE = "task_set_aside"
    URL_DISABLED = "url_disabled"
    """A client's URL is not called any more, for the reason that the detail gives."""
    URL_ENABLED = "url_enabled"
    """An operator had it called again."""
    FOREIGN_ID = "foreign_id"
    """kie.ai has the id that it gave for one task for another one."""
    PAID_TWICE = "paid_twice"
    """kie.ai has a second id for one task."""
