"""`/v1/files`: files go through to kie.ai as they come, and only whole ones are recorded."""

import base64
import hashlib
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.api.conftest import IssueKey, StartGateway
from tests.api.stage import NOT_FOUND, Refusal, Sql, check_refusal, dialled, head_of
from tests.gateway import Gateway
from tests.stage import eventually
from tests.uploads import Host

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 400
"""Of about 100 kB."""


def form(*parts: bytes, boundary: bytes = b"b", end: bytes = b"--") -> bytes:
    """Write a form; each part has its head and its body."""
    return b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts) + (
        b"--%b%b\r\n" % (boundary, end)
    )


def part(about: bytes, body: bytes, more: bytes = b"") -> bytes:
    return b"Content-Disposition: form-data; %b\r\n%b\r\n%b" % (about, more, body)


FILE = part(b'name="file"; filename="a.png"', PNG)


@pytest_asyncio.fixture
async def gateway(start_uploading: StartGateway) -> Gateway:
    return await start_uploading()


async def test_a_file_goes_to_kie_and_is_recorded_as_it_was(
    gateway: Gateway, host: Host, sql: Sql
) -> None:
    uploaded = await gateway.http.post(
        "/v1/files", files={"file": ("../a b.png", PNG, "image/png")}
    )
    assert uploaded.status_code == 201, uploaded.text
    file = uploaded.json()
    (there,) = await host.has()
    client_id = await sql.fetchval("SELECT id FROM clients")
    assert file["sha256"] == there["sha256"] == hashlib.sha256(PNG).hexdigest()
    assert file["bytes"] == there["bytes"] == len(PNG)
    assert (file["name"], file["content_type"]) == ("a b.png", "image/png")
    assert (there["path"], there["name"]) == (f"kie-gateway/{client_id}", f"{file['id']}.png")
    assert file["url"] == there["url"]
    assert (await host.http.get(file["url"])).content == PNG
    assert file["reference"] == f"kgw-file:{file['id']}"
    assert uploaded.headers["location"] == f"/v1/files/{file['id']}"
    assert (await gateway.http.get(f"/v1/files/{file['id']}")).json() == file
    assert (await gateway.http.get("/v1/files")).json() == {"data": [file], "next_cursor": None}
    seconds = "SELECT extract(epoch FROM expires_at - created_at)::int FROM files"
    assert await sql.fetchval(seconds) == 3 * 24 * 3600


async def test_a_file_is_fetched_from_a_url(gateway: Gateway, host: Host) -> None:
    first = (await gateway.http.post("/v1/files", files={"file": ("a.png", PNG)})).json()
    second = await gateway.http.post("/v1/files", json={"url": first["url"], "name": "b.png"})
    assert second.status_code == 201, second.text
    assert second.json()["sha256"] == first["sha256"]
    assert second.json()["name"] == "b.png"
    assert len(await host.has()) == 2
    page = (await gateway.http.get("/v1/files", params={"limit": 1})).json()
    assert [file["id"] for file in page["data"]] == [second.json()["id"]]
    rest = await gateway.http.get("/v1/files", params={"cursor": page["next_cursor"]})
    assert [file["id"] for file in rest.json()["data"]] == [first["id"]]


@pytest.mark.parametrize("behind", [True, False])
async def test_kie_ais_own_form_is_taken_with_fields_before_and_behind_the_file(
    gateway: Gateway, host: Host, *, behind: bool
) -> None:
    fields = {"uploadPath": "images/../user-uploads", "fileName": "my photo.png", "purpose": "x"}
    file = {"file": ("orig.png", PNG, "image/png")}
    parts: list[Any] = [*file.items(), *((n, (None, v)) for n, v in fields.items())]
    answered = await gateway.http.post(
        "/api/file-stream-upload", files=parts if behind else parts[::-1]
    )
    body = answered.json()
    (there,) = await host.has()
    assert (body["success"], body["code"]) == (True, 200), body
    assert body["data"]["downloadUrl"] == there["url"]
    assert body["data"]["filePath"] == "images/user-uploads/my photo.png"
    assert there["path"].startswith("kie-gateway/")
    assert there["path"].endswith("/images/user-uploads")
    assert (there["name"], there["bytes"]) == ("my photo.png", len(PNG))
    own = (await gateway.http.get(f"/v1/files/{answered.headers['x-kie-gateway-file']}")).json()
    assert own["sha256"] == there["sha256"]


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
async def test_kie_ais_base64_is_decoded_as_it_comes(
    gateway: Gateway, host: Host, prefix: str
) -> None:
    body = {
        "base64Data": prefix + base64.b64encode(PNG).decode(),
        "uploadPath": "images",
        "fileName": "b.png",
        "purpose": ["what is not known is ignored, as at kie.ai"],
    }
    answered = (await gateway.http.post("/api/file-base64-upload", json=body)).json()
    assert answered["success"], answered
    (there,) = await host.has()
    assert there["sha256"] == hashlib.sha256(PNG).hexdigest()
    assert (there["name"], answered["data"]["mimeType"]) == ("b.png", "image/png")
    fetched = await gateway.http.post(
        "/api/file-url-upload", json={"fileUrl": there["url"], "uploadPath": "images"}
    )
    assert fetched.json()["data"]["fileSize"] == len(PNG), fetched.json()


MULTIPART = "multipart/form-data; boundary=b"
BROKEN = {
    "no boundary": ("multipart/form-data", form(FILE)),
    "a boundary of 71 characters": (f"multipart/form-data; boundary={'b' * 71}", form(FILE)),
    "another boundary": ("multipart/form-data; boundary=c", form(FILE)),
    "no part": (MULTIPART, form()),
    "no end": (MULTIPART, form(FILE, end=b"")),
    "nothing": (MULTIPART, b""),
    "no name": (MULTIPART, form(part(b'filename="a.png"', PNG))),
    "no file name": (MULTIPART, form(part(b'name="file"', PNG))),
    "two files": (MULTIPART, form(FILE, FILE)),
    "10,000 parts": (MULTIPART, form(*[part(b'name="name"', b"x")] * 10_000)),
    "an endless header": (MULTIPART, form(b"X: " + b"x" * 200_000 + b"\r\n" + FILE)),
    "1,000 headers": (MULTIPART, form(b"X: x\r\n" * 1_000 + FILE)),
    "a header without end": (MULTIPART, b"--b\r\n" + b"x" * 200_000),
    "a coded part": (
        MULTIPART,
        form(part(b'name="file"; filename="a"', b"YQ==", b"Content-Transfer-Encoding: base64\r\n")),
    ),
    "much behind it": (MULTIPART, form(FILE) + b"x" * 500_000),
    "mixed": ("multipart/mixed; boundary=b", form(FILE)),
    "the file itself": ("image/png", PNG),
}
REFUSED = {
    "unknown_part": (form(part(b'name="secret"', b"x"), FILE), 422, "invalid_request"),
    "a long name": (form(part(b'name="name"', b"x" * 5000), FILE), 422, "invalid_request"),
    "a name twice": (form(*[part(b'name="name"', b"x")] * 2, FILE), 422, "invalid_request"),
    "a name behind": (form(FILE, part(b'name="name"', b"x")), 422, "invalid_request"),
    "empty": (form(part(b'name="file"; filename="a"', b"")), 422, "invalid_request"),
    "a page": (
        form(part(b'name="file"; filename="a.png"', b"<!DOCTYPE html><script>")),
        415,
        "unsupported_file_type",
    ),
    "a lie": (
        form(part(b'name="file"; filename="a"', b"%PDF-1.7", b"Content-Type: image/png\r\n")),
        415,
        "unsupported_file_type",
    ),
    "a program": (
        form(part(b'name="file"; filename="a.png"', b"MZ" + b"x" * 600)),
        415,
        "unsupported_file_type",
    ),
}


async def test_hostile_forms_are_refused_and_nothing_is_recorded(
    gateway: Gateway, host: Host, sql: Sql
) -> None:
    for name, (content_type, body) in BROKEN.items():
        answered = await gateway.http.post(
            "/v1/files", content=body, headers={"Content-Type": content_type}
        )
        assert (answered.status_code, answered.json()["code"]) == (400, "malformed_multipart"), name
    for name, (body, status, code) in REFUSED.items():
        answered = await gateway.http.post(
            "/v1/files", content=body, headers={"Content-Type": MULTIPART}
        )
        assert (answered.status_code, answered.json()["code"]) == (status, code), name
    assert await sql.fetchval("SELECT count(*) FROM files") == 0
    assert await host.has() == []


async def test_a_name_may_be_as_old_clients_write_it(gateway: Gateway, host: Host) -> None:
    """urllib3 1 names a file with other letters by `filename*` only."""
    old = part(b"name=\"file\"; filename*=utf-8''%E7%8C%AB.png", PNG)
    answered = await gateway.http.post(
        "/v1/files", content=form(old), headers={"Content-Type": MULTIPART}
    )
    assert answered.status_code == 201, answered.text
    assert answered.json()["name"] == "\u732b.png"
    assert len(await host.has()) == 1


NAMES = {
    b"../../etc/passwd": "passwd",
    b"C:\\Users\\me\\photo.png": "photo.png",
    b"a\x00b\x1f.png": "ab.png",
    b"%22; rm -rf.png": "_22_ rm -rf.png",
    "\u202egnp.exe".encode(): "gnp.exe",
    "\u732b.png".encode(): "\u732b.png",
    b"x" * 400 + b".png": "x" * 116 + ".png",
    b"...": "file",
    b"": "file",
}


@pytest.mark.parametrize(("given", "kept"), NAMES.items())
async def test_a_files_name_is_harmless(
    gateway: Gateway, host: Host, given: bytes, kept: str
) -> None:
    body = form(part(b'name="file"; filename="%b"' % given, PNG))
    answered = await gateway.http.post(
        "/v1/files", content=body, headers={"Content-Type": MULTIPART}
    )
    assert answered.status_code == 201, answered.text
    assert answered.json()["name"] == kept
    (there,) = await host.has()
    assert there["name"].startswith(answered.json()["id"])


async def test_an_upload_that_is_cut_off_leaves_nothing(
    gateway: Gateway, host: Host, sql: Sql
) -> None:
    beginning = form(part(b'name="file"; filename="a.png"', PNG * 20))
    head = head_of(
        *("POST", "/v1/files", f"Authorization: Bearer {gateway.api_key}"),
        *(f"Content-Type: {MULTIPART}", f"Content-Length: {2 * len(beginning)}"),
    )
    async with dialled(gateway.http.base_url) as line:
        line.writer.write(head + beginning[: len(beginning) // 2])
        await line.writer.drain()

    async def it_was_cut_off() -> bool | None:
        return await host.cut_off() == 1 or None

    await eventually(it_was_cut_off)
    assert await host.has() == []
    assert await sql.fetchval("SELECT count(*) FROM files") == 0


PLANS: dict[str, tuple[dict[str, Any], int, str, int]] = {
    "refused": ({"code": 422, "msg": "File type not supported"}, 422, "upload_refused", 400),
    "early": ({"early": True, "code": 413}, 422, "upload_refused", 400),
    "no credits": ({"code": 402}, 502, "kie_not_answering", 455),
    "key": ({"code": 401}, 502, "kie_not_answering", 455),
    "busy": ({"code": 429}, 502, "kie_not_answering", 455),
    "hangs up": ({"hang_up_after": 50_000}, 502, "kie_not_answering", 455),
}


async def test_what_kie_says_of_a_file_is_mapped(gateway: Gateway, host: Host, sql: Sql) -> None:
    for name, (plan, status, code, kies) in PLANS.items():
        await host.next(**plan, count=2)
        answered = await gateway.http.post("/v1/files", files={"file": ("a.png", PNG * 10)})
        assert (answered.status_code, answered.json()["code"]) == (status, code), name
        body = (
            await gateway.http.post("/api/file-stream-upload", files={"file": ("a", PNG * 10)})
        ).json()
        assert (body["success"], body["code"], body["data"]) == (False, kies, None), name
    assert await sql.fetchval("SELECT count(*) FROM files") == 0


async def test_what_kie_says_before_it_has_all_counts_for_nothing(
    gateway: Gateway, host: Host, sql: Sql
) -> None:
    await host.next(early=True, code=200)
    answered = await gateway.http.post("/v1/files", files={"file": ("a.png", PNG * 200)})
    check_refusal(answered, Refusal(status=502, code="kie_not_answering"))
    assert await sql.fetchval("SELECT count(*) FROM files") == 0


async def test_size_time_and_number_are_bounded(
    start_uploading: StartGateway, host: Host, sql: Sql
) -> None:
    gateway = await start_uploading(
        max_upload_bytes=50_000, upload_stall_timeout=1, client_uploads=1
    )
    large = await gateway.http.post("/v1/files", files={"file": ("a.png", PNG)})
    check_refusal(large, Refusal(status=413, code="body_too_large", says="MAX_UPLOAD_BYTES"))
    small = {"file": ("a.png", PNG[:400])}
    head = head_of(
        *("POST", "/v1/files", f"Authorization: Bearer {gateway.api_key}"),
        *(f"Content-Type: {MULTIPART}", "Content-Length: 40000"),
    )

    async def it_is_full() -> httpx.Response | None:
        second = await gateway.http.post("/v1/files", files=small)
        return second if second.status_code == 429 else None

    async with dialled(gateway.http.base_url) as line:
        line.writer.write(head + form(FILE)[:30_000])
        second = await eventually(it_is_full)
        check_refusal(await line.answer(), Refusal(status=408, code="upload_stalled"))
    check_refusal(second, Refusal(status=429, code="too_many_uploads"))
    assert second.headers["retry-after"]
    await host.next(stall=5)
    stalled = await gateway.http.post("/v1/files", files=small)
    check_refusal(stalled, Refusal(status=502, code="kie_not_answering"))
    await sql.execute("DELETE FROM files")
    assert (await gateway.http.post("/v1/files", files=small)).status_code == 201


async def test_a_file_is_its_clients_own(gateway: Gateway, host: Host, new_key: IssueKey) -> None:
    named = {"uploadPath": "same", "fileName": "a.png"}
    file = {"file": ("a.png", PNG)}
    headers = {"Authorization": f"Bearer {await new_key('another')}"}
    mine = await gateway.http.post("/api/file-stream-upload", files=file, data=named)
    theirs = await gateway.http.post(
        "/api/file-stream-upload", files=file, data=named, headers=headers
    )
    assert len(await host.has()) == 2  # equal names overwrite each other at kie.ai
    assert mine.json()["data"]["filePath"] == theirs.json()["data"]["filePath"]
    place = f"/v1/files/{mine.headers['x-kie-gateway-file']}"
    check_refusal(await gateway.http.get(place, headers=headers), NOT_FOUND)
    listed = (await gateway.http.get("/v1/files", headers=headers)).json()["data"]
    assert [one["id"] for one in listed] == [theirs.headers["x-kie-gateway-file"]]


URLS = {
    "http://10.1.2.3/a.png": "is in a private network",
    "http://169.254.169.254/latest/meta-data": "is link-local",
    "http://[::ffff:192.168.0.1]/a.png": "is in a network for special purposes",
    "http://user:secret@example.com/a.png": "should have no user or password",
    "http://0x7f000001:25/a.png": "should have port 80, 443, or one above 1023",
}


async def test_only_public_urls_are_fetched(gateway: Gateway, host: Host, sql: Sql) -> None:
    for url, words in URLS.items():
        answered = await gateway.http.post("/v1/files", json={"url": url})
        says = Refusal(status=422, code="file_not_fetchable", pointer="/url", says=words)
        assert "GATEWAY_" not in check_refusal(answered, says)["detail"]
    missing = await gateway.http.post("/v1/files", json={"url": f"{host.url}/uploads/none"})
    assert "its source answered 404" in missing.json()["detail"]
    assert await sql.fetchval("SELECT count(*) FROM files") == 0
