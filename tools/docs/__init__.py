"""Writes the pages of `docs/` that are made from the code: `python -m tools.docs`."""

from collections.abc import Callable, Mapping

from tools.docs.calling import calling_page
from tools.docs.commands import commands_page
from tools.docs.dashboard import dashboard
from tools.docs.metrics import metrics_page
from tools.docs.openapi import openapi_document
from tools.docs.settings import settings_page
from tools.docs.states import states_page, states_picture

PAGES: Mapping[str, Callable[[], str]] = {
    "calling.md": calling_page,
    "commands.md": commands_page,
    "dashboard.json": dashboard,
    "metrics.md": metrics_page,
    "openapi.json": openapi_document,
    "settings.md": settings_page,
    "states.md": states_page,
    "states.svg": states_picture,
}
