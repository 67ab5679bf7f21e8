"""The stage's own watch over secrets: what it is to find, it finds."""

from pathlib import Path

import pytest

from tests.processes.stage import Stage

KEY = "kgw_" + "x" * 43
TOKEN_URL = "https://gateway.test/callbacks/kie/01a204bf-a4e0-72a9-9d40-8898834665fc/"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f"Bearer {KEY}", True),
        (f"{TOKEN_URL}t0ken", True),
        ("my own secret", True),
        ("kgw_[redacted]", False),
        (f"{TOKEN_URL}[redacted]", False),
        ("kgw_xxxxxx… revoked", False),
    ],
)
def test_leaks(tmp_path: Path, line: str, found: bool) -> None:  # noqa: FBT001  # a table's column
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.log").write_text(f"harmless\n{line}\n")
    stage = Stage(tmp_path, {}, secrets={"my own secret"})

    assert stage.leaks() == ([f"a.log: {line}"] if found else [])
