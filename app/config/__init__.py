"""The settings: environment variables read once, at process start, by `load()`.

Names, defaults and bounds are in `Settings` and nowhere else; `make docs` writes
`docs/settings.md` from it. Secrets never appear in a repr or in an error.
"""

from app.config.database_url import normalise_database_url
from app.config.reading import load
from app.config.settings import Settings, variable
from app.config.tracing import exports_traces
from app.config.values import Address, SettingsError

__all__ = [
    "Address",
    "Settings",
    "SettingsError",
    "exports_traces",
    "load",
    "normalise_database_url",
    "variable",
]
