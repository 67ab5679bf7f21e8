"""What is said of a metric, and what kinds there are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """Prometheus's types, as far as they are used."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric; `name` as Prometheus shows it, a histogram's without `_bucket` and the like."""

    name: str
    kind: Kind
    meaning: str
    alert: str = ""
    """What to alert on, in words."""
    labels: Mapping[str, tuple[str, ...] | str] = field(default_factory=dict)
    """Each label's values; where the code bounds them in another way, a sentence about them."""
    buckets: tuple[float, ...] = ()
    from_database: bool = False
    """Read from PostgreSQL, and absent while it is away."""

    @property
    def words(self) -> Mapping[str, tuple[str, ...]]:
        """The labels whose values are all listed."""
        return {name: found for name, found in self.labels.items() if not isinstance(found, str)}
