"""Models that are known, and what is said of others."""

import logging

import pytest

from simulator.server import Options
from tests.simulator.conftest import Simulate

CREATE = {"input": {"prompt": "a cat"}}
PATH = "/api/v1/jobs/createTask"
KEY = {"Authorization": "Bearer any"}


async def test_an_unknown_model_is_taken_and_warned_of(
    simulate: Simulate, caplog: pytest.LogCaptureFixture
) -> None:
    http = (await simulate(Options(models=("mine",)))).http
    with caplog.at_level(logging.WARNING, logger="simulator"):
        for model, warned in (
            ("google/nano-banana", False),
            ("mine", False),
            ("google/nano-bananna", True),
            ("google/nano-bananna", True),
            ("größe\r\nSet-Cookie:x", True),
        ):
            done = await http.post(PATH, json={**CREATE, "model": model}, headers=KEY)
            assert done.json()["code"] == 200
            assert ("x-simulator-warning" in done.headers) == warned, model
            if "bananna" in model:
                said = done.headers["x-simulator-warning"]
                assert "Did you mean 'google/nano-banana'?" in said
    assert len(caplog.messages) == 2  # once for each name


async def test_strict_it_is_refused_as_kie_ai_does(simulate: Simulate) -> None:
    http = (await simulate(Options(models=("mine",), strict_models=True))).http
    for model, code in (("mine", 200), ("yours", 422)):
        done = await http.post(PATH, json={**CREATE, "model": model}, headers=KEY)
        assert done.json()["code"] == code, done.text
    assert len((await http.get("/simulator/ledger")).json()["data"]) == 1
    shown = (await http.get("/simulator/models")).json()
    assert shown["strict"]
    assert {"mine", "google/nano-banana"} <= set(shown["known"])
