"""Results are copied before kie.ai deletes them: once, whole, bounded, from public addresses."""

import asyncio
import base64
import re
from hashlib import sha256
from typing import Any

import pytest

from app.store.files import outcomes
from tests.fixtures.gateway import Wire
from tests.gateway import OPERATOR
from tests.services.files.source import PICTURE, SHA, endless, head, raw, whole
from tests.services.files.stage import Stage, success
from tests.stage import eventually

NAME = re.compile(r"tests/\d{4}/\d{2}/[0-9a-f-]{36}/\d+\.[a-z0-9]+")


async def test_each_file_is_stored_once_with_its_hash(stage: Stage) -> None:
    stage.source.files = {"/a.png": whole(), "/b": whole(b"{}", "Video/MP4; codecs=x")}
    urls = [stage.source.url("/a.png?signed=1"), stage.source.url("/b")]
    stage.source.files["/a.png?signed=1"] = stage.source.files["/a.png"]
    before = await stage.succeed(*urls)
    assert [(one["state"], one["url"]) for one in before["artifacts"]] == [("waiting", None)] * 2
    await stage.archive()
    task = await stage.gateway.task(before["id"])
    own = f"/v1/tasks/{task['id']}/artifacts"
    assert task["artifacts"] == [
        {
            "n": 1,
            "source_url": urls[0],
            "state": "stored",
            "content_type": "image/png",
            "bytes": len(PICTURE),
            "sha256": SHA,
            "reason": None,
            "url": f"{own}/1",
        },
        {
            "n": 2,
            "source_url": urls[1],
            "state": "stored",
            "content_type": "video/mp4",
            "bytes": 2,
            "sha256": sha256(b"{}").hexdigest(),
            "reason": None,
            "url": f"{own}/2",
        },
    ]
    assert task["version"] > before["version"]
    stored = stage.stored()
    assert sorted(stored.values(), key=len) == [b"{}", PICTURE]
    assert all(NAME.fullmatch(name) and task["id"] in name for name in stored)
    agents = {headers["user-agent"].partition("/")[0] for _, headers in stage.source.asked}
    assert agents == {"kie-gateway"}
    assert all(headers["accept-encoding"] == "identity" for _, headers in stage.source.asked)
    history = (await stage.gateway.http.get(f"/v1/tasks/{task['id']}/events")).json()["data"]
    assert (history[-1]["type"], history[-1]["reason"]) == (
        "task.archived",
        "2 stored, 0 given up",
    )
    await stage.archive()
    assert len(stage.source.asked) == 2  # nothing is done twice


LONG = head("200 OK", "Content-Type: image/png", "Content-Length: 2000000")
HALF = head("200 OK", "Content-Type: image/png", "Content-Length: 1000") + b"x" * 500
OPEN = head("200 OK", "Content-Type: image/png") + b"x" * 500
ZIPPED = head("200 OK", "Content-Encoding: gzip", "Content-Length: 3") + b"abc"
AWAY = head("302 Found", "Location: http://127.0.0.1/", "Content-Length: 0")

FAULTS = {
    "/long": (raw(LONG), "it is larger than 1048576 bytes: 2000000 bytes", True),
    "/endless": (endless, "it is larger than 1048576 bytes: it goes on", True),
    "/half": (raw(HALF), "it broke off after 500 bytes", False),
    "/open": (raw(OPEN), "its source does not say where it ends", False),
    "/zipped": (raw(ZIPPED), "its source sends it encoded, though asked not to", False),
    "/away": (raw(AWAY), "its source answered 302", False),
    "/gone": (whole(b"no", status="404 Not Found"), "its source answered 404", False),
    "/picky": (whole(b"no", status="403 Forbidden"), "its source answered 403", False),
    "/broken": (whole(b"no", status="502 Bad Gateway"), "its source answered 502", False),
    "/nonsense": (raw(b"SSH-2.0-OpenSSH\r\n"), "", False),
}


async def test_what_cannot_be_copied_is_named_and_no_trace_is_kept(stage: Stage) -> None:
    stage.source.files = {path: serve for path, (serve, *_) in FAULTS.items()}
    refused = (
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.7/x.png",
        "http://[fd00::1]/x.png",
        "http://192.168.1.1.nip.invalid./x",
        "http://127.0.0.1:22/x.png",
    )
    urls = [*(stage.source.url(path) for path in FAULTS), *refused]
    task = await stage.succeed(*urls)
    for _ in range(4):
        await stage.due()
        await stage.archive()
    found = {one["source_url"]: one for one in (await stage.gateway.task(task["id"]))["artifacts"]}
    assert {one["state"] for one in found.values()} == {"failed"}
    assert stage.stored() == {}
    for path, (_, reason, _) in FAULTS.items():
        assert reason in found[stage.source.url(path)]["reason"], path
    for url in (refused[0], refused[1], refused[2], refused[4]):
        assert found[url]["reason"].startswith("blocked: "), url
    tries = {path: sum(asked == path for asked, _ in stage.source.asked) for path in FAULTS}
    lasting = {path for path, (_, _, at_once) in FAULTS.items() if at_once}
    assert tries == {path: 1 if path in lasting else 3 for path in FAULTS}
    assert (await stage.gateway.task(task["id"]))["state"] == "succeeded"


async def test_a_stalled_source_is_left_and_tried_again(
    stage: Stage, wire: Wire, archived: dict[str, Any]
) -> None:
    stage.services = await wire(**{**archived, "archive_stall": 0.05})
    stage.source.files["/held.png"] = whole()
    task = await stage.succeed(stage.source.url("/held.png"))
    await stage.archive()
    [one] = (await stage.gateway.task(task["id"]))["artifacts"]
    assert (one["state"], one["reason"]) == ("waiting", "no answer within 0.05 s")
    stage.source.go.set()
    await stage.due()
    await stage.archive()
    [one] = (await stage.gateway.task(task["id"]))["artifacts"]
    assert (one["state"], one["reason"], one["sha256"]) == ("stored", None, SHA)


async def test_results_without_urls_are_files_too(stage: Stage) -> None:
    inside = "data:image/png;base64," + base64.b64encode(PICTURE).decode()
    drawn = await stage.succeed(result={"resultObject": {"images": [inside, inside, "x"]}})
    told = await stage.succeed(result={"resultObject": {"text": "a cat"}})
    broken = await stage.succeed(result={"resultObject": ["data:image/png;base64,%%%"]})
    await stage.archive()
    [one] = (await stage.gateway.task(drawn["id"]))["artifacts"]
    assert one["source_url"] == "data:image/png;base64"
    assert (one["state"], one["sha256"], one["content_type"]) == ("stored", SHA, "image/png")
    [one] = (await stage.gateway.task(told["id"]))["artifacts"]
    assert (one["source_url"], one["content_type"]) == (None, "application/json")
    assert stage.stored()[
        f"tests/{told['created_at'][:4]}/{told['created_at'][5:7]}/{told['id']}/1.json"
    ] == (b'{"resultObject":{"text":"a cat"}}')
    [one] = (await stage.gateway.task(broken["id"]))["artifacts"]
    assert one["state"] == "failed"


async def test_a_process_that_dies_between_put_and_commit_leaves_one_object(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.source.files["/a.png"] = whole()
    task = await stage.succeed(stage.source.url("/a.png"))
    whole_stored = outcomes.stored

    async def dies(*_: object, **__: object) -> bool:
        raise asyncio.CancelledError

    monkeypatch.setattr(outcomes, "stored", dies)
    await stage.archive()
    [name] = stage.stored()
    monkeypatch.setattr(outcomes, "stored", whole_stored)
    # The source calls it otherwise now: still one object, under its new name.
    stage.source.files["/a.png"] = whole(kind="image/webp")
    await stage.due()
    await stage.archive()
    [renamed] = stage.stored()
    assert (name.rpartition(".")[2], renamed.rpartition(".")[2]) == ("png", "webp")
    [one] = (await stage.gateway.task(task["id"]))["artifacts"]
    assert (one["state"], one["sha256"]) == ("stored", SHA)


async def test_a_copy_whose_lease_was_lost_changes_nothing(
    stage: Stage, wire: Wire, archived: dict[str, Any]
) -> None:
    stage.source.files["/held.png"] = whole()
    task = await stage.succeed(stage.source.url("/held.png"))
    await stage.services.archiver.archive_due()

    async def asked() -> bool | None:
        return len(stage.source.asked) == 1 or None

    await eventually(asked)
    other = await wire(**archived)
    await stage.due()  # the first process seems to be dead
    await other.archiver.archive_due()
    stage.source.go.set()
    await other.archiver.ended()
    await stage.services.archiver.ended()
    [one] = (await stage.gateway.task(task["id"]))["artifacts"]
    assert (one["state"], one["sha256"]) == ("stored", SHA)
    assert await stage.sql.fetchval("SELECT attempt FROM artifacts") == 2
    events = "SELECT count(*) FROM task_events WHERE kind = 'archived'"
    assert await stage.sql.fetchval(events) == 1
    assert len(stage.stored()) == 1


async def test_a_task_that_is_deleted_takes_its_objects_along(stage: Stage) -> None:
    stage.source.files = {"/a.png": whole(), "/held.png": whole()}
    await stage.succeed(stage.source.url("/a.png"), stage.source.url("/held.png"))
    await stage.services.archiver.archive_due()

    async def one_stored() -> bool | None:
        return len(stage.stored()) == 1 or None

    await eventually(one_stored)
    erased = await stage.services.erasure.client(OPERATOR, "tests")
    assert (erased.tasks, set(erased.left)) == (1, {"copies"})
    rows = await stage.sql.fetch("SELECT * FROM artifacts")
    assert all(row["source_url"] is None and row["state"] == "deleting" for row in rows)
    stage.source.go.set()  # the copy that is under way finds nothing to be a copy of
    await stage.services.archiver.ended()
    await stage.due()
    await stage.archive()
    assert stage.stored() == {}
    assert await stage.sql.fetchval("SELECT count(*) FROM artifacts") == 0
    assert (await stage.services.erasure.client(OPERATOR, "tests")).left == {}
    assert await stage.sql.fetchval("SELECT erased_at FROM clients") is not None


async def test_clients_may_have_no_copies_or_shorter_ones(stage: Stage) -> None:
    stage.source.files["/a.png"] = whole()
    await stage.sql.execute("UPDATE clients SET archives = false")
    task = await stage.succeed(stage.source.url("/a.png"))
    assert task["artifacts"] == []
    await stage.sql.execute("UPDATE clients SET archives = NULL, archive_days = 7")
    task = await stage.succeed(stage.source.url("/a.png"))
    await stage.archive()
    assert len(stage.stored()) == 1
    await stage.sql.execute(
        "UPDATE artifacts SET finished_at = finished_at - interval '7 days 1 minute'"
    )
    stage.services.archiver._lapsed_at = None  # a minute passes
    await stage.archive()
    assert stage.stored() == {}
    [one] = (await stage.gateway.task(task["id"]))["artifacts"]
    assert (one["state"], one["url"]) == ("deleted", None)
    answer = await stage.gateway.http.get(f"/v1/tasks/{task['id']}/artifacts/1")
    assert (answer.status_code, answer.json()["code"]) == (409, "artifact_not_stored")


async def test_a_later_file_is_copied_as_well(stage: Stage) -> None:
    stage.source.files = {"/a.png": whole(), "/b.png": whole(b"more")}
    task = await stage.succeed(stage.source.url("/a.png"))
    await stage.archive()
    both = {"resultUrls": [stage.source.url("/a.png"), stage.source.url("/b.png")]}
    stage.upstream.records[task["kie_task_id"]] = success(task["kie_task_id"], both)
    await stage.sql.execute("UPDATE tasks SET due_at = clock_timestamp()")
    await stage.services.poller.poll_due()
    await stage.services.poller.drain()
    await stage.archive()
    found = (await stage.gateway.task(task["id"]))["artifacts"]
    assert [(one["n"], one["state"], one["bytes"]) for one in found] == [
        (1, "stored", len(PICTURE)),
        (2, "stored", 4),
    ]


async def test_clients_take_turns(stage: Stage, wire: Wire, archived: dict[str, Any]) -> None:
    services = await wire(**{**archived, "archive_concurrency": 4})
    await services.keys.create("quiet")
    quiet = await stage.sql.fetchval("SELECT id FROM clients WHERE name = 'quiet'")
    task = await stage.succeed(*(stage.source.url(f"/held{n}.png") for n in range(30)))
    await stage.sql.execute(
        "UPDATE artifacts SET client_id = $1, due_at = clock_timestamp() WHERE n IN (29, 30)", quiet
    )
    await services.archiver.archive_due()
    leased = await stage.sql.fetch(
        "SELECT client_id FROM artifacts WHERE leased_until > clock_timestamp()"
    )
    assert sorted(row["client_id"] == quiet for row in leased) == [False, False, True, True]
    assert task["artifacts"][28]["state"] == "waiting"
    await services.archiver.drain()
    assert await stage.sql.fetchval("SELECT count(*) FROM artifacts WHERE tries > 0") == 0
    assert (
        await stage.sql.fetchval("SELECT count(*) FROM artifacts WHERE leased_until IS NOT NULL")
        == 0
    )
