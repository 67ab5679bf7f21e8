"""Which model an answer is read into; the models are imported with the first one.

Building them takes longer than all else here, and a program that wants objects as they came
(`plain`) needs none.
"""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from kie_gateway_client.models import (
        Budget,
        Callback,
        Delivery,
        DisabledUrl,
        Event,
        File,
        Model,
        Redelivered,
        Repetition,
        Task,
        Usage,
    )

M = TypeVar("M")


class Shape(Generic[M]):
    """A model by its name, and the members without which an answer is somebody else's."""

    def __init__(self, name: str, *needed: str) -> None:
        self.name = name
        self._needed = needed

    def fits(self, raw: object) -> bool:
        return isinstance(raw, Mapping) and raw.keys() >= set(self._needed)

    def of(self, raw: object) -> M:
        """Read an object; raises `UnexpectedAnswer`."""
        models: Any = importlib.import_module("kie_gateway_client.models")
        found: M = getattr(models, self.name).of(raw)
        return found


TASK: "Shape[Task]" = Shape("Task", "id", "state")
EVENT: "Shape[Event]" = Shape("Event", "id", "to_state")
CALLBACK: "Shape[Callback]" = Shape("Callback", "id")
DELIVERY: "Shape[Delivery]" = Shape("Delivery", "id", "state")
REPETITION: "Shape[Repetition]" = Shape("Repetition", "id")
REDELIVERED: "Shape[Redelivered]" = Shape("Redelivered", "data")
DISABLED_URL: "Shape[DisabledUrl]" = Shape("DisabledUrl", "url")
FILE: "Shape[File]" = Shape("File", "id", "url")
BUDGET: "Shape[Budget]" = Shape("Budget", "period")
USAGE: "Shape[Usage]" = Shape("Usage", "total")
MODEL: "Shape[Model]" = Shape("Model", "model")
