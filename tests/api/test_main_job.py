"""The main job, end to end: create, callback, status."""

from tests.gateway import Gateway
from tests.upstream import Upstream, succeeded


async def test_a_task_is_created_called_back_and_answered(
    gateway: Gateway, upstream: Upstream
) -> None:
    created = await gateway.create()
    assert created["state"] == "running"
    kie_task_id = created["kie_task_id"]
    answer = await gateway.call_back(upstream.callback_path, succeeded(kie_task_id))
    assert answer.status_code == 200
    task = await gateway.task(created["id"])
    assert task["state"] == "succeeded"
    assert task["result_urls"] == ["https://example.com/generated-image.jpg"]
    assert task["credits_consumed"] == 100
