"""The release before this one runs on this one's schema."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.gateway import BODY
from tests.processes.stage import Stage
from tests.upstream import Upstream

ROOT = Path(__file__).parents[2]
REF = "KIE_GATEWAY_TESTS_RELEASE"
"""Names another commit than the newest tag, to try this test with."""


def git(*arguments: str) -> str:
    """Return what git says; nothing where there is no repository."""
    found = shutil.which("git")
    if found is None:
        return ""
    done = subprocess.run(  # noqa: S603  # our own arguments
        [found, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def released() -> str:
    """Return the newest release's tag; skips where there is none to be seen."""
    if REF in os.environ:
        return os.environ[REF]
    if git("rev-parse", "--is-shallow-repository") != "false":
        pytest.skip("a shallow clone, or none: the tags of releases are not here")
    tags = git("tag", "--list", "v*", "--sort=-version:refname", "--no-contains", "HEAD")
    return tags.splitlines()[0] if tags else pytest.skip("no release is tagged yet")


def built(ref: str, folder: Path) -> Path:
    """Install that release's wheel, without its dependencies; returns where."""
    source, place = folder / "source", folder / "installed"
    source.mkdir()
    archive = folder / "source.tar"
    git("archive", "--output", str(archive), ref)
    shutil.unpack_archive(archive, source)
    for command in (
        ("hatchling", "build", "-t", "wheel", "-d", str(folder)),
        ("pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(place)),
    ):
        wheels = map(str, folder.glob("*.whl"))
        given = [*command, *(wheels if command[0] == "pip" else ())]
        subprocess.run([sys.executable, "-m", *given], cwd=source, check=True)  # noqa: S603  # ours
    return place


@pytest.mark.long
async def test_the_release_before_runs_on_this_schema(
    stage: Stage, upstream: Upstream, scratch: str, tmp_path: Path
) -> None:
    place = built(released(), tmp_path)
    given = {"GATEWAY_DATABASE_URL": scratch}
    before = {**given, "PYTHONPATH": str(place), "PYTHONSAFEPATH": "1"}
    migrated = await stage.run("migrate", **before)
    assert migrated.status == 0, migrated

    async with stage.running("serve", **before) as old:
        url = await old.ready()
        assert (await stage.run("migrate", **given)).status == 0
        issued = (await stage.run("keys", "create", "tests", "--json", **given)).json
        stage.secrets.update((issued["api_key"], issued["signing_secret"]))
        headers = {"Authorization": f"Bearer {issued['api_key']}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as http:
            ready, created = await http.get("/readyz"), await http.post("/v1/tasks", json=BODY)
        assert (ready.status_code, created.status_code) == (200, 201), (ready.text, created.text)
        assert await old.end() == 0
    assert len(upstream.creates) == 1
