"""Files, deliveries, and what is spent: through both clients."""

import datetime as dt
import hashlib
import io
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import SecretStr
from typing_extensions import override

from kie_gateway_client import Conflict, Invalid, NotFound, OverBudget, UnexpectedAnswer
from simulator.server import Options
from simulator.server import create_app as simulator
from tests.client.conftest import StartGateway
from tests.client.front import Front, Says
from tests.client.side import Side
from tests.client.test_tasks import INPUT, MODEL, NOBODY
from tests.gateway import Gateway
from tests.stage import serving
from tests.upstream import Upstream, failed, succeeded

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 1000
HOOK = "https://h.test/hook"
ADMIN_KEY = "q8Wm3Zt6Rk1Vx9Lp4Ns7Bd2Hf5Gj0Yc"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archive")


@pytest_asyncio.fixture(scope="module")
async def host_url() -> Any:
    async with serving(simulator(Options())) as url:
        yield url


@pytest_asyncio.fixture
async def gateway(start_gateway: StartGateway, host_url: str, archive: Path) -> Gateway:
    return await start_gateway(
        kie_upload_url=host_url,
        upload_allow_loopback=True,
        archive_url=f"file://{archive}",
        admin_key=SecretStr(ADMIN_KEY),
    )


def pieces() -> Iterator[bytes]:
    for at in range(0, len(PNG), 1000):
        yield PNG[at : at + 1000]
        yield b""


class Pipe(io.RawIOBase):
    """What has no length and cannot be rewound."""

    def __init__(self) -> None:
        super().__init__()
        self._rest = io.BytesIO(PNG)

    @override
    def read(self, size: int = -1) -> bytes:
        return self._rest.read(min(size, 5000))


async def test_files_of_any_kind_are_uploaded(side: Side, tmp_path: Path) -> None:
    path = tmp_path / "a b.png"
    path.write_bytes(PNG)
    begun = io.BytesIO(b"before" + PNG)
    begun.seek(6)
    named = {"name": "a b.png"}
    made = [
        await side.call("upload", path),
        await side.call("upload", str(path), content_type="image/png"),
        *[await side.call("upload", one, **named) for one in (PNG, begun, Pipe(), pieces())],
    ]
    for file in made:
        assert (file.name, file.content_type, file.bytes) == ("a b.png", "image/png", len(PNG))
        assert file.sha256 == hashlib.sha256(PNG).hexdigest()
    assert await side.call("file", made[0].id) == made[0]
    assert await side.all("files", most=2) == [made[5], made[4]]
    again = await side.call("upload_url", made[0].url, name="c.png")
    assert (again.name, again.sha256) == ("c.png", made[0].sha256)
    task = await side.call("create", MODEL, {"image": again.reference})
    assert task.input == {"image": again.reference}
    with pytest.raises(FileNotFoundError):
        await side.call("upload", tmp_path / "nothing")
    with pytest.raises(Invalid) as page:
        await side.call("upload", b"<html>", name="a.png", content_type="image/png")
    assert page.value.code == "unsupported_file_type"


async def test_an_upload_is_repeated_only_where_nothing_was_kept(
    behind: Side, front: Front, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    full = Says(429, b"", ("Retry-After: 0",))
    front.turns.extend((full, full))
    assert (await behind.call("upload", path)).bytes == len(PNG)
    assert len(front.requests) == 3


async def test_a_result_is_read_from_the_archive(
    side: Side, gateway: Gateway, upstream: Upstream, sql: Any, archive: Path
) -> None:
    task = await gateway.create()
    await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    with pytest.raises(Conflict) as early:
        await side.all("artifact", task["id"], 1)
    assert early.value.code == "artifact_not_stored"
    (archive / "x").write_bytes(PNG)
    await sql.execute(
        "UPDATE artifacts SET state = 'stored', finished_at = now(), object = 'x', bytes = $1,"
        " sha256 = $2, content_type = 'image/png', due_at = NULL",
        len(PNG),
        hashlib.sha256(PNG).digest(),
    )
    assert b"".join(await side.all("artifact", task["id"], 1)) == PNG
    with pytest.raises(UnexpectedAnswer, match="longer"):
        await side.all("artifact", task["id"], 1, max_bytes=1000)
    with pytest.raises(NotFound):
        await side.all("artifact", task["id"], 2)


async def test_a_link_to_a_store_is_followed_without_the_key(behind: Side, front: Front) -> None:
    link = f"{front.url}/object?X-Signature=s"
    front.turns.extend((Says(302, b"", (f"Location: {link}",)), Says(200, PNG)))
    assert b"".join(await behind.all("artifact", NOBODY, 1)) == PNG
    first, second = front.requests
    assert b"authorization: bearer" in first.lower()
    assert second.startswith(b"GET /object?X-Signature=s HTTP/1.1")
    assert b"authorization" not in second.lower()
    front.turns.append(Says(302, b"", ("Location: file:///etc/passwd",)))
    with pytest.raises(UnexpectedAnswer):
        await behind.all("artifact", NOBODY, 1)


async def test_deliveries_are_seen_and_repeated(
    side: Side, gateway: Gateway, upstream: Upstream, sql: Any
) -> None:
    task = await gateway.create(webhook_url=HOOK)
    await gateway.call_back(upstream.callback_path, failed(task["kie_task_id"]))
    (delivery,) = await side.all("deliveries", task_id=task["id"], state="pending")
    assert (delivery.event, delivery.url, delivery.tries) == ("task.failed", HOOK, 0)
    assert await side.call("delivery", delivery.id) == delivery
    again = await side.call("redeliver", delivery.id)
    assert again.origin_id == delivery.id
    ended = "UPDATE deliveries SET state = 'exhausted', due_at = NULL, finished_at = now()"
    await sql.execute(ended)
    (made,) = await side.all("redeliver_many", state="exhausted")
    assert (len(made.data), made.next_cursor, made.disabled_urls) == (1, None, [])
    since = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert len(await side.all("deliveries", created_after=since)) == 3

    assert await side.call("disabled_urls") == ()
    await sql.execute("INSERT INTO disabled_urls (client_id, url) SELECT id, $1 FROM clients", HOOK)
    (disabled,) = await side.call("disabled_urls")
    assert (disabled.url, disabled.reason) == (HOOK, "gone")
    with pytest.raises(Conflict):
        await side.call("redeliver", delivery.id)
    assert await side.call("enable_url", HOOK) is None
    with pytest.raises(NotFound):
        await side.call("enable_url", HOOK)


async def test_what_is_spent_and_what_may_be(
    side: Side, gateway: Gateway, upstream: Upstream
) -> None:
    task = await gateway.create(metadata={"order": "A-1"})
    ended = succeeded(task["kie_task_id"], consumeCredits=4.5)
    await gateway.call_back(upstream.callback_path, ended)
    usage = await side.call("usage", group_by=["day", "model", "metadata.order"])
    (group,) = usage.data
    assert (group.model, group.credits, group.tasks.succeeded) == (MODEL, Decimal("4.5"), 1)
    assert (group.value("metadata.order"), group.day) == ("A-1", usage.last)
    assert usage.total.credits == Decimal("4.5")
    assert await side.call("budget") == ()

    path = "/v1/admin/clients/tests/budgets/day"
    key = {"Authorization": f"Bearer {ADMIN_KEY}"}
    bound = await gateway.http.put(path, json={"credits": 8}, headers=key)
    assert bound.status_code == 200, bound.text
    (budget,) = await side.call("budget")
    assert (budget.credits, budget.spent, budget.remaining) == (8, Decimal("4.5"), Decimal("3.5"))
    assert isinstance(budget.spent, Decimal)
    with pytest.raises(OverBudget) as over:
        await side.call("create", MODEL, INPUT)
    error = over.value
    assert (error.period, error.cost, error.remaining) == ("day", Decimal("4.5"), Decimal("3.5"))
    assert error.renews_at == budget.renews_at
    assert error.retry_after
    found = await side.call("models")
    assert [model.model for model in found] in ([], [MODEL])  # made anew each minute
