from tests.console.stage import PAGES, Browser, read
from tests.gateway import Gateway


async def test_all(browser: Browser, admin_gateway: Gateway) -> None:
    task = await admin_gateway.create(metadata={"a": "<script>alert(1)</script>"})
    for path in (*PAGES, f"/console/tasks/{task['id']}", "/console/clients/tests"):
        page = await browser.open(path)
        assert not read(page).inline
