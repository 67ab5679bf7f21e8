"""A client's signing secret is replaced: both sign during the grace, the new one alone after."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from tests.api.stage import NOT_FOUND, Refusal, Sql, check_refusal
from tests.fixtures.gateway import StartGateway, Wire
from tests.gateway import OPERATOR, SECRET, Gateway
from tests.hooks import Hook, Told, listening
from tests.upstream import Upstream, succeeded

ADMIN_KEY = "an-admin-key-not-to-be-shown"
NEXT_SECRET = "the-next-secret-of-the-tests"


@dataclass(frozen=True, slots=True)
class Admin:
    """A gateway that delivers, one who hears it, and its operator."""

    gateway: Gateway
    upstream: Upstream
    hook: Hook
    http: httpx.AsyncClient

    async def asks(self, body: object, name: str = "tests") -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        path = f"/v1/admin/clients/{name}/rotate-secret"
        return await self.http.post(path, content=content)

    async def rotated(self, **body: object) -> dict[str, Any]:
        answer = await self.asks(body)
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        found: dict[str, Any] = answer.json()
        return found

    async def told(self) -> Told:
        """Have something told; returns it as it came."""
        before = len(self.hook.told)
        task = await self.gateway.create(webhook_url=self.hook.url)
        body = succeeded(task["kie_task_id"])
        await self.gateway.call_back(self.upstream.callback_path, body)
        return (await self.hook.hears(before + 1))[before]


@pytest_asyncio.fixture
async def admin(start_gateway: StartGateway, upstream: Upstream) -> AsyncIterator[Admin]:
    gateway = await start_gateway(
        worker=True, delivery_allow_loopback=True, admin_key=SecretStr(ADMIN_KEY)
    )
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    async with (
        listening() as hook,
        httpx.AsyncClient(base_url=gateway.http.base_url, headers=headers, trust_env=False) as http,
    ):
        yield Admin(gateway, upstream, hook, http)


async def first_secret(wire: Wire) -> str:
    """Return the secret of the client `tests`, as every key of it shows it."""
    return (await (await wire()).keys.create("tests")).signing_secret


def signatures(told: Told) -> list[str]:
    return told.headers["webhook-signature"].split()


async def test_both_verify_during_the_grace_and_the_new_one_alone_after(
    admin: Admin, wire: Wire, sql: Sql
) -> None:
    old = await first_secret(wire)
    before = await admin.told()
    assert before.verifies(old)
    assert len(signatures(before)) == 1

    rotated = await admin.rotated(grace=3600)
    new = rotated["signing_secret"]
    assert rotated["client"] == "tests"
    assert rotated["previous_secret_until"].endswith("Z")
    assert new.startswith("whsec_")
    assert await first_secret(wire) == new != old
    during = await admin.told()
    assert during.verifies(new)
    assert during.verifies(old)
    assert len(signatures(during)) == 2

    await sql.execute("UPDATE clients SET previous_secret_until = clock_timestamp()")
    after = await admin.told()
    assert after.verifies(new)
    assert not after.verifies(old)
    assert len(signatures(after)) == 1


async def test_without_a_grace_the_old_one_is_gone_at_once(
    admin: Admin, wire: Wire, sql: Sql
) -> None:
    old = await first_secret(wire)
    rotated = await admin.rotated(grace=0)
    assert rotated["previous_secret_until"] is None
    assert await sql.fetchval("SELECT previous_secret FROM clients") is None
    told = await admin.told()
    assert told.verifies(rotated["signing_secret"])
    assert not told.verifies(old)


async def test_a_second_rotation_ends_the_oldest(admin: Admin, wire: Wire) -> None:
    oldest = await first_secret(wire)
    middle = (await admin.rotated())["signing_secret"]
    newest = (await admin.rotated())["signing_secret"]
    told = await admin.told()
    verifies = [told.verifies(secret) for secret in (oldest, middle, newest)]
    assert verifies == [False, True, True]


@pytest.mark.usefixtures("admin")
async def test_what_nothing_can_open_any_more_is_replaced(wire: Wire, sql: Sql) -> None:
    """Its GATEWAY_SECRET_KEYS entry is gone: so it signs nothing, and holds nothing up."""
    keys = (await wire(secret_keys=(SecretStr(NEXT_SECRET),))).keys
    rotated = await keys.rotate_secret("tests")
    assert rotated.previous_secret_until is None
    assert await sql.fetchval("SELECT previous_secret FROM clients") is None
    assert (await keys.create("tests")).signing_secret == rotated.signing_secret


async def test_a_rotation_whose_commit_was_lost_is_one_rotation(
    admin: Admin, wire: Wire, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = await wire()
    old = (await services.keys.create("tests")).signing_secret
    run = services.keys._database.run

    async def twice(work: Any, **options: Any) -> Any:
        await run(work, **options)
        return await run(work, **options)

    monkeypatch.setattr(services.keys._database, "run", twice)
    rotated = await services.keys.rotate_secret("tests")
    told = await admin.told()
    assert told.verifies(old)
    assert told.verifies(rotated.signing_secret)
    assert await _noted(sql) == [("command_line", {"grace": "86400"})]


async def _noted(sql: Sql) -> list[tuple[str, Mapping[str, str]]]:
    rows = await sql.fetch(
        "SELECT actor, client, detail FROM audit_entries WHERE action = 'secret_rotated'"
        " ORDER BY id"
    )
    assert {row["client"] for row in rows} <= {"tests"}
    return [(row["actor"], json.loads(row["detail"])) for row in rows]


async def test_it_is_kept_in_the_audit_without_the_secret(admin: Admin, sql: Sql) -> None:
    made = [await admin.rotated(grace=60), await admin.rotated(grace=0), await admin.rotated()]
    assert await _noted(sql) == [
        ("admin_api", {"grace": "60"}),
        ("admin_api", {"grace": "0"}),
        ("admin_api", {"grace": "86400"}),
    ]
    clients = (await admin.http.get("/v1/admin/clients")).text
    audit = (await admin.http.get("/v1/admin/audit")).text
    assert "whsec_" not in clients + audit
    assert [one["signing_secret"] for one in made if one["signing_secret"] in clients] == []


async def test_the_secret_is_sealed_where_it_is_kept(admin: Admin, sql: Sql) -> None:
    secret = (await admin.rotated())["signing_secret"]
    row = await sql.fetchrow("SELECT signing_secret, previous_secret FROM clients")
    assert row is not None
    for sealed in row.values():
        assert secret.encode() not in sealed
        assert SECRET.encode() not in sealed


GRACES = [-1, 2_592_001, "60", True, None, [], 1e400]


@pytest.mark.parametrize("grace", GRACES)
async def test_a_grace_is_a_time(admin: Admin, sql: Sql, grace: object) -> None:
    body = b'{"grace": 1e400}' if grace == float("inf") else {"grace": grace}
    refusal = Refusal(status=422, code="invalid_request", pointer="/grace")
    check_refusal(await admin.asks(body), refusal)
    assert await _noted(sql) == []


@pytest.mark.parametrize("name", ["nobody", "%00", "%ff", "c" * 5000])
async def test_only_a_client_has_a_secret(admin: Admin, name: str) -> None:
    check_refusal(await admin.asks({}, name), NOT_FOUND)


async def test_a_services_grace_has_bounds_too(wire: Wire) -> None:
    keys = (await wire()).keys
    with pytest.raises(Exception, match="0 to 2592000 seconds"):
        await keys.rotate_secret("tests", grace=float("nan"), operator=OPERATOR)
