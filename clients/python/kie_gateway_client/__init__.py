"""Calls a kie-gateway: `Gateway`, `AsyncGateway`, and `verify_webhook` for what it sends.

What is not used is not imported: httpx and the models come with the first name that needs them.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kie_gateway_client.aio import AsyncGateway
    from kie_gateway_client.errors import (
        Conflict,
        CursorLost,
        Flaw,
        Forbidden,
        GatewayError,
        Gone,
        IdempotencyMismatch,
        Invalid,
        NotFound,
        OverBudget,
        Overloaded,
        QueueFull,
        QueueTooLong,
        RateLimited,
        TaskFailed,
        TimedOut,
        Unauthorized,
        Unavailable,
        UnexpectedAnswer,
        Unreachable,
        Unusable,
        WebhookRejected,
    )
    from kie_gateway_client.models import (
        Artifact,
        Budget,
        Callback,
        Delivery,
        Event,
        File,
        Model,
        Task,
        Usage,
    )
    from kie_gateway_client.sync import Gateway
    from kie_gateway_client.webhooks import WebhookEvent, verify_webhook
    from kie_gateway_client.words import EventType, FailClass, State

__version__ = "0.1.0"

__all__ = [
    "Artifact",
    "AsyncGateway",
    "Budget",
    "Callback",
    "Conflict",
    "CursorLost",
    "Delivery",
    "Event",
    "EventType",
    "FailClass",
    "File",
    "Flaw",
    "Forbidden",
    "Gateway",
    "GatewayError",
    "Gone",
    "IdempotencyMismatch",
    "Invalid",
    "Model",
    "NotFound",
    "OverBudget",
    "Overloaded",
    "QueueFull",
    "QueueTooLong",
    "RateLimited",
    "State",
    "Task",
    "TaskFailed",
    "TimedOut",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
    "Unusable",
    "Usage",
    "WebhookEvent",
    "WebhookRejected",
    "verify_webhook",
]

_HOMES = {
    "aio": {"AsyncGateway"},
    "models": {
        *("Artifact", "Budget", "Callback", "Delivery", "Event", "File", "Model", "Task", "Usage"),
    },
    "sync": {"Gateway"},
    "webhooks": {"WebhookEvent", "verify_webhook"},
    "words": {"EventType", "FailClass", "State"},
}
"""Where names are; the others are errors."""


if not TYPE_CHECKING:  # or a misspelt name would have a type

    def __getattr__(name: str) -> object:
        if name not in __all__:
            message = f"{__name__} has no {name}"
            raise AttributeError(message)
        home = next((home for home, names in _HOMES.items() if name in names), "errors")
        return getattr(importlib.import_module(f"{__name__}.{home}"), name)
