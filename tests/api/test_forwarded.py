"""Whose address is believed: `X-Forwarded-For` of trusted proxies, read from the right."""

from ipaddress import ip_network

import pytest
from starlette.types import Receive, Scope, Send

from app.api.forwarded import TrustedProxies

PROXY, STRANGER = "10.0.0.1", "203.0.113.9"
TRUSTED = tuple(map(ip_network, ("10.0.0.0/8", "fd00::/8")))
CALLER = "198.51.100.7"

CASES: dict[str, tuple[str | None, list[str], str | None]] = {
    "a trusted proxy": (PROXY, [CALLER], CALLER),
    "nothing forwarded": (PROXY, [], PROXY),
    "a stranger": (STRANGER, [CALLER], STRANGER),
    "a stranger who says to be a proxy": (STRANGER, [f"{CALLER}, {PROXY}"], STRANGER),
    "what the caller wrote itself": (PROXY, [f"127.0.0.1, {CALLER}"], CALLER),
    "what the caller wrote in a line of its own": (PROXY, ["127.0.0.1", CALLER], CALLER),
    "two hops": (PROXY, [f"{CALLER}, 10.9.9.9"], CALLER),
    "three hops and a lie": (PROXY, [f"10.0.0.5, {CALLER}, 10.9.9.9, fd00::1"], CALLER),
    "a hop that is not trusted": (PROXY, [f"{CALLER}, {STRANGER}, 10.9.9.9"], STRANGER),
    "proxies only": (PROXY, ["10.3.3.3, 10.9.9.9"], "10.3.3.3"),
    "IPv6": (PROXY, ["2001:DB8::0001"], "2001:db8::1"),
    "IPv6 with a port": (PROXY, ["[2001:db8::1]:4711"], "2001:db8::1"),
    "IPv4 with a port": (PROXY, [f"{CALLER}:4711"], CALLER),
    "IPv4 in IPv6": (PROXY, [f"::ffff:{CALLER}"], CALLER),
    "a proxy on a dual-stack listener": (f"::ffff:{PROXY}", [CALLER], CALLER),
    "a stranger on one": (f"::ffff:{STRANGER}", [CALLER], STRANGER),
    "a word": (PROXY, ["unknown"], PROXY),
    "a word behind an address": (PROXY, [f"{CALLER}, _hidden"], PROXY),
    "markup": (PROXY, ["<script>alert(1)</script>"], PROXY),
    "nothing but commas": (PROXY, [",,,"], PROXY),
    "a bracket": (PROXY, ["[::1"], PROXY),
    "very many hops": (PROXY, [", ".join(["10.1.1.1"] * 5000 + [CALLER])], CALLER),
    "a Unix socket": (None, [CALLER], None),
}


async def address(peer: str | None, forwarded: list[str], *trusted: object) -> str | None:
    seen: list[Scope] = []

    async def app(scope: Scope, _: Receive, __: Send) -> None:
        seen.append(scope)

    async def nothing(*_: object) -> None: ...

    scope: Scope = {
        "type": "http",
        "scheme": "http",
        "client": None if peer is None else (peer, 5000),
        "headers": [(b"x-forwarded-for", value.encode()) for value in forwarded],
    }
    await TrustedProxies(app, trusted)(scope, nothing, nothing)  # type: ignore[arg-type]
    client = seen[0]["client"]
    return client[0] if client else None


@pytest.mark.parametrize("name", CASES)
async def test_whose_request_it_is(name: str) -> None:
    peer, forwarded, expected = CASES[name]
    assert await address(peer, forwarded, *TRUSTED) == expected


@pytest.mark.parametrize("peer", [PROXY, "127.0.0.1", "::1"])
async def test_nobody_is_trusted_unless_named(peer: str) -> None:
    assert await address(peer, [CALLER]) == peer
