"""What the doctor says of the archive, and which URLs settings take for one."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.cli.operators.examination import _archive
from app.config import Settings, SettingsError, load
from app.outbound.archive import Archive


async def found(url: str | None) -> list[Any]:
    settings: Any = SimpleNamespace(archive_url=url)
    services: Any = SimpleNamespace(archive=Archive(url) if url else None)
    return await _archive(settings, services)


async def test_the_doctor_writes_reads_and_removes(tmp_path: Path) -> None:
    assert await found(None) == []
    [finding] = await found(f"file://{tmp_path}/results")
    assert (finding.said, finding.remedy) == ("file: writes, reads and removes", None)
    assert _files(tmp_path) == []
    (tmp_path / "taken").write_text("no directory")
    [finding] = await found(f"file://{tmp_path}/taken")
    assert "cannot be used" in finding.said
    assert "docs/archive.md" in (finding.remedy or "")


@pytest.mark.parametrize(
    "url", ["s3://bucket", "s3://bucket/prefix/", "gs://b/p", "az://container/p", "file:///srv/x"]
)
def test_a_store_is_named_by_its_url(url: str) -> None:
    assert Settings(archive_url=url).archive_url == url.rstrip("/")


@pytest.mark.parametrize(
    "url", ["https://s3/x", "s3://", "file://", "s3://key:secret@bucket", "s3://b?x=1", "s3://a b"]
)
def test_what_names_no_store_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_ARCHIVE_URL", url)
    with pytest.raises(SettingsError) as caught:
        load()
    assert "GATEWAY_ARCHIVE_URL" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.config.conflicts.find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"install kie-gateway\[archive\]"):
        Settings(archive_url="s3://bucket")


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]
