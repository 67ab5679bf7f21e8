"""`python -m app.config` writes `docs/settings.md`."""

import sys

from app.config.page import settings_page

sys.stdout.write(settings_page())
