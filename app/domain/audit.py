"""What is written down for operators: who did what, and what only they can mend."""

from enum import StrEnum


class Actor(StrEnum):
    """Who acted."""

    ADMIN_API = "admin_api"
    COMMAND_LINE = "command_line"
    GATEWAY = "gateway"


class Action(StrEnum):
    """What was done, or found."""

    ADMISSION_PAUSED = "admission_paused"
    ADMISSION_RESUMED = "admission_resumed"
    CLIENT_CHANGED = "client_changed"
    DATABASE_ACCEPTED = "database_accepted"
    """After a failover or a move nothing is lost: sending goes on."""
    DATABASE_HELD = "database_held"
    """The database has lost commits, or is another one: nothing is sent."""
    DATABASE_RESUMED = "database_resumed"
    """A person has looked, and sending goes on."""
    MOVE_CANCELED = "move_canceled"
    MOVE_EXPECTED = "move_expected"
    """A planned move of the database was announced."""
    KEY_CREATED = "key_created"
    KEY_REVOKED = "key_revoked"
    SECRET_ROTATED = "secret_rotated"  # noqa: S105  # a word, no secret
    SECRETS_RESEALED = "secrets_resealed"  # as above
    """Clients' secrets were sealed with the first key; `done` says how many."""
    TASK_BOUND = "task_bound"
    TASK_REQUEUED = "task_requeued"
    TASK_RELEASED = "task_released"
    """A task that was set aside is worked on again."""
    TASKS_CANCELED = "tasks_canceled"
    """Many at once; the detail says which were meant, and how many it were."""
    TASKS_REQUEUED = "tasks_requeued"
    TASKS_FAILED = "tasks_failed"
    TASK_SET_ASIDE = "task_set_aside"
    FOREIGN_ID = "foreign_id"
    """kie.ai has the id that it gave for one task for another one."""
    PAID_TWICE = "paid_twice"
    """kie.ai has a second id for one task."""
