import pytest

from tests.each import each
from tests.image.context import ROOT, Ignored, sent

OURS = Ignored.read((ROOT / ".dockerignore").read_text(encoding="utf-8"))


@each(
    "path",
    [
        *("gateway.env", "simulator.env", ".env", "secrets/kie_api_key", "app.env"),
        *(".git/config", ".venv/bin/python", ".kie-gateway/postgres/PG_VERSION"),
        *("tests/conftest.py", "docs/settings.md", "benchmarks/run.py", "requirements-dev.lock"),
        *("clients/python/README.md", "clients/python/pyproject.toml"),
        *("app/__pycache__/main.cpython-311.pyc", "migrations/versions/__pycache__/a.pyc"),
        *("app/old.pyc", "dist/kie_gateway-0.1.0.tar.gz", "Dockerfile", "docker-compose.yml"),
    ],
)
def test_what_the_build_does_not_need_is_not_sent(path: str) -> None:
    assert path in OURS


@pytest.mark.parametrize(
    "path",
    [
        *("app/main.py", "app/py.typed", "migrations/env.py", "pyproject.toml", "README.md"),
        "clients/python/kie_gateway_client/py.typed",
    ],
)
def test_what_the_build_needs_is_sent(path: str) -> None:
    assert path not in OURS
    assert path in set(sent(ROOT))


@each(
    ("patterns", "path", "ignored"),
    [
        ("a", "a/b/c", True),
        ("a", "b/a", False),
        ("**/a", "b/c/a/d", True),
        ("**/a", "a", True),
        ("*.md", "x.md", True),
        ("*.md", "x/y.md", False),
        ("**/*.md", "x/y.md", True),
        ("a?", "ab", True),
        ("*\n!a\na/b", "a/b/c", True),
        ("*\n!a\na/b\n!a/b/c", "a/b/c", False),
        ("# a\n\n/a/", "a", True),
        ("a.b", "axb", False),
    ],
)
def test_the_last_pattern_that_matches_decides(patterns: str, path: str, *, ignored: bool) -> None:
    assert (path in Ignored.read(patterns)) is ignored
