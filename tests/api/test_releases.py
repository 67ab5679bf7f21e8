"""A process goes on through the migration of a later release, where that admits it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.config import Settings
from app.main import SchemaError, create_app
from app.store import releases, schema
from tests.api.conftest import Scratch
from tests.fixtures.gateway import StartGateway
from tests.gateway import Gateway
from tests.migrations import EXPAND, following

NEWER = "the schema is at 9998_contract, of a newer release: it takes 99.1.0 or newer, and this is "


async def migrated(dsn: str, folder: Path) -> None:
    """Migrate as a release with these migrations does."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(releases, "MIGRATIONS", folder)
        await asyncio.to_thread(schema.upgrade, dsn)


async def creates_meanwhile(gateway: Gateway, migrating: "asyncio.Task[None]") -> list[int]:
    """Create tasks until the migration is over, and ask whether it is ready; returns statuses."""
    statuses: list[int] = []
    while not migrating.done() or len(statuses) < 10:
        created, ready = await asyncio.gather(gateway.post(), gateway.http.get("/readyz"))
        statuses += [created.status_code, ready.status_code]
    await migrating
    return statuses


async def test_a_later_release_migrates_under_a_running_one(
    start_gateway: StartGateway,
    make_settings: Callable[..., Settings],
    scratch: Scratch,
    tmp_path: Path,
) -> None:
    roomy = {"database_url": SecretStr(scratch.dsn), "kie_creates_per_10s": 10_000}
    gateway = await start_gateway(worker=True, **roomy)
    (tmp_path / "next").mkdir()
    later = following(tmp_path / "next", ("9997_expand", "0.1.0", EXPAND))
    migrating = asyncio.create_task(migrated(scratch.dsn, later))

    statuses = await creates_meanwhile(gateway, migrating)

    assert set(statuses) == {200, 201}
    await asyncio.to_thread(schema.upgrade, scratch.dsn)  # this release's: changes nothing
    again = await start_gateway(**roomy)
    assert (await again.post()).status_code == 201

    too_late = following(
        tmp_path, ("9997_expand", "0.1.0", EXPAND), ("9998_contract", "99.1.0", "SELECT 1")
    )
    await migrated(scratch.dsn, too_late)
    ready = await gateway.http.get("/readyz")
    assert ready.status_code == 503
    said = ready.json()["checks"]["schema"]
    assert said.startswith(NEWER)
    assert said.endswith("start release 99.1.0 or newer in this one's place")
    late = create_app(make_settings(**roomy))
    with pytest.raises(SchemaError, match="of a newer release"):
        async with late.router.lifespan_context(late):
            pass
    with pytest.raises(schema.UnknownRevisionError, match=r"start release 99\.1\.0"):
        await asyncio.to_thread(schema.upgrade, scratch.dsn)


@pytest.mark.parametrize(
    ("newer", "older"), [("0.10.0", "0.9.1"), ("1.0.0", "0.99.99"), ("0.2.0", "0.2.0rc1+local")]
)
def test_releases_are_compared_as_numbers(newer: str, older: str) -> None:
    assert releases._numbers(newer) >= releases._numbers(older)
