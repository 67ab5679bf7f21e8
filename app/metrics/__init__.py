"""What one process counts and measures, shown as `/metrics`.

One `Metrics` per process, built by the wiring; nothing is global, so that several gateways can run
in one process. The catalogue lists every metric, its labels and all values that they can have.
"""

from app.metrics.catalogue import CATALOGUE
from app.metrics.metric import Kind, Metric
from app.metrics.metrics import CONTENT_TYPE, Metrics

__all__ = ["CATALOGUE", "CONTENT_TYPE", "Kind", "Metric", "Metrics"]
