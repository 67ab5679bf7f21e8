"""The version is one, wherever it is written, and what a tag needs is said."""

import shutil
from datetime import date
from importlib import metadata
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.config import Settings
from app.main import create_app
from tools import release
from tools.release import ROOT, dated, problems, unready, version

CHANGES = "# Changelog\n\n## 0.2.0 (unreleased)\n\n- New.\n\n## 0.1.0 - 2026-11-28\n\n- Old.\n"


def test_nothing_contradicts_the_version() -> None:
    assert list(problems()) == []
    assert metadata.version("kie-gateway") == version()


def test_the_program_says_the_same_version() -> None:
    secret = SecretStr("a-secret-of-the-release-not-to-be-shown")
    url = SecretStr("postgresql://nobody@localhost/nothing")
    settings = Settings(database_url=url, secret_keys=(secret,), kie_api_key=secret)
    assert create_app(settings, worker=False).version == version()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Lend a copy of what has the version, of no git repository."""
    for name in ("pyproject.toml", "CHANGELOG.md", *release.COPIES):
        if (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "migrations" / "versions").mkdir(parents=True)
    return tmp_path


def test_each_place_that_disagrees_is_named(root: Path) -> None:
    file = root / "pyproject.toml"
    file.write_text(file.read_text().replace(f'version = "{version()}"', 'version = "0.2.0"', 1))
    (root / "docs").mkdir()
    (root / "docs" / "openapi.json").write_text('{"info": {"version": "0.1.0"}}')
    (root / "migrations" / "versions" / "0001.py").write_text('oldest_release: str = "0.3.0"\n')
    found = [problem.partition(":")[0] for problem in problems(root)]
    there = [name for name in release.COPIES if (root / name).exists()]
    assert found == [*there, "docs/openapi.json", "CHANGELOG.md", "0001.py"]


def test_the_changes_are_dated_and_the_next_ones_begun(root: Path) -> None:
    text = dated(CHANGES, date(2026, 12, 1))
    assert text == CHANGES.replace(
        "## 0.2.0 (unreleased)", "## Unreleased\n\n## 0.2.0 - 2026-12-01"
    )
    with pytest.raises(SystemExit, match="no release is"):
        dated(text, date(2026, 12, 1))
    (root / "CHANGELOG.md").write_text(CHANGES.replace("0.2.0", version()))
    assert any("has no date" in problem for problem in unready(root))
    (root / "CHANGELOG.md").write_text(text.replace("0.2.0", version()))
    assert list(unready(root)) == []
    (root / "CHANGELOG.md").write_text(text.replace("Unreleased\n", "Unreleased\n\n- More.\n"))
    assert [problem for problem in unready(root) if "under Unreleased" in problem]
