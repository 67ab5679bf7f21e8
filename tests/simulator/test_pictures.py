import json
import struct
import zlib
from collections.abc import Iterator

import pytest

from simulator import pictures
from simulator.server import Options
from tests.simulator.conftest import Simulate
from tests.simulator.stage import Simulator


def chunks(picture: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Take a PNG apart, each checksum verified."""
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    rest = picture[8:]
    while rest:
        length, kind = struct.unpack(">I4s", rest[:8])
        content, (checksum,) = rest[8 : 8 + length], struct.unpack(">I", rest[8 + length :][:4])
        assert checksum == zlib.crc32(kind + content)
        yield kind, content
        rest = rest[12 + length :]


def test_a_picture_is_a_valid_png() -> None:
    parts = dict(chunks(pictures.draw("a task")))

    assert list(parts) == [b"IHDR", b"IDAT", b"IEND"]
    assert struct.unpack(">IIBBBBB", parts[b"IHDR"]) == (64, 64, 8, 2, 0, 0, 0)
    pixels = zlib.decompress(parts[b"IDAT"])
    assert len(pixels) == 64 * (1 + 64 * 3)
    assert {pixels[start] for start in range(0, len(pixels), 1 + 64 * 3)} == {0}


def test_a_picture_belongs_to_its_task() -> None:
    assert pictures.draw("a task") == pictures.draw("a task")
    assert pictures.draw("a task") != pictures.draw("another task")


async def test_results_are_served_where_the_create_went(simulator: Simulator) -> None:
    task_id = await simulator.create()
    data = (await simulator.finished(task_id))["data"]

    (url,) = json.loads(data["resultJson"])["resultUrls"]

    assert url == f"{simulator.url}/files/{task_id}.png"
    response = await simulator.http.get(url)
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    assert response.content == pictures.draw(task_id)


async def test_results_are_served_where_the_options_say(simulate: Simulate) -> None:
    simulator = await simulate(Options(duration=0, public_url="https://results.example/"))
    await simulator.expect(taskId="a/b")

    data = (await simulator.finished(await simulator.create()))["data"]

    assert json.loads(data["resultJson"]) == {
        "resultUrls": ["https://results.example/files/a%2Fb.png"]
    }
    assert (await simulator.http.get("/files/a%2Fb.png")).status_code == 200


@pytest.mark.parametrize("behaviour", [{"outcome": "fail"}, {"duration": 60}])
async def test_there_is_no_result_without_success(
    simulator: Simulator, behaviour: dict[str, object]
) -> None:
    await simulator.expect(**behaviour)
    task_id = await simulator.create()

    assert (await simulator.http.get(f"/files/{task_id}.png")).status_code == 404
