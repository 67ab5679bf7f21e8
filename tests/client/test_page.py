"""`docs/client.md`: its examples run, and its table of errors is the client's."""

import asyncio
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from app.main import create_app
from kie_gateway_client import errors
from simulator.server import Options
from simulator.server import create_app as simulator
from tests.client.test_others import PNG
from tests.client.test_webhooks import BODY, GOOD, SECRET
from tests.gateway import Gateway
from tests.stage import serving, serving_at

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/client.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| `(\w+)` \| (`[^|]*`) \|", re.MULTILINE)


@pytest.mark.long
async def test_the_examples_run(
    make_settings: Any,
    sql: Any,  # noqa: ARG001  # its rows go after the test
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Both pages' examples, in their order, against a gateway whose kie.ai is the simulator."""
    (tmp_path / "photo.png").write_bytes(PNG)
    monkeypatch.chdir(tmp_path)
    async with serving(simulator(Options(duration=0.05))) as kie_url:
        kie = {"kie_base_url": kie_url, "kie_upload_url": kie_url}

        def made(url: str) -> Any:
            return create_app(make_settings(**kie, public_url=url), worker=False)

        async with serving_at(made) as url, Gateway.at(url, make_settings(**kie)) as gateway:
            monkeypatch.setenv("KIE_GATEWAY_URL", url)
            monkeypatch.setenv("KIE_GATEWAY_API_KEY", gateway.api_key)
            readme = (ROOT / "clients/python/README.md").read_text(encoding="utf-8")
            examples = EXAMPLE.findall(readme) + EXAMPLE.findall(PAGE)
            assert len(examples) == 6
            names: dict[str, Any] = {"__name__": "__main__"}
            for example in examples:
                code = compile(example, "docs/client.md", "exec")
                await asyncio.to_thread(exec, code, names)
    printed = capsys.readouterr().out
    assert printed.count("http://127.0.0.1:") == 2  # results
    assert "task.succeeded" in printed
    assert names["receive"](BODY, GOOD, [SECRET]) == 401  # it is old


def test_the_table_of_errors_is_the_clients() -> None:
    codes: dict[str, list[str]] = defaultdict(list)
    for code, kind in errors.CLASSES.items():
        codes[kind.__name__].append(code)
    assert {name: re.findall(r"`(\w+)`", row) for name, row in ROW.findall(PAGE)} == codes
