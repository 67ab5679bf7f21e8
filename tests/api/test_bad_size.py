"""Bodies that are too large, or heavy within the limit: refused early, quickly and briefly."""

import time
from typing import Any

import pytest

from tests.api.stage import (
    Refusal,
    Sql,
    check_nothing_happened,
    check_refusal,
    dialled,
    head_of,
)
from tests.api.test_bad_input import body
from tests.gateway import Gateway
from tests.upstream import Upstream

TOO_LARGE = Refusal(status=413, code="body_too_large", says="1048576 bytes")


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """One for all of these tests: they leave nothing in it but rows."""
    return shared_gateway


async def test_an_announced_giant_is_refused_before_it_is_read(
    gateway: Gateway, sql: Sql, upstream: Upstream
) -> None:
    fields = (f"Authorization: Bearer {gateway.api_key}", "Content-Length: 1048577")
    async with dialled(gateway.http.base_url) as line:
        line.writer.write(head_of("POST", "/v1/tasks", *fields) + b'{"model":')
        check_refusal(await line.answer(), TOO_LARGE)
    await check_nothing_happened(sql, upstream)


async def test_a_giant_in_chunks_is_refused_before_its_end(
    gateway: Gateway, sql: Sql, upstream: Upstream
) -> None:
    fields = (f"Authorization: Bearer {gateway.api_key}", "Transfer-Encoding: chunked")
    async with dialled(gateway.http.base_url) as line:
        line.writer.write(head_of("POST", "/v1/tasks", *fields))
        line.writer.write(b"100000\r\n" + b" " * 0x100000 + b"\r\n1\r\n \r\n")  # no last chunk
        check_refusal(await line.answer(), TOO_LARGE)
    await check_nothing_happened(sql, upstream)


async def test_a_body_of_exactly_the_limit_is_read(gateway: Gateway) -> None:
    answer = await gateway.post(body().ljust(1_048_576))
    assert answer.status_code == 201, answer.text


CALLBACK = "/callbacks/kie/019a0000-0000-7000-8000-000000000000/wrong"


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/v1/tasks", (), 401),
        ("/v1/tasks", ("Authorization: Bearer kgw_wrong",), 401),
        (CALLBACK, (), 404),
        ("/nowhere", (), 404),
    ],
)
async def test_who_may_not_send_is_not_read(
    gateway: Gateway, path: str, fields: tuple[str, ...], status: int
) -> None:
    async with dialled(gateway.http.base_url) as line:
        line.writer.write(head_of("POST", path, "Content-Length: 5000000", *fields))
        assert (await line.answer()).status_code == status


MANY = ",".join(f'"{number:06}":0' for number in range(30_000))
HEAVY = {
    "a late twin": "{" + MANY + ',"029999":0}',
    "nothing known": "{" + MANY + "}",
    "metadata of numbers": body(metadata="{" + MANY + "}").decode(),
    "a long unknown name": '{"' + "modl" * 250_000 + '":0}',
}
"""Bodies within the limit that are all wrong."""


@pytest.mark.parametrize("name", HEAVY)
async def test_a_heavy_body_is_refused_quickly_and_briefly(gateway: Gateway, name: str) -> None:
    started = time.perf_counter()
    answer = await gateway.post(HEAVY[name].encode())
    took = time.perf_counter() - started
    content: dict[str, Any] = answer.json()
    assert content["code"] in {"malformed_body", "invalid_request"}
    assert len(answer.content) < 64 * 1024
    assert took < 2  # everybody else waits meanwhile: parsing alone takes 0.02 s
