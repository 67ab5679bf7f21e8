"""What the pages show and do: every button, what hostile texts become, and what is never shown."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr
from starlette.responses import PlainTextResponse

from app.api.browsers import HEADERS
from app.console import live
from app.console.render import POLICY
from tests.console import scene
from tests.console.conftest import Browse, StartGateway
from tests.console.stage import ADMIN_KEY, HOME, PAGES, Browser, Sql, read
from tests.gateway import SECRET, Gateway
from tests.stage import eventually
from tests.upstream import Upstream, failed, succeeded

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
FOUND = "f" * 32
URL = "https://hooks.test/s3cret-path?t=s3cret"


async def lost(gateway: Gateway, sql: Sql, upstream: Upstream) -> str:
    """Create a task whose create's answer is lost; returns its id."""
    upstream.answers(lambda: PlainTextResponse("oops", status_code=500))
    task = await gateway.create()
    upstream.on_create = None
    await sql.execute("UPDATE tasks SET due_at = NULL")
    return str(task["id"])


async def told(sql: Sql, state: str = "exhausted") -> str:
    """Have a delivery to a URL with a secret in it; returns its id."""
    found = await sql.fetchval(
        "INSERT INTO deliveries (id, client_id, task_id, event, url, host, body, state, tries,"
        " finished_at) SELECT gen_random_uuid(), client_id, id, 'task.succeeded', $1, 'hooks.test',"
        " '{}', $2, 12, now() FROM tasks LIMIT 1 RETURNING id",
        URL,
        state,
    )
    return str(found)


async def acts(sql: Sql) -> list[str]:
    """Return what was done in the console, oldest first, without who came in."""
    rows = await sql.fetch(
        "SELECT action, who, address FROM audit_entries WHERE actor = 'console' ORDER BY id"
    )
    assert {(row["who"], row["address"]) for row in rows} == {("GATEWAY_ADMIN_KEY", "127.0.0.1")}
    return [row["action"] for row in rows if row["action"] != "console_entered"]


async def test_every_page_keeps_secrets_and_the_policy(
    browser: Browser, admin_gateway: Gateway, sql: Sql, upstream: Upstream
) -> None:
    """Whatever clients, receivers and kie.ai write, it is text; and no secret is in it."""
    task = await admin_gateway.create(
        model=HOSTILE, metadata={HOSTILE[:60]: HOSTILE}, webhook_url=URL
    )
    path = upstream.callback_path
    answer = failed(task["kie_task_id"], failMsg=HOSTILE, callBackUrl=f"https://gateway.test{path}")
    assert (await admin_gateway.call_back(path, answer)).status_code == 200
    delivery = await told(sql)
    await sql.execute(
        "INSERT INTO delivery_attempts (delivery_id, number, seconds, status, answer) "
        "SELECT id, 1, 0.1, 500, $1 FROM deliveries",
        HOSTILE.encode(),
    )
    await sql.execute("UPDATE client_queues SET paused_at = now(), pause_note = $1", HOSTILE)
    await sql.execute("INSERT INTO disabled_urls SELECT client_id, url FROM deliveries LIMIT 1")
    own = (f"/console/tasks/{task['id']}", f"/console/deliveries/{delivery}")
    seen = ""
    for path_ in (*PAGES, *own, "/console/clients/tests", f"/console/tasks?model={HOSTILE[:9]}"):
        page = await browser.http.get(path_)
        assert page.status_code == 200, page.text
        wanted = {**HEADERS, "Content-Security-Policy": POLICY}
        assert {name: page.headers.get(name) for name in wanted} == wanted
        assert read(page.text).inline == []
        seen += page.text
    assert "<script>alert" not in seen
    assert "<img src=x" not in seen
    assert seen.count("&lt;script&gt;alert(1)") > 6  # it was there to be shown
    token = path.rsplit("/", 1)[1]
    for secret in (ADMIN_KEY, SECRET, admin_gateway.api_key, "s3cret", token, "sk-not-to-be"):
        assert secret not in seen, secret


async def test_assets_are_kept_for_a_year_and_change_their_names(browse: Browse) -> None:
    stranger = await browse()
    page = await stranger.open("/console/login")
    for name in ("console", "icon"):
        path = page.split(f'href="/console/static/{name}.')[1].split('"')[0]
        answer = await stranger.http.get(f"/console/static/{name}.{path}")
        assert (answer.status_code, answer.headers["cache-control"]) == (
            200,
            "private, max-age=31536000, immutable",
        )
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await stranger.http.get("/console/static/console.css")).status_code == 404


async def test_the_brake(browser: Browser, sql: Sql) -> None:
    page = await browser.open(HOME)
    assert "Nothing holds the account" in page
    answer = await browser.act("/console/pause", note="wrong prompt", back=HOME)
    assert answer.headers["location"] == "/console?done=paused"
    page = await browser.open("/console?done=paused")
    assert "Paused: nothing more is sent." in page
    assert "wrong prompt" in page
    await browser.act("/console/resume")
    await browser.act("/console/pause", client="tests")
    assert "/console/resume" in [form.action for form in read(await browser.open(HOME)).forms]
    await browser.act("/console/resume", client="tests")
    await browser.act("/console/pause", 404, client="nobody")
    paused, resumed = "admission_paused", "admission_resumed"
    assert await acts(sql) == [paused, resumed, paused, resumed]


async def test_what_is_stuck_is_solved_by_its_button(
    browser: Browser, admin_gateway: Gateway, sql: Sql, upstream: Upstream
) -> None:
    first = await lost(admin_gateway, sql, upstream)
    second = await lost(admin_gateway, sql, upstream)
    page = await browser.open("/console/needs-you")
    for task_id in (first, second):
        assert f"/console/tasks/{task_id}/bind" in page
        assert "nobody knows what became of it" in (
            await browser.open(f"/console/tasks/{task_id}")
        ).replace("\n", " ")
    upstream.records[FOUND] = succeeded(FOUND)
    back = "/console/needs-you"
    bound = await browser.act(f"/console/tasks/{first}/bind", kie_task_id=FOUND, back=back)
    assert bound.headers["location"] == "/console/needs-you?done=bound"
    await browser.act(f"/console/tasks/{first}/bind", 409, kie_task_id="another")
    await browser.act(f"/console/tasks/{second}/requeue", 409)
    await browser.act(f"/console/tasks/{second}/requeue", may_pay_again="yes")
    await sql.execute("UPDATE tasks SET parked_at = now() WHERE id = $1", UUID(first))
    assert f"/console/tasks/{first}/release" in await browser.open("/console/needs-you")
    await browser.act(f"/console/tasks/{first}/release")
    await browser.act(f"/console/tasks/{second}/cancel")
    third = await lost(admin_gateway, sql, upstream)
    await browser.act(f"/console/tasks/{third}/fail", 400)
    await browser.act(f"/console/tasks/{third}/fail", reason="called off")
    assert (await admin_gateway.task(second))["state"] == "canceled"
    assert (await admin_gateway.task(third))["state"] == "failed"
    await browser.act(f"/console/tasks/{third}/cancel", 404)
    assert f"/console/tasks/{third}/erase" in await browser.open(f"/console/tasks/{third}")
    await browser.act(f"/console/tasks/{third}/erase", 400)  # without the tick
    erased = await browser.act(f"/console/tasks/{third}/erase", for_good="yes")
    assert erased.headers["location"] == "/console/tasks?done=erased"
    await browser.act(f"/console/tasks/{first}/erase", 409, for_good="yes")
    done = ["task_bound", "task_requeued", "task_released", "tasks_canceled", "tasks_failed"]
    assert await acts(sql) == [*done, "task_erased"]


async def test_kie_is_asked_about_a_task(
    browse: Browse, start_gateway: StartGateway, sql: Sql, upstream: Upstream
) -> None:
    gateway = await start_gateway(admin_key=SecretStr(ADMIN_KEY), worker=True)
    browser = await browse(gateway, key=ADMIN_KEY)
    task = await gateway.create()
    upstream.records[task["kie_task_id"]] = succeeded(task["kie_task_id"])
    await browser.act(f"/console/tasks/{task['id']}/refresh", back=f"/console/tasks/{task['id']}")
    page = await browser.open(f"/console/tasks/{task['id']}")
    assert "answer to a query" in page
    assert "kie.ai reported its result" in page
    assert await acts(sql) == ["task_refreshed"]


async def test_deliveries_are_sent_again(
    browser: Browser, admin_gateway: Gateway, sql: Sql
) -> None:
    await admin_gateway.create()
    ids = [await told(sql) for _ in range(3)]
    page = await browser.open("/console/needs-you")
    assert all(f"/console/deliveries/{one}/redeliver" in page for one in ids)
    await browser.act(f"/console/deliveries/{ids[0]}/redeliver")
    page = await browser.open("/console/needs-you")
    assert f"/console/deliveries/{ids[0]}/redeliver" not in page  # it is on its way
    path = "/console/deliveries/redeliver"
    answer = await browser.act(path, 200, client="tests", state="exhausted")
    assert "<strong>2</strong> deliveries" in answer.text
    await browser.act("/console/deliveries/redeliver", 400, state="exhausted")
    await browser.act("/console/deliveries/redeliver", 404, client="nobody")
    pending = await sql.fetchval("SELECT count(*) FROM deliveries WHERE state = 'pending'")
    assert pending == 3
    details = await sql.fetch(
        "SELECT client, detail FROM audit_entries WHERE action = 'deliveries_repeated' ORDER BY id"
    )
    assert [row["client"] for row in details] == ["tests", "tests"]
    assert json.loads(details[0]["detail"]) == {"delivery_id": ids[0]}
    assert json.loads(details[1]["detail"]) == {"state": "exhausted", "deliveries": "2"}


async def test_a_disabled_url_is_called_again_without_being_shown(
    browser: Browser, admin_gateway: Gateway, sql: Sql
) -> None:
    await admin_gateway.create()
    await told(sql)
    await sql.execute("INSERT INTO disabled_urls SELECT client_id, url FROM deliveries")
    forms = read(await browser.open("/console/needs-you")).forms
    (form,) = [form for form in forms if form.action == "/console/enable-url"]
    client, sha256 = form.fields["client"], form.fields["sha256"]
    for wrong in ("0" * 64, "x"):
        await browser.act(form.action, 404, client=client, sha256=wrong)
    await browser.act(form.action, client=client, sha256=sha256)
    assert await sql.fetchval("SELECT count(*) FROM disabled_urls") == 0
    assert await acts(sql) == ["url_enabled"]


async def test_clients_and_keys(browser: Browser, admin_gateway: Gateway, sql: Sql) -> None:
    issued = await browser.act("/console/keys", 200, client="shop", scopes="tasks:read")
    key = issued.text.split('class="secret"')[1].split(">")[1].split("<")[0]
    own = {"Authorization": f"Bearer {key}"}
    assert (await admin_gateway.http.get("/v1/tasks", headers=own)).status_code == 200
    assert key not in await browser.open("/console/clients/shop")
    base = "/console/clients/shop"
    await browser.act(f"{base}/limits", weight="7", streams="3", running_share="0.5")
    await browser.act(f"{base}/limits", 400, weight="7", streams="many")
    await browser.act(f"{base}/limits", 400, weight="0")
    await browser.act(f"{base}/budget", period="month", credits="12.5", mode="hard")
    await browser.act(f"{base}/budget", 400, period="week", credits="12.5", mode="hard")
    await browser.act(f"{base}/budget", 400, period="day", credits="much", mode="hard")
    page = await browser.open(base)
    assert "0 spent, 0 reserved of 12.5" in page
    assert 'name="streams" inputmode="decimal" placeholder="usual" value="3"' in page
    await browser.act(f"{base}/clear-budget", period="month")
    rotated = await browser.act(f"{base}/rotate", 200, grace_hours="0")
    assert "whsec_" in rotated.text
    await browser.act(f"{base}/disable")
    assert (await admin_gateway.http.get("/v1/tasks", headers=own)).status_code == 403
    await browser.act(f"{base}/enable")
    key_id = await sql.fetchval("SELECT id FROM api_keys WHERE hint = $1", key[:10])
    await browser.act(f"/console/keys/{key_id}/revoke")
    await browser.act(f"/console/keys/{key_id}/revoke", 404)
    assert (await admin_gateway.http.get("/v1/tasks", headers=own)).status_code == 401
    made = await browser.act("/console/admin-keys", 200, name="ann", role="read")
    assert "kga_" in made.text
    await browser.act("/console/admin-keys", 400, name="ann", role="read")
    await browser.act("/console/admin-keys/ann/revoke")
    await browser.act("/console/keys", 400)
    assert await acts(sql) == [
        *("key_created", "client_changed", "budget_set", "budget_cleared", "secret_rotated"),
        *("client_disabled", "client_enabled", "key_revoked"),
        *("admin_key_created", "admin_key_revoked"),
    ]
    page = await browser.open("/console/audit")
    assert "admin key revoked" in page


WRONG: Mapping[str, tuple[Mapping[str, str], str]] = {
    "/console/tasks": ({"state": "lost"}, "should be one of queued"),
    "/console/tasks?client=nobody": ({}, "no client called nobody"),
    "/console/tasks?created_after=soon": ({}, "should be a time"),
    "/console/tasks?created_before=9999-12-31T00:00": ({}, "a year that we know"),
    "/console/tasks?cursor=x": ({}, "cursor"),
    "/console/tasks?client=%00": ({}, "NUL"),
    "/console/deliveries": ({"state": "lost"}, "should be one of pending"),
    "/console/deliveries?cursor=x": ({}, "cursor"),
    "/console/usage": ({"from": "soon"}, "should be a day"),
    "/console/usage?from=2020-01-01": ({}, "at most"),
    "/console/usage?client=nobody": ({}, "no client called nobody"),
    "/console/audit": ({"before": "x"}, "whole number"),
    "/console/clients": ({"skip": "x"}, "whole number"),
    "/console/live": ({"task": "x"}, "id of a task"),
    "/console/find": ({}, "filled in"),
}


async def test_a_wrong_filter_is_answered_by_a_page(browser: Browser) -> None:
    for path, (query, says) in WRONG.items():
        answer = await browser.http.get(path, params=query) if query else (
            await browser.http.get(path)
        )  # fmt: skip
        assert (answer.status_code, says in answer.text) == (400, True), (path, answer.text)
        assert answer.headers["content-type"].startswith("text/html")
    for path in ("/console/tasks/x", "/console/deliveries/x", "/console/clients/x", "/console/x",
                 "/console/find?id=nothing", f"/console/tasks/{UUID(int=7)}"):  # fmt: skip
        await browser.open(path, 404)


async def test_tasks_page_by_page(browser: Browser, admin_gateway: Gateway, sql: Sql) -> None:
    first = await admin_gateway.create(model="rare")
    await sql.execute(
        "INSERT INTO tasks (id, client_id, state, model, input, metadata, priority, fingerprint,"
        " submit_by, created_at) SELECT gen_random_uuid(), client_id, 'queued', 'm', '{}', '{}', 5,"
        " '', now(), now() + make_interval(secs => n) FROM tasks, generate_series(1, 70) n"
    )
    page = await browser.open("/console/tasks")
    assert page.count('class="mono" href="/console/tasks/') == 50
    older = page.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    page = await browser.open(older)
    assert page.count('class="mono" href="/console/tasks/') == 21
    assert first["id"] in page
    assert 'rel="next"' not in page
    query = urlencode({"model": "rare", "state": "running", "client": "tests"})
    page = await browser.open(f"/console/tasks?{query}")
    assert page.count('class="mono" href="/console/tasks/') == 1
    for wanted in (first["id"], first["kie_task_id"]):
        found = await browser.http.get("/console/find", params={"id": wanted})
        assert found.headers["location"] == f"/console/tasks/{first['id']}"


async def test_only_pictures_are_shown_of_the_archive(
    browse: Browse, start_gateway: StartGateway, sql: Sql, tmp_path: Path
) -> None:
    gateway = await start_gateway(admin_key=SecretStr(ADMIN_KEY), archive_url=f"file://{tmp_path}")
    browser = await browse(gateway, key=ADMIN_KEY)
    task = await gateway.create()
    png = scene.picture(1, side=8)
    for n, kind in enumerate(("image/png", "image/svg+xml", "text/html"), 1):
        (tmp_path / str(n)).write_bytes(png)
        await sql.execute(
            "INSERT INTO artifacts (task_id, n, client_id, kind, digest, state, object,"
            " content_type, bytes, source_url) SELECT id, $1, client_id, 'url', $2, 'stored', $3,"
            " $4, $5, 'https://files.test/?sig=s3cret' FROM tasks",
            *(n, str(n).encode(), str(n), kind, len(png)),
        )
    base = f"/console/tasks/{task['id']}"
    page = await browser.open(base)
    assert page.count("<img src=") == 2  # the picture, and the icon
    assert "s3cret" not in page
    answer = await browser.http.get(f"{base}/artifacts/1")
    assert (answer.content, answer.headers["content-type"]) == (png, "image/png")
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    for wrong in ("2", "3", "4", "x", "9" * 30):
        await browser.open(f"{base}/artifacts/{wrong}", 404)


# -- live


@asynccontextmanager
async def listening(browser: Browser, path: str) -> AsyncIterator["asyncio.Queue[str]"]:
    """Open a stream; lends its words as they come."""
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def listen(stream: httpx.Response) -> None:
        async for line in stream.aiter_lines():
            if line.startswith("event: "):
                heard.put_nowait(line.removeprefix("event: "))

    async with browser.http.stream("GET", path) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        reading = asyncio.ensure_future(listen(stream))
        try:
            yield heard
        finally:
            reading.cancel()
            await asyncio.wait([reading])


async def test_a_callback_is_said_within_a_second(
    browser: Browser, admin_gateway: Gateway, upstream: Upstream
) -> None:
    for path in ("/console/live", "/console/live?task={}"):
        task = await admin_gateway.create()
        page = f"/console/tasks/{task['id']}"
        async with listening(browser, path.format(task["id"])) as heard:
            assert "kie.ai reported its result" not in await browser.open(page)
            body = succeeded(task["kie_task_id"])
            await admin_gateway.call_back(upstream.callback_path, body)
            async with asyncio.timeout(1.0):
                await heard.get()
                while "kie.ai reported its result" not in await browser.open(page):
                    await heard.get()


async def test_streams_are_bounded_and_given_back(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MOST", 1)
    async with browser.http.stream("GET", "/console/live") as stream:
        assert stream.status_code == 200
        answer = await browser.http.get("/console/live")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")

    async def look() -> bool | None:
        return None if live._open else True

    await eventually(look)  # the server notices when it next writes


async def test_a_stream_ends_with_its_session(
    browse: Browse, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "CHECK", 0.0)
    await sql.execute(
        "INSERT INTO admin_keys (id, name, role, digest, hint) VALUES (gen_random_uuid(), 'ann',"
        " 'read', sha256($1::text::bytea), 'kga_aaaaaa')",
        "kga_" + "a" * 43,
    )
    ann = await browse(key="kga_" + "a" * 43)
    async with listening(ann, "/console/live") as heard:
        await sql.execute("UPDATE admin_keys SET revoked_at = now()")
        async with asyncio.timeout(5):
            while await heard.get() != "over":
                pass
