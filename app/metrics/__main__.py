"""Prints the page about the metrics: `python -m app.metrics > docs/metrics.md`."""

import sys

from app.metrics.page import metrics_page

if __name__ == "__main__":
    sys.stdout.write(metrics_page())
