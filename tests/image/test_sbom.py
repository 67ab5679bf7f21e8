"""What the SBOM says is what the lock file installs."""

import re

import pytest

from tools.sbom import EXTRAS, LOCK, ROOT, SbomError, compare, described, locked

HASH, OTHER = "a" * 64, "b" * 64
ONE = {("one", "1.0"): frozenset({HASH, OTHER})}


def test_every_package_of_the_lock_file_is_read_with_its_hashes() -> None:
    text = LOCK.read_text(encoding="utf-8")
    found = locked(text)
    assert len(found) == len([line for line in text.splitlines() if line[:1].isalnum()])
    assert sum(map(len, found.values())) == text.count("--hash=")


def test_a_description_of_the_same_files_passes() -> None:
    component = {
        "name": "one",
        "version": "1.0",
        "externalReferences": [{"hashes": [{"alg": "SHA-256", "content": HASH}]}],
    }
    compare(ONE, described({"components": [component]}))


@pytest.mark.parametrize(
    ("sbom", "said"),
    [
        ({}, "in one only: one 1.0"),
        ({("one", "1.1"): frozenset({HASH})}, "in one only: one 1.0, one 1.1"),
        ({("one", "1.0"): frozenset({"c" * 64})}, "other files: one"),
        ({("one", "1.0"): frozenset()}, "no hash: one"),
    ],
)
def test_what_differs_is_named(sbom: dict[tuple[str, str], frozenset[str]], said: str) -> None:
    with pytest.raises(SbomError, match=said):
        compare(ONE, sbom)


def test_it_describes_the_extras_that_the_lock_file_has() -> None:
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    (resolved,) = (line for line in lines if f"-o {LOCK.name} " in line)
    assert tuple(re.findall(r"--extra (\w+)", resolved)) == EXTRAS
