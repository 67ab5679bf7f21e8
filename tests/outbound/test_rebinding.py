"""Names that change what they stand for: only what was vetted is connected to."""

import asyncio
from collections.abc import Sequence
from socket import EAI_AGAIN, gaierror

import pytest

from app.outbound import guard as guarding
from app.outbound.connections import session
from app.outbound.guard import Guard, PrivateNetworks
from app.outbound.registry import networks
from app.outbound.sender import Sender
from tests.outbound.stage import BODY, Names, is_blocked, raw, request, sending

GOOD = "127.0.0.2"
"""Stands for an allowed address: the listener of these tests."""
BAD = "127.0.0.1"
ANSWERS: dict[str, Sequence[Sequence[str] | OSError]] = {
    "flips for good": ([GOOD], [BAD]),
    "alternates": ([GOOD], [BAD], [GOOD], [BAD], [GOOD], [BAD]),
    "bad at once": ([BAD],),
    "both, the bad first": ([BAD, GOOD],),
    "both, the good first": ([GOOD, BAD],),
    "bad four times, then good": ([BAD, BAD, BAD, BAD, GOOD],),
    "mapped": ([GOOD], [f"::ffff:{BAD}"]),
    "mapped beside good": ([f"::ffff:{BAD}", GOOD],),
    "another family": ([GOOD], ["::1"]),
    "another family beside good": (["::1", GOOD],),
    "with a zone": ([GOOD], ["::1%1"]),
    "link-local with a zone": ([GOOD], ["fe80::1%1"]),
    "metadata": ([GOOD], ["169.254.169.254"]),
    "no answer, then bad": (gaierror(EAI_AGAIN, "later"), [BAD]),
    "translated": ([GOOD], [f"64:ff9b::{BAD}"]),
    "unspecified": ([GOOD], ["0.0.0.0"], ["::"]),  # noqa: S104  # it is not bound
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_a_name_that_changes_reaches_only_what_is_allowed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The forbidden address has a listener too, on the same port: nobody ever comes."""
    monkeypatch.setattr(guarding, "LOOPBACK", networks("127.0.0.1/32", "::1/128"))
    reached: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(str(writer.get_extra_info("sockname")[0]))
        await request(reader)
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

    async with (
        raw(serve, host=GOOD) as port,
        await asyncio.start_server(serve, [BAD, "::1"], port),
        sending(*ANSWERS[name], patience=1.0, connect=0.3) as sender,
    ):
        url = f"http://rebound.test:{port}/hook"
        sent = [await sender.post(url, BODY, {}) for _ in range(6)]
    assert set(reached) <= {GOOD}
    heard = [one for one in sent if one.status == 204]
    assert {one.address for one in heard} <= {GOOD}
    assert len(heard) == len(reached)
    for one in sent:
        assert one.status == 204 or is_blocked(one) or one.error, one


async def test_an_open_connection_is_judged_again_for_the_next_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under `listed`, one client's connection to a private host is not another's way to it."""
    monkeypatch.setattr(guarding, "LOOPBACK", ())
    monkeypatch.setattr(guarding, "PRIVATE", networks("127.0.0.0/8"))
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heard.append(await request(reader))
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    guard = Guard(allow_loopback=False, blocked=(), private=PrivateNetworks.LISTED)
    async with (
        raw(serve) as port,
        session(guard, connect=1.0, resolver=Names(["127.0.0.1"])) as http,
    ):
        sender, url = Sender(http, guard, 2.0), f"http://internal.test:{port}/hook"
        own = await sender.post(url, BODY, {}, ["internal.test"])
        stranger = await sender.post(url, BODY, {})
        elsewhere = await sender.post(url, BODY, {}, ["other.test"], others=True)
        again = await sender.post(url, BODY, {}, ["INTERNAL.test."], others=True)
    assert (own.status, again.status, len(heard)) == (204, 204, 2)
    assert is_blocked(stranger), stranger
    assert is_blocked(elsewhere), elsewhere
