"""The console in a real browser: every page, light, dark and on a phone; axe finds nothing serious.

Skipped where there is no Chromium (`apt-get install chromium`): playwright brings none along here.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, ViewportSize, async_playwright
from pydantic import SecretStr

from tests.console import chromium, scene
from tests.console.conftest import StartGateway
from tests.console.pictures import sign_in
from tests.console.stage import ADMIN_KEY, HOME, PAGES
from tests.gateway import Gateway
from tests.upstream import Upstream, succeeded

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(chromium.program() is None, reason="no Chromium: apt-get install chromium"),
]

DESK, PHONE = ViewportSize(width=1180, height=760), ViewportSize(width=360, height=740)
SERIOUS = {"serious", "critical"}
OPEN_ALL = "for (const one of document.querySelectorAll('details')) one.open = true"
ALL_DRAWN = """() => [...document.images].every((one) => {
    one.scrollIntoView();  // those further down are fetched when they are near
    return one.complete && one.naturalWidth;
})"""
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest_asyncio.fixture
async def gateway(start_gateway: StartGateway, tmp_path: Path, dsn: str) -> Gateway:
    await scene.fill(dsn, tmp_path)
    return await start_gateway(admin_key=SecretStr(ADMIN_KEY), archive_url=f"file://{tmp_path}")


@pytest_asyncio.fixture
async def chrome(
    gateway: Gateway,  # noqa: ARG001  # its streams end before it does
) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium.program(), args=chromium.ARGS
        )
        yield browser
        await browser.close()


class Watch:
    """What goes wrong on a page beside what it shows."""

    def __init__(self, page: Page, url: str) -> None:
        self.troubles: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.troubles.append(f"error: {error}"))
        page.on("request", lambda request: self._asked(request.url, url))

    def _said(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.troubles.append(f"{message.type}: {message.text}")

    def _asked(self, asked: str, url: str) -> None:
        if not asked.startswith(url):
            self.troubles.append(f"foreign: {asked}")


async def test_every_page_in_every_look(chrome: Browser, gateway: Gateway, dsn: str) -> None:
    """Nothing serious for axe, nothing on the console, nothing foreign, nothing beyond 360 px.

    Light on a desk, and dark on a phone: between them every rule of the stylesheet is seen.
    """
    url = str(gateway.http.base_url).rstrip("/")
    first = await chrome.new_page()
    await sign_in(first, url)
    session = await first.context.storage_state()
    tasks = [await scene.one(dsn, statement) for statement in (scene.LATEST, scene.LOST)]
    own = [f"/console/tasks/{task}" for task in tasks]
    for dark, size in ((False, DESK), (True, PHONE)):
        scheme: Any = "dark" if dark else "light"
        context = await chrome.new_context(
            color_scheme=scheme, viewport=size, storage_state=session
        )
        page = await context.new_page()
        watch = Watch(page, url)
        for path in (*PAGES, *own, "/console/clients/shop", "/console/nothing"):
            await page.goto(url + path)
            await page.evaluate(OPEN_ALL)
            found = await Axe().run(page, options={"runOnly": TAGS})
            bad = [one for one in found.response["violations"] if one["impact"] in SERIOUS]
            assert not bad, (path, scheme, size, [(one["id"], one["nodes"][0]) for one in bad])
            width = await page.evaluate("document.documentElement.scrollWidth")
            assert width <= size["width"], (path, width)
            await page.wait_for_function(ALL_DRAWN)
        expected = ["error: Failed to load resource: the server responded with a status of 404"]
        assert [one.split(" (")[0] for one in watch.troubles] == expected  # of /console/nothing
        await context.close()


async def test_a_page_lives_and_works_by_the_keyboard(
    chrome: Browser, gateway: Gateway, upstream: Upstream
) -> None:
    """A callback is on an open page within a second; the first key leads past the menu."""
    url = str(gateway.http.base_url).rstrip("/")
    page = await chrome.new_page(color_scheme="light")
    watch = Watch(page, url)
    await sign_in(page, url)
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.className") == "skip"
    await page.keyboard.press("Enter")
    assert await page.evaluate("document.activeElement.id") == "main"
    await page.keyboard.press("Tab")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert await page.evaluate(outline) != "none"

    task = await gateway.create(webhook_url=None)
    await page.goto(f"{url}/console/tasks/{task['id']}")
    live = page.locator("#live-light[data-state=live]")
    await live.wait_for()
    assert await page.get_by_text("kie.ai has worked on it").count() == 1
    field = page.get_by_role("button", name="Ask kie.ai now")
    await field.focus()
    clock = asyncio.get_running_loop().time
    began = clock()
    body = succeeded(task["kie_task_id"])
    assert (await gateway.call_back(upstream.callback_path, body)).status_code == 200
    await page.get_by_text("kie.ai reported its result").wait_for(timeout=5000)
    took = clock() - began
    assert took < 1.0, took

    await page.goto(url + HOME)
    await page.locator("summary", has_text="Pause everything").press("Enter")
    await page.get_by_label("Note for the next person").fill("wrong prompt")
    await page.get_by_role("button", name="Pause all sending").press("Enter")
    await page.get_by_text("Paused: nothing more is sent.").wait_for()
    assert watch.troubles == []


async def test_it_works_without_scripts(chrome: Browser, gateway: Gateway) -> None:
    url = str(gateway.http.base_url).rstrip("/")
    context = await chrome.new_context(java_script_enabled=False)
    page = await context.new_page()
    await sign_in(page, url)
    await page.get_by_role("link", name="Needs you").click()
    await page.get_by_role("button", name="Release").click()
    await page.get_by_text("The task is worked on again.").wait_for()
    assert page.url == f"{url}/console/needs-you?done=released"
