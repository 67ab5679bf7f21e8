import json
import re
from pathlib import Path

import pytest

from tests.compat import install

LOCK = json.loads((install.HERE / "package-lock.json").read_text())


def test_every_package_is_pinned_by_its_digest() -> None:
    installed = {name: each for name, each in LOCK["packages"].items() if name}
    assert f"node_modules/{install.PACKAGE}" in installed
    assert [name for name, each in installed.items() if "sha512-" not in each["integrity"]] == []


def test_no_package_is_tied_to_a_registry() -> None:
    assert re.findall(r'"resolved"|https?://', json.dumps(LOCK)) == []


@pytest.mark.parametrize("version", ["v20.0.0\n", "v24.1.0"])
def test_a_node_that_is_new_enough(version: str) -> None:
    install.require_recent(version)


def test_a_node_that_is_too_old_is_named() -> None:
    with pytest.raises(install.NotInstalledError, match=r"20 or newer .* this is v18\.20\.4"):
        install.require_recent("v18.20.4\n")


@pytest.mark.parametrize("present", [(), ("node",)])
def test_what_is_missing_is_named(
    present: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in present:
        (tmp_path / name).touch(mode=0o755)
    missing = "npm" if present else "node"
    with pytest.raises(install.NotInstalledError, match=f"^{missing} is not on the path"):
        install.client(tmp_path)


def test_an_installation_counts_until_the_files_change(tmp_path: Path) -> None:
    assert not install.is_installed(tmp_path)
    for name in install.FILES:
        (tmp_path / name).write_bytes((install.HERE / name).read_bytes())
    assert not install.is_installed(tmp_path)
    (tmp_path / "done").touch()
    assert install.is_installed(tmp_path)
    (tmp_path / "package.json").write_text("{}")
    assert not install.is_installed(tmp_path)
