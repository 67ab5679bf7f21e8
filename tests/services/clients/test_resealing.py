"""Retiring an entry of GATEWAY_SECRET_KEYS: what it sealed is sealed anew, and counted."""

from typing import Any

import pytest
from pydantic import SecretStr

from app.cli.operators.examination import seals
from app.config import Settings
from app.services.clients import resealing
from app.services.clients.resealing import Seals
from app.services.clients.vault import Vault
from tests.fixtures.gateway import Wire
from tests.gateway import SECRET

NEXT = "the-next-secret-of-these-tests"
GONE = "a-secret-that-nobody-has-any-more"
BOTH = (SecretStr(NEXT), SecretStr(SECRET))


async def opened(sql: Any, *keys: str) -> list[str]:
    """The signing secrets, as they open with these keys."""
    rows = await sql.fetch("SELECT signing_secret FROM clients ORDER BY id")
    return [Vault(keys).open(row["signing_secret"]) for row in rows]


async def test_every_secret_is_sealed_with_the_first_key(
    wire: Wire, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "BATCH", 2)
    services = await wire()
    for number in range(5):
        await services.keys.create(f"client-{number}")
    await services.keys.rotate_secret("client-3")
    before = await opened(sql, SECRET)
    services = await wire(secret_keys=BOTH)
    assert await services.resealing.seals() == Seals(total=6, old=6)
    await services.keys.create("client-5")  # sealed with the new one
    looked: list[int] = []
    assert await services.resealing.reseal(progress=looked.append) == Seals(total=7, old=6)
    assert looked == [2, 5, 7]
    assert (await opened(sql, NEXT))[:5] == before
    assert await services.resealing.seals() == Seals(total=7)
    previous = await sql.fetchval(
        "SELECT previous_secret FROM clients WHERE previous_secret IS NOT NULL"
    )
    assert Vault([NEXT]).opens(previous)
    # Again: nothing to do. The audit has both runs, without a secret.
    assert await services.resealing.reseal() == Seals(total=7)
    runs = await sql.fetch(
        "SELECT actor, bulk_runs.done FROM audit_entries, bulk_runs"
        " WHERE action = 'secrets_resealed' AND detail->>'run' = bulk_runs.id::text"
        " ORDER BY audit_entries.id"
    )
    assert [tuple(run) for run in runs] == [("command_line", 6), ("command_line", 0)]


async def test_what_nothing_opens_stays_and_is_counted(wire: Wire, sql: Any) -> None:
    await (await wire(secret_keys=(SecretStr(GONE),))).keys.create("lost")
    await (await wire()).keys.create("old")
    kept = await sql.fetchval("SELECT signing_secret FROM clients WHERE name = 'lost'")
    services = await wire(secret_keys=BOTH)
    assert await services.resealing.reseal() == Seals(total=2, old=1, unopened=1)
    assert await services.resealing.seals() == Seals(total=2, unopened=1)
    assert await sql.fetchval("SELECT signing_secret FROM clients WHERE name = 'lost'") == kept


@pytest.mark.parametrize(
    ("keys", "seen", "said", "remedy"),
    [
        (BOTH, Seals(total=3, old=2), "2 of 3", "secrets reseal"),
        (BOTH, Seals(total=3, old=1, unopened=1), "1 of 3", "rotate-secret"),
        (BOTH, Seals(total=3), "30 days after the last of those tasks", None),
        (BOTH[:1], Seals(total=3), "all 3", None),
    ],
)
def test_the_doctor_says_what_old_entries_are_needed_for(
    keys: tuple[SecretStr, ...], seen: Seals, said: str, remedy: str | None
) -> None:
    found = seals(Settings(secret_keys=keys), seen)
    assert said in found.said
    assert (found.remedy is None) == (remedy is None)
    assert remedy is None or remedy in (found.remedy or "")
    assert ("callback URLs" in found.said) == (remedy is None and len(keys) > 1)
