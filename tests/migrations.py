"""Migrations that come after ours, as a later release will have them."""

import shutil
from pathlib import Path

from app.store.releases import MIGRATIONS, needed

EXPAND = "ALTER TABLE tasks ADD COLUMN of_a_later_release text"
"""What a release may do that the one before runs on: add what that one does not know."""


def following(folder: Path, *revisions: tuple[str, str, str]) -> Path:
    """Copy the migrations and add some: each its name, the oldest release, and its statements."""
    made = shutil.copytree(
        MIGRATIONS, folder / "migrations", ignore=shutil.ignore_patterns("__pycache__")
    )
    before = needed()
    for name, oldest, statements in revisions:
        text = (
            f'"""Of a later release."""\n\nfrom alembic import op\n\nrevision = {name!r}\n'
            f"down_revision = {before!r}\nbranch_labels = depends_on = None\n"
            f"oldest_release = {oldest!r}\n\n\ndef upgrade() -> None:\n"
            f"    for one in {statements.split(';')!r}:\n        op.execute(one)\n"
        )
        (made / "versions" / f"{name}.py").write_text(text)
        before = name
    return made
