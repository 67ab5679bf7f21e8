"""Debian's nginx with the configuration of `docs/nginx.conf`, on ports of the test's own."""

import asyncio
import contextlib
import os
import re
import shutil
import socket
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.stage import eventually

PAGE = Path(__file__).parents[2] / "docs" / "nginx.conf"
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
"""Where it is installed: `apt-get install nginx-light`; None: it is not."""

_MAIN = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 512; }}
http {{
    log_format tries '$request_method $status $upstream_status';
    access_log {folder}/access.log tries;
    access_log {folder}/requests.log combined;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/gateway.conf;
}}
"""


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in found]


@dataclass(frozen=True, slots=True)
class Nginx:
    """An nginx at work, and what it noted of each request."""

    url: str
    folder: Path

    def answers(self) -> Counter[str]:
        """Count `METHOD STATUS TRIES`, where the tries are the statuses of each process tried."""
        return Counter((self.folder / "access.log").read_text().splitlines())

    @property
    def said(self) -> str:
        """Everything that it logged."""
        logs = ("access.log", "requests.log", "error.log")
        return "".join((self.folder / name).read_text() for name in logs)

    @property
    def repeated(self) -> int:
        """How many requests went to more than one process."""
        return sum(count for line, count in self.answers().items() if "," in line)


@contextlib.asynccontextmanager
async def before(
    ports: Sequence[int], folder: Path, *, receiver: int | None = None, listen: int = 0
) -> AsyncIterator[Nginx]:
    """Run nginx before the gateways at these ports, as the page has it.

    `receiver` is the port of the one that takes callbacks, where that is another one; `listen`
    is nginx's own, 0 for any.
    """
    assert NGINX is not None
    listen = listen or free_ports(1)[0]
    text = PAGE.read_text()
    if receiver is not None:
        text = _apart(text, receiver)
    named = re.findall(r"server (10\.0\.0\.\d:8000)", text)
    for address, port in zip(named, ports, strict=True):
        text = text.replace(address, f"127.0.0.1:{port}")
    assert text.count("listen 443;") == 1
    (folder / "gateway.conf").write_text(text.replace("listen 443;", f"listen 127.0.0.1:{listen};"))
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder, user=user))
    process = await asyncio.create_subprocess_exec(
        NGINX, *("-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf", "-p", f"{folder}")
    )
    try:

        async def listens() -> bool | None:
            assert process.returncode is None, (folder / "error.log").read_text()
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", listen)
                writer.close()
                return True
            return None

        await eventually(listens)
        yield Nginx(f"http://127.0.0.1:{listen}", folder)
    finally:
        process.terminate()
        await process.wait()


def _apart(text: str, receiver: int) -> str:
    """Have callbacks go to an upstream of their own."""
    head, place, rest = text.partition("    location /callbacks/ {")
    assert place
    upstream = f"upstream receivers {{ server 127.0.0.1:{receiver}; }}\n"
    return upstream + head + place + rest.replace("http://kie_gateway;", "http://receivers;", 1)
