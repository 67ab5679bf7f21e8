import py_compile
from importlib import metadata
from pathlib import Path

import pytest

from tests.image import contents


def place(root: Path, name: str, text: str = "") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "name",
    [
        *("tests/test_a.py", "lib/site-packages/greenlet/tests/__init__.py", "docs/settings.md"),
        *(".git/HEAD", "src/gateway.env", ".env", "root/.cache/pip/http/1", "certs/tls.key"),
        *("certs/server.pem", "root/.ssh/id_ed25519", "src/requirements-dev.lock"),
    ],
)
def test_what_does_not_belong_into_the_image_is_found(name: str, tmp_path: Path) -> None:
    place(tmp_path, name)
    assert list(contents.unwanted(tmp_path)) == [name]


def test_what_belongs_there_is_not(tmp_path: Path) -> None:
    for name in ("app/main.py", "certifi/cacert.pem", "sqlalchemy/testing/a.py", "bin/kie-gateway"):
        place(tmp_path, name)
    assert list(contents.unwanted(tmp_path)) == []


def test_a_package_that_is_not_locked_is_found(tmp_path: Path) -> None:
    ours = metadata.version("kie-gateway")
    for name, version in (("kie_gateway", ours), ("FastAPI", "0.0.1"), ("pytest", "9.2.0")):
        head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        place(tmp_path, f"{name}-{version}.dist-info/METADATA", head)
    assert contents.strangers(tmp_path) == {"fastapi==0.0.1", "pytest==9.2.0"}


def test_a_missing_project_is_found(tmp_path: Path) -> None:
    assert contents.strangers(tmp_path) == {f"kie-gateway=={metadata.version('kie-gateway')}"}


def test_bytecode_has_to_be_there_and_not_to_be_checked(tmp_path: Path) -> None:
    modes = py_compile.PycInvalidationMode
    for name, mode in (("good", modes.UNCHECKED_HASH), ("dated", modes.TIMESTAMP)):
        py_compile.compile(str(place(tmp_path, f"{name}.py", "A = 1\n")), invalidation_mode=mode)
    place(tmp_path, "bare.py")
    assert sorted(contents.uncompiled(tmp_path)) == ["bare.py", "dated.py"]


def test_a_changed_file_is_seen(tmp_path: Path) -> None:
    path = place(tmp_path, "a/b.py", "A = 1\n")
    before = contents.state(tmp_path)
    assert contents.state(tmp_path) == before
    path.write_text("A = 2\n")
    assert contents.state(tmp_path) != before


def test_sizes_are_told_by_package(tmp_path: Path) -> None:
    place(tmp_path, "lib/site-packages/big/a/b.py", "x" * 30)
    place(tmp_path, "lib/site-packages/small/a.py", "x" * 20)
    place(tmp_path, "lib/site-packages/big/c.py", "x" * 10)
    assert contents.largest(tmp_path, 2) == [("site-packages/big", 40), ("site-packages/small", 20)]
    assert contents.size(contents.files(tmp_path)) == 60
