"""What the archive has is handed out: to its client, in ranges, and without harm to a browser."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.gateway import Gateway, issue_key
from tests.services.callers import Caller, listening
from tests.services.files.source import PICTURE, SHA, whole
from tests.services.files.stage import Stage
from tests.upstream import LINK, refused

SIZE = len(PICTURE)


@pytest_asyncio.fixture
async def path(stage: Stage) -> str:
    """The path of a copy."""
    stage.source.files["/a.html"] = whole(kind="text/html")
    task = await stage.succeed(stage.source.url("/a.html"))
    await stage.archive()
    return f"/v1/tasks/{task['id']}/artifacts/1"


RANGES = {
    None: (200, 0, SIZE),
    "bytes=0-9": (206, 0, 10),
    "bytes=100-": (206, 100, SIZE),
    "bytes=-7": (206, SIZE - 7, SIZE),
    "bytes=0-": (206, 0, SIZE),
    f"bytes=0-{SIZE * 2}": (206, 0, SIZE),
    f"bytes=-{SIZE * 2}": (206, 0, SIZE),
    "bytes=0-1,5-6": (200, 0, SIZE),
    "bytes=9-3": (200, 0, SIZE),
    "lines=1-2": (200, 0, SIZE),
    f"bytes={SIZE}-": (416, 0, 0),
    "bytes=-0": (416, 0, 0),
    "bytes=" + "9" * 400 + "-": (200, 0, SIZE),
}


async def test_a_directory_is_streamed_whole_and_in_ranges(stage: Stage, path: str) -> None:
    http = stage.gateway.http
    for asked, (status, start, end) in RANGES.items():
        answer = await http.get(path, headers={} if asked is None else {"Range": asked})
        assert answer.status_code == status, asked
        if status == 416:
            assert answer.json()["code"] == "range_not_satisfiable"
            assert answer.headers["content-range"] == f"bytes */{SIZE}"
            continue
        assert answer.content == PICTURE[start:end], asked
        headers = answer.headers
        assert headers["content-type"].startswith("text/html")
        assert headers["content-disposition"].startswith('attachment; filename="')
        assert headers.get_list("x-content-type-options") == ["nosniff"]
        assert [one for one in headers.get_list("content-security-policy") if "sandbox" in one]
        assert headers["etag"] == f'"{SHA}"'
        shown = f"bytes {start}-{end - 1}/{SIZE}" if status == 206 else None
        assert headers.get("content-range") == shown


async def test_a_range_counts_only_of_the_file_that_was_begun(stage: Stage, path: str) -> None:
    for etag, status in ((f'"{SHA}"', 206), ('"another"', 200), (f'W/"{SHA}"', 200)):
        fields = {"Range": "bytes=1-2", "If-Range": etag}
        assert (await stage.gateway.http.get(path, headers=fields)).status_code == status


async def test_nobody_else_has_it(stage: Stage, path: str) -> None:
    other = await issue_key(stage.gateway.settings, "other")
    there = await stage.gateway.http.get(path, headers={"Authorization": f"Bearer {other}"})
    missing = await stage.gateway.http.get(path.removesuffix("1") + "2")
    assert there.status_code == missing.status_code == 404
    assert there.json()["detail"] == missing.json()["detail"]
    for number in ("0", "-1", "99999999999999999999", "x", "1%2F..%2F2"):
        answer = await stage.gateway.http.get(path.removesuffix("1") + number)
        assert answer.status_code in (404, 422), number


async def test_an_object_that_is_lost_or_waits_is_said_to_be(stage: Stage, path: str) -> None:
    for file in stage.directory.rglob("*.html"):
        file.unlink()
    answer = await stage.gateway.http.get(path)
    assert (answer.status_code, answer.json()["code"]) == (409, "artifact_not_stored")
    task = await stage.succeed(stage.source.url("/b.png"))
    answer = await stage.gateway.http.get(f"/v1/tasks/{task['id']}/artifacts/1")
    assert (answer.status_code, answer.json()["code"]) == (409, "artifact_not_stored")
    assert "task.archived" in answer.json()["detail"]


async def test_a_task_whose_source_has_died_still_answers(stage: Stage, path: str) -> None:
    stage.source.files.clear()
    assert (await stage.gateway.http.get(path)).content == PICTURE


# -- the drop-in API


async def link(gateway: Gateway, url: str) -> Any:
    answer = await gateway.http.post("/api/v1/common/download-url", json={"url": url})
    return answer.json()["data"]


async def test_download_url_is_of_the_copy_once_kie_has_deleted_it(stage: Stage, path: str) -> None:
    url = stage.source.url("/a.html")
    assert await link(stage.gateway, url) == LINK
    stage.upstream.on_download = lambda: refused(422, "url is wrong")
    copy = await link(stage.gateway, url)
    assert copy.endswith(path)
    assert (await stage.gateway.http.get(copy)).content == PICTURE
    stage.upstream.on_download = None
    asked = len(stage.upstream.downloads)
    await stage.sql.execute("UPDATE tasks SET finished_at = finished_at - interval '15 days'")
    assert (await link(stage.gateway, url)).endswith(path)
    assert len(stage.upstream.downloads) == asked  # kie.ai has it no more, and is not asked
    other = await issue_key(stage.gateway.settings, "other")
    stage.gateway.http.headers["Authorization"] = f"Bearer {other}"
    assert await link(stage.gateway, url) is None


# -- webhooks


@pytest_asyncio.fixture
async def caller() -> AsyncIterator[Caller]:
    async with listening() as caller:
        yield caller


@pytest.fixture
def archived(archived: dict[str, Any]) -> dict[str, Any]:
    return {**archived, "delivery_allow_loopback": True}


async def test_task_archived_is_sent_to_those_who_subscribe(stage: Stage, caller: Caller) -> None:
    stage.source.files["/a.png"] = whole()
    for events in (None, ["task.succeeded", "task.archived"]):
        await stage.sql.execute("UPDATE clients SET webhook_events = $1", events)
        await stage.succeed(stage.source.url("/a.png"), webhook_url=caller.url)
        await stage.archive()
        await stage.services.deliverer.deliver_due()
        await stage.services.deliverer.drain()
    said = [(one.event, one.json["data"]["artifacts"][0]["state"]) for one in caller.heard]
    assert sorted(said) == [
        ("task.archived", "stored"),
        ("task.succeeded", "waiting"),
        ("task.succeeded", "waiting"),
    ]
    [told] = [one.json["data"] for one in caller.heard if one.event == "task.archived"]
    assert told["artifacts"][0]["sha256"] == SHA
