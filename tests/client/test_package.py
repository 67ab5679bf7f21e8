"""The client as a distribution of its own: what it needs, and what is imported when."""

import ast
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import kie_gateway_client
from tests.cli.test_imports import SHOW

ROOT = Path(__file__).parents[2] / "clients/python"
SOURCES = sorted(ROOT.glob("kie_gateway_client/*.py"))
OTHERS = {"httpx", "pydantic", "kie_gateway_client"}
TYPES_ONLY = {"typing_extensions"}
"""What is imported for the type checker, which brings it."""


def test_it_needs_two_packages_and_python_3_10() -> None:
    """Newer syntax is not parsed; newer names are found by `mypy --python-version 3.10`."""
    assert SOURCES
    imported = set()
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
    assert imported - set(sys.stdlib_module_names) == OTHERS | TYPES_ONLY
    assert kie_gateway_client.__version__ == version("kie-gateway")


@pytest.mark.long
def test_both_wheels_have_it(tmp_path: Path) -> None:
    for place in (ROOT, ROOT.parents[1]):
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
        subprocess.run(build, cwd=place, check=True, capture_output=True)  # noqa: S603  # our own
    wheels = sorted(tmp_path.glob("*.whl"))
    assert [wheel.name.partition("-")[0] for wheel in wheels] == [
        "kie_gateway",
        "kie_gateway_client",
    ]
    modules = {f"kie_gateway_client/{path.name}" for path in SOURCES}
    for wheel in wheels:
        assert {*modules, "kie_gateway_client/py.typed"} <= {*zipfile.ZipFile(wheel).namelist()}
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheels[1]).namelist()}
    assert tops == {
        "kie_gateway_client",
        f"kie_gateway_client-{kie_gateway_client.__version__}.dist-info",
    }


def test_a_command_imports_no_model() -> None:
    """Building them is the half of all that the client imports."""
    told = SHOW.format(names={"httpx", "kie_gateway_client.models"})
    given = ["tasks", "get", "x", "--key", "kgw_x", "--url", "http://127.0.0.1:9"]
    done = subprocess.run(  # noqa: S603  # our own command
        [sys.executable, "-c", told, *given], capture_output=True, text=True, check=False
    )
    assert "no answer from http://127.0.0.1:9: " in done.stderr
    assert done.stdout.splitlines()[-1] == "imported: httpx"
