"""Writes the pages of `docs/` that are made from the code: `python -m tools.docs`."""

from collections.abc import Callable, Mapping

from tools.docs.dashboard import dashboard
from tools.docs.metrics import metrics_page
from tools.docs.settings import settings_page

PAGES: Mapping[str, Callable[[], str]] = {
    "dashboard.json": dashboard,
    "metrics.md": metrics_page,
    "settings.md": settings_page,
}
