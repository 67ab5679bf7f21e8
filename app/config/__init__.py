"""The settings: environment variables read once, at process start, by `load()`.

Names, defaults and bounds stand in `Settings` and nowhere else; `docs/settings.md` is made from it
by `python -m app.config > docs/settings.md`. Secrets never appear in a repr or in an error.
"""

from app.config.database_url import normalise_database_url
from app.config.page import settings_page, settings_table
from app.config.reading import load
from app.config.settings import Settings
from app.config.values import Address, SettingsError

__all__ = [
    "Address",
    "Settings",
    "SettingsError",
    "load",
    "normalise_database_url",
    "settings_page",
    "settings_table",
]
