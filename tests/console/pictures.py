"""Writes the console's pictures for the pages: `python -m tests.console.pictures [--all FOLDER]`.

A gateway over a PostgreSQL of its own is filled with the scene and looked at with Debian's
Chromium; without that, nothing is written and the old pictures stay.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, Page, StorageState, async_playwright
from pydantic import SecretStr

from app import log
from app.main import create_app
from app.store import schema
from benchmarks.against import postgres
from tests.console import chromium, scene
from tests.console.stage import ADMIN_KEY, PAGES
from tests.fixtures.gateway import settings_of_tests
from tests.stage import serving

IMAGES = Path(__file__).parents[2] / "docs" / "images"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture: a page, how wide the window is, and which colours it prefers."""

    name: str
    path: str
    width: int = 1180
    height: int = 760
    dark: bool = False


async def _write(all_in: Path | None) -> None:
    program = chromium.program()
    if program is None:
        sys.stderr.write("no Chromium: the console's pictures stay as they are\n")
        return
    (all_in or IMAGES).mkdir(parents=True, exist_ok=True)  # once, at the start
    async with _gateway() as (url, task), async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=chromium.ARGS)
        session = await _session(browser, url)
        for picture in _all(task) if all_in else _wanted(task):
            await _take(browser, session, url, picture, all_in or IMAGES)
        await browser.close()


def _wanted(task: str) -> tuple[Picture, ...]:
    return (
        Picture(name="console-now", path="/console"),
        Picture(name="console-task", path=task, dark=True),
        Picture(name="console-phone", path="/console/needs-you", width=360, height=740),
    )


def _all(task: str) -> list[Picture]:
    """Return every page in each of its looks, for who works on them."""
    paths = [*PAGES, task, "/console/clients/shop"]
    looks = (("light", 1180, False), ("dark", 1180, True), ("phone", 360, False))
    return [
        Picture(
            name=f"{path.strip('/').replace('/', '-')[:28]}-{look}",
            path=path,
            width=width,
            dark=dark,
        )
        for path in paths
        for look, width, dark in looks
    ]


@asynccontextmanager
async def _gateway() -> AsyncIterator[tuple[str, str]]:
    """Lend a gateway over the scene: its URL, and the path of a task with pictures."""
    with postgres.server() as server, tempfile.TemporaryDirectory() as folder:
        await asyncio.to_thread(schema.upgrade, server.dsn)
        await scene.fill(server.dsn, Path(folder))
        settings = settings_of_tests(
            server.dsn,
            "http://127.0.0.1:9",
            admin_key=SecretStr(ADMIN_KEY),
            archive_url=f"file://{folder}",
        )
        async with serving(create_app(settings, worker=False)) as url:
            yield url, f"/console/tasks/{await scene.one(server.dsn, scene.LATEST)}"


async def _session(browser: Browser, url: str) -> StorageState:
    """Sign in once, and return what every picture's own browser begins with."""
    page = await browser.new_page()
    await sign_in(page, url)
    return await page.context.storage_state()


async def _take(
    browser: Browser, session: StorageState, url: str, picture: Picture, folder: Path
) -> None:
    page = await browser.new_page(
        viewport={"width": picture.width, "height": picture.height},
        color_scheme="dark" if picture.dark else "light",
        storage_state=session,
    )
    await page.goto(url + picture.path)
    await page.wait_for_function("document.querySelector('#live-light')?.dataset.state !== ''")
    full = folder != IMAGES
    await page.screenshot(path=folder / f"{picture.name}.png", full_page=full)
    await page.context.close()


async def sign_in(page: Page, url: str, key: str = ADMIN_KEY) -> None:
    """Fill in the key, as a person does."""
    await page.goto(f"{url}/console/login")
    await page.get_by_label("Admin key").fill(key)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(f"{url}/console")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="every page, in this folder")
    log.configure("critical", "text", sys.stderr)
    asyncio.run(_write(parser.parse_args().all))
