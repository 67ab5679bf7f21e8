"""The URL that was given is the URL that is called, and what was vetted is what is dialed."""

import asyncio
import socket
from contextlib import AsyncExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.hosts import ascii_host
from app.outbound.guard import Guard
from app.outbound.target import Target
from tests.outbound.stage import post, raw, request, sending

GIVEN = {
    "/p%2Fq/%7Euser/a%20b:c?sig=a%2Bb%2Fc%3D%3D&r=http%3A%2F%2Fx&e=a%40b": None,
    "/p%2fq?x=%2f": None,
    "/a/../b": None,
    "/a/./b//c/": None,
    "/..": None,
    "/%2e%2e/%2E": None,
    "": "/",
    "/": None,
    "?a=b": "/?a=b",
    "/p?": None,
    "/p??a=?b": None,
    "/p?a+b=c+d&&;=": None,
    "/p?a=1&a=2&b": None,
    "/p#fragment": "/p",
    "/p?q#f?x": "/p?q",
    "/%": None,
    "/%zz/%C3%28": None,
    "/~user/!$&'()*+,;=:@-._": None,
    '/[a]|{b}\\c^`d"<e>': None,
    "/p?url=https://other.test:8443/x?y=z": None,
    "/caf%C3%A9": None,
    "/café?ü=€": "/caf%C3%A9?%C3%BC=%E2%82%AC",
    "/a@b:c": None,
    "//double//slash": None,
    "/;jsessionid=1;v=2": None,
    "/" + "x" * 1900: None,
}


async def test_every_spelling_arrives_as_it_was_given() -> None:
    heard: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await request(reader)
            heard.append(head.partition(b"\r\n")[0].decode())
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with raw(serve) as port, sending(loopback=True) as sender:
        for given_path in GIVEN:
            assert (await post(sender, f"http://127.0.0.1:{port}{given_path}")).status == 204
    wanted = [path if sent is None else sent for path, sent in GIVEN.items()]
    assert heard == [f"POST {path} HTTP/1.1" for path in wanted]


IDN = {
    "münchen.example": "xn--mnchen-3ya.example",
    "MÜNCHEN.Example": "xn--mnchen-3ya.example",
    "xn--MNCHEN-3ya.example": "xn--mnchen-3ya.example",
    "例え。テスト": "xn--r8jz45g.xn--zckzah",
    "straße.example": "xn--strae-oqa.example",
}


@pytest.mark.parametrize("spelled", IDN)
async def test_a_foreign_name_is_called_and_listed_in_both_spellings(spelled: str) -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await request(reader))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

    name = IDN[spelled]
    async with raw(serve) as port, sending(["127.0.0.1"], loopback=True) as sender:
        for hosts in ([spelled], [name], ["other.test", name.upper()]):
            url = f"http://{spelled}:{port}/hook"
            assert (await sender.post(url, b'{"type":"task.succeeded"}', {}, hosts)).status == 204
    assert len(heard) == 3
    assert all(f"Host: {name}:{port}\r\n".encode() in head for head in heard)


PIECES = st.sampled_from(
    [
        *"abc019.:/\\?#@[]%-_~!$&'()*+,;= \t\r\n",
        *("good.test", "evil.test", "127.0.0.1", "[::1]"),
        *(
            "%2e",
            "%40",
            "%00",
            "//",
            "http://",
            "\uff0e",
            "。",
            "①",
            "\uff0f",
            "\uff20",
            "\u200b",
            ":80",
            ":8080",
        ),
    ]
)
TEXTS = st.lists(PIECES, max_size=8).map("".join)


@settings(max_examples=400, deadline=None)
@given(before=TEXTS, after=TEXTS)
def test_no_text_leads_to_another_host_than_was_vetted(before: str, after: str) -> None:
    """What is accepted for `good.test` is dialed there, however the HTTP client reads it."""
    guard = Guard(allow_loopback=False, blocked=())
    for url in (f"http://{before}good.test{after}", f"{before}http://good.test{after}"):
        if guard.objection_to_url(url, ["good.test"]) is None:
            dialed = Target.of(url).url
            assert (dialed.raw_host or "").rstrip(".") == "good.test", url
            assert dialed.raw_user is None
            assert dialed.raw_path_qs.startswith("/")
            assert all("\x20" < char < "\x7f" for char in dialed.raw_path_qs)


@given(host=st.text(max_size=300))
def test_a_host_is_read_once_and_for_all(host: str) -> None:
    known = ascii_host(host)
    if known is not None:
        assert ascii_host(known) == known
        assert known.isascii()


# -- every way to write an address that must not be called

V4 = [
    *("127.0.0.1", "127.1", "127.0.1", "127.0.0.2", "127.255.255.254", "0", "0.0"),
    "0.0.0.0",  # noqa: S104  # it is not bound
    *("2130706433", "017700000001", "0x7f000001", "0X7F000001", "0x7f.1", "0177.1", "0177.0.0.01"),
    *("0x7f.0x0.0x0.0x1", "127.0x1", "00000177.0.0.1", "127.0.0.1.", "127.1.", "4294967297"),
    *("4294967295", "1.1.1.1.1", "256.0.0.1", "127.0.0.256", "127..1", ".127.0.0.1", "127.0.0.1.."),
    *("0x7g.1", "08.0.0.1", "127.0.0.0x", "0x", "00", "0x0", "127.0.0.1%00", "127.0.0.1%2e"),
    *("%31%32%37.0.0.1", "%6cocalhost", "localhost", "LOCALHOST", "localhost.", "a.localhost"),
    *("①②⑦.⓪.⓪.①", "１２７.０.０.１", "127。0。0。1", "127．0．0．1", "127｡0｡0｡1"),  # noqa: RUF001
    *("ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "ｌｏｃａｌｈｏｓｔ", "loc\u00adalhost", "localhost\u200b", "loca\u2060lhost"),  # noqa: RUF001
    *("⑴27.0.0.1", "２１３０７０６４３３", "０ｘ７ｆ．１", "𝟏𝟐𝟕.𝟎.𝟎.𝟏", "١٢٧.0.0.1"),  # noqa: RUF001
    *("169.254.169.254", "0xa9fea9fe", "2852039166", "169.254.43518", "0251.0376.0251.0376"),
    *("100.100.100.200", "168.63.129.16", "192.0.0.192", "100.64.0.1", "198.18.0.1", "192.0.2.1"),
    *("224.0.0.1", "255.255.255.255", "240.0.0.1", "192.88.99.1", "203.0.113.9", "198.51.100.9"),
]
V6 = [
    *("::1", "0:0:0:0:0:0:0:1", "0000:0000:0000:0000:0000:0000:0000:0001", "::0001", "::", "0::0"),
    *("::ffff:127.0.0.1", "::ffff:7f00:1", "::FFFF:7F00:0001", "0:0:0:0:0:ffff:127.0.0.1"),
    *("::127.0.0.1", "::7f00:1", "::ffff:0:127.0.0.1", "::ffff:0:7f00:1", "::ffff:0.0.0.0"),
    *("64:ff9b::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::127.0.0.1", "64:ff9b:1:7f00:0:100::"),
    *("64:ff9b:1:7f:0:1::", "64:ff9b::169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b::0.0.0.0"),
    *("2002:7f00:1::", "2002:7f00:0001::1", "2002:a9fe:a9fe::", "2002:808:808::1"),
    *("2001:0:7f00:1::", "2001::80ff:fffe", "2001:0:4136:e378:8000:63bf:80ff:fffe", "2001:db8::1"),
    *("2a00:1450::5efe:7f00:1", "2a00:1450::200:5efe:127.0.0.1", "fe80::5efe:7f00:1"),
    *("fe80::1", "fe80::1%1", "fe80::1%25lo", "::1%1", "::1%lo", "::1%25lo", "fec0::1", "ff02::1"),
    *("fd00:ec2::254", "fd00:EC2::254", "fd20:ce::254", "100::1", "3fff::1", "5f00::1", "4000::1"),
    *("::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "v1.127.0.0.1", "127.0.0.1", "localhost"),
    *(
        "::1]",
        "[::1",
        "::1]@",
        "::g",
        "1::2::3",
        "::ffff:127.1",
        "::ffff:0x7f.1",
        "::ffff:256.0.0.1",
    ),
]
USERS = [
    *("good.test@127.0.0.1", "good.test:80@127.0.0.1", "@127.0.0.1", ":@127.0.0.1", "a:b@[::1]"),
    *(
        "good.test%40127.0.0.1",
        "127.0.0.1\\@good.test",
        "127.0.0.1%2F@good.test",
        "good.test\\@[::1]",
    ),
    *(
        "127.0.0.1#@good.test",
        "127.0.0.1?@good.test",
        "good.test@127.0.0.1@good.test",
        "127.0.0.1;@x",
    ),
    *(
        "127.0.0.1\\.good.test",
        "127.0.0.1%09",
        "127.0.0.1%20",
        "127.0.0.1&x",
        "127.0.0.1;x",
        "127.0.0.1!",
    ),
]
SHAPES = [
    "http://{host}:{port}/",
    "HTTP://{host}:{port}",
    "http://{host}:{port}/hook?x=http://good.test/",
]
WHOLE = [
    *("http:127.0.0.1:{port}/", "http:/127.0.0.1:{port}/", "http:///127.0.0.1:{port}/"),
    *("http:////127.0.0.1:{port}/", "http:\\\\127.0.0.1:{port}\\", "http:/\\127.0.0.1:{port}/"),
    *(
        "//127.0.0.1:{port}/",
        "127.0.0.1:{port}",
        "\\\\127.0.0.1:{port}\\",
        " http://127.0.0.1:{port}/",
    ),
    *(
        "http://127.0.0.1:{port}/\r\nX: y",
        "http://127.0.0.1\r\n:{port}/",
        "http://127.0.0.1\t:{port}/",
    ),
    *("ht\ntp://127.0.0.1:{port}/", "\x00http://127.0.0.1:{port}/", "http://127.0.0.1\x00:{port}/"),
    *("http://127.0.0.1 :{port}/", "http:// 127.0.0.1:{port}/", "http://\u200b127.0.0.1:{port}/"),
    *(
        "ftp://127.0.0.1:{port}/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:{port}/_x",
        "ws://[::1]:{port}/",
    ),
    *(
        "wss://127.0.0.1:{port}/",
        "unix:///run/x.sock",
        "data:text/plain,x",
        "javascript:1",
        "dict://[::1]:{port}",
    ),
    *(
        "http+unix://%2Frun/x",
        "jar:http://127.0.0.1:{port}/!x",
        "http://127.0.0.1:0{port}/",
        "blob:http://[::1]/",
    ),
    *(
        "http://127.0.0.1:+{port}/",
        "http://127.0.0.1:-{port}/",
        "http://127.0.0.1:{port}x/",
        "http://127.0.0.1:/",
    ),
    *(
        "http://127.0.0.1:22/",
        "http://good.test:25/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1::{port}/",
    ),
    *(
        "https://127.0.0.1:{port}/",
        "https://[::1]:{port}/",
        "https://localhost:{port}/",
        "http://[::1]x:{port}/",
    ),
]


def _urls(port: int) -> list[str]:
    hosts = [*V4, *(f"[{host}]" for host in V6), *USERS]
    made = [shape.format(host=host, port=port) for host in hosts for shape in SHAPES]
    return [*made, *(whole.replace("{port}", str(port)) for whole in WHOLE)]


async def test_no_spelling_reaches_a_listener_of_this_machine() -> None:
    """By the real sender and the system's resolver; what is refused is refused in one way."""
    reached: list[str] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(str(writer.get_extra_info("sockname")))

    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(raw(serve))
        if socket.has_ipv6:
            await stack.enter_async_context(await asyncio.start_server(serve, "::1", port))
        sender = await stack.enter_async_context(sending(patience=1.0, connect=0.5))
        urls = _urls(port)
        assert len(urls) >= 246
        for start in range(0, len(urls), 50):
            some = urls[start : start + 50]
            sent = await asyncio.gather(*(post(sender, url) for url in some))
            said = {url: one for url, one in zip(some, sent, strict=True) if one.status is not None}
            assert said == {}
    assert reached == []
