"""Who gets in, for how long, and with which forms."""

import time
from collections.abc import AsyncIterator

import httpx
import pytest_asyncio
from pydantic import SecretStr

from app.domain.callback_url import derive
from app.services.clients.authentication import digest
from app.services.clients.refusals import TRIES
from app.services.clients.sessions import _mac
from tests.console.conftest import Browse, StartGateway
from tests.console.stage import ADMIN_KEY, HOME, PAGES, Browser, Sql, read
from tests.gateway import SECRET, Gateway

COOKIE = "kie_console"
ANN = "kga_" + "a" * 43
ACTS = (
    "/console/pause",
    "/console/resume",
    "/console/enable-url",
    "/console/deliveries/redeliver",
    "/console/tasks/019a0000-0000-7000-8000-000000000000/requeue",
    "/console/clients/tests/limits",
    "/console/clients/tests/rotate",
    "/console/keys",
    "/console/admin-keys",
)


async def admin_key(sql: Sql, role: str, key: str = ANN) -> None:
    await sql.execute(
        "INSERT INTO admin_keys (id, name, role, digest, hint)"
        " VALUES (gen_random_uuid(), 'ann', $1, $2, 'kga_aaaaaa')",
        role,
        digest(key),
    )


def forged(ends: float, *, name: str = "first", key: str = ADMIN_KEY, secret: str = SECRET) -> str:
    """Sign a session as the gateway does, but with an end of the test's own."""
    said = f"{name}.{int(ends)}.{'n' * 22}"
    return f"{said}.{_mac(derive(secret, 'console-session'), said.encode() + digest(key))}"


@pytest_asyncio.fixture
async def stranger(browse: Browse) -> AsyncIterator[Browser]:
    yield await browse()


async def test_nobody_sees_anything_before_signing_in(stranger: Browser, sql: Sql) -> None:
    for path in (*PAGES, "/console/tasks/x", "/console/live", "/console/nowhere"):
        answer = await stranger.http.get(path)
        assert answer.status_code == 303, path
        assert answer.headers["location"].startswith("/console/login?next=%2Fconsole")
    for path in ACTS:  # with a token of their own, which a stranger has, too
        form = {"form_token": await stranger.token("/console/login")}
        answer = await stranger.http.post(path, data=form)
        assert (answer.status_code, answer.text) == (303, "")
    assert await sql.fetchval("SELECT count(*) FROM audit_entries WHERE actor = 'console'") == 0


async def test_signing_in_and_out(stranger: Browser, sql: Sql) -> None:
    answer = await stranger.sign_in(next="/console/tasks?state=failed")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/tasks?state=failed")
    flags = {flag.strip().lower() for flag in answer.headers["set-cookie"].split(";")[1:]}
    assert flags == {"httponly", "max-age=28800", "path=/console", "samesite=strict"}
    token = stranger.http.cookies[COOKIE]
    assert ADMIN_KEY not in token
    assert digest(ADMIN_KEY).hex() not in token
    entry = await sql.fetchrow("SELECT * FROM audit_entries ORDER BY id DESC LIMIT 1")
    assert entry is not None
    assert (entry["action"], entry["who"]) == ("console_entered", "GATEWAY_ADMIN_KEY")
    assert entry["detail"] == '{"role": "keys"}'
    page = await stranger.open(HOME)
    assert "GATEWAY_ADMIN_KEY" in page
    assert (await stranger.http.get("/console/login")).status_code == 303
    await stranger.act("/console/logout")
    assert COOKIE not in stranger.http.cookies
    assert (await stranger.http.get(HOME)).status_code == 303


async def test_a_wrong_key_counts_as_in_the_api(
    start_gateway: StartGateway, browse: Browse
) -> None:
    gateway = await start_gateway(admin_key=SecretStr(ADMIN_KEY))
    browser = await browse(gateway)
    for _ in range(TRIES):
        answer = await browser.sign_in("wrong <script>")
        assert (answer.status_code, "no admin key" in answer.text) == (401, True)
        assert "wrong" not in answer.text
    answer = await browser.sign_in()
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    bearer = {"Authorization": f"Bearer {ADMIN_KEY}"}
    assert (await browser.http.get("/v1/admin/stuck", headers=bearer)).status_code == 429


async def test_only_pages_of_the_console_are_led_to(stranger: Browser) -> None:
    for elsewhere in ("https://evil.test/", "//evil.test", "/v1/tasks", "/console//evil.test",
                      "/console/\\evil.test", "/consolex", "/console/a\nb"):  # fmt: skip
        answer = await stranger.sign_in(next=elsewhere)
        assert answer.headers["location"] == HOME, elsewhere
        stranger.http.cookies.clear()


async def test_the_cookie_is_secure_behind_https(
    start_gateway: StartGateway, browse: Browse
) -> None:
    gateway = await start_gateway(admin_key=SecretStr(ADMIN_KEY), trusted_proxies=["127.0.0.1"])
    browser = await browse(gateway)
    proto = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
    answer = await browser.http.get("/console/login", headers=proto)
    assert "; Secure" in answer.headers["set-cookie"]
    answer = await browser.http.get("/console/login")
    assert "secure" not in answer.headers["set-cookie"].lower()


async def test_what_is_no_session_opens_nothing(stranger: Browser) -> None:
    now = time.time()
    good = forged(now + 60)
    stranger.http.cookies.set(COOKIE, good, path=HOME)
    await stranger.open(HOME)  # so the others fail for what is wrong with them
    for bad in (
        forged(now - 1),
        forged(now + 60, key="another-admin-key-of-before"),
        forged(now + 60, secret="another-secret-of-another-gateway"),
        forged(now + 60, name="stranger", key=""),
        forged(now + 60, name="0" * 32),
        good[:-1] + ("A" if good[-1] != "A" else "B"),
        good.replace("first", "f" * 32),
        good + "x",
        "",
    ):
        stranger.http.cookies.clear()
        stranger.http.cookies.set(COOKIE, bad, path=HOME)
        assert (await stranger.http.get(HOME)).status_code == 303, bad


async def test_a_session_ends_with_its_key(
    browse: Browse, sql: Sql, start_shared: StartGateway, admin_gateway: Gateway
) -> None:
    await admin_key(sql, "operate")
    ann, first = await browse(key=ANN), await browse(key=ADMIN_KEY)
    assert "ann" in await ann.open(HOME)
    await first.act("/console/admin-keys/ann/revoke", back="/console/clients")
    assert (await ann.http.get(HOME)).status_code == 303
    rotated = await start_shared(admin_key=SecretStr("the-next-admin-key-not-to-be-shown"))
    cookie = {"Cookie": f"{COOKIE}={first.http.cookies[COOKIE]}"}
    for gateway, status in ((admin_gateway, 200), (rotated, 303)):
        async with httpx.AsyncClient(base_url=gateway.http.base_url, trust_env=False) as http:
            assert (await http.get(HOME, headers=cookie)).status_code == status


async def test_a_form_needs_the_token_of_its_session(
    browser: Browser, browse: Browse, sql: Sql
) -> None:
    other = await (await browse(key=ADMIN_KEY)).token()
    before = await sql.fetchval("SELECT count(*) FROM audit_entries")
    for path in ACTS:
        for token in ("", "x", other, "\u00e4"):
            answer = await browser.http.post(path, data={"note": "x", "form_token": token})
            assert (answer.status_code, "not this session" in answer.text) == (403, True)
    token = await browser.token()
    answer = await browser.http.post("/console/pause", json={"form_token": token})
    assert answer.status_code == 400
    answer = await browser.http.post(
        "/console/pause", data={"form_token": token, "a": "x" * 70_000}
    )
    assert answer.status_code == 413
    answer = await browser.http.post("/console/pause", data={"form_token": token, "note": "\0"})
    assert answer.status_code == 400
    assert await sql.fetchval("SELECT count(*) FROM audit_entries") == before
    await browser.open("/console/pause", 404)


async def test_roles_bound_what_is_shown_and_done(browse: Browse, sql: Sql) -> None:
    """What a key is not for has no button, and is refused all the same."""
    await admin_key(sql, "read")
    ann = await browse(key=ANN)
    for path in (*PAGES, "/console/clients/tests"):
        forms = [form.action for form in read(await ann.open(path)).forms if form.method == "post"]
        assert forms == ["/console/logout"], path
    for path in ACTS:
        await ann.act(path, 403)
    await sql.execute("UPDATE admin_keys SET role = 'operate'")
    await ann.act("/console/pause", client="tests")
    for path in ACTS[-4:]:
        await ann.act(path, 403)
    shown = {form.action for form in read(await ann.open("/console/clients")).forms}
    assert shown == {"/console/logout"}
    noted = await sql.fetch("SELECT who FROM audit_entries WHERE action = 'admission_paused'")
    assert [row["who"] for row in noted] == ["ann"]


async def test_without_an_admin_key_there_is_no_console(
    start_shared: StartGateway, browse: Browse, sql: Sql
) -> None:
    gateway = await start_shared()
    nowhere = (await gateway.http.get("/v1/nowhere")).json()
    for path in (HOME, "/console/login", "/console/x"):
        for method in ("GET", "POST"):
            answer = await gateway.http.request(method, path)
            assert answer.status_code == 404
            assert {**answer.json(), "request_id": ""} == {**nowhere, "request_id": ""}
    await admin_key(sql, "read")  # one that the command line made
    ann = await browse(gateway, key=ANN)
    assert "ann" in await ann.open(HOME)
    bearer = {"Authorization": f"Bearer {ANN}"}
    assert (await gateway.http.get("/v1/admin/stuck", headers=bearer)).status_code == 404
    await sql.execute("UPDATE admin_keys SET revoked_at = now()")
    assert (await ann.http.get(HOME)).status_code == 404
