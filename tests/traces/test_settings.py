"""Traces are on where OpenTelemetry's variables name a collector."""

import importlib.util
from collections.abc import Mapping

import pytest

from app.config import SettingsError, exports_traces, load

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
URL = "http://collector.test:4318"


@pytest.mark.parametrize(
    ("environ", "on"),
    [
        ({}, False),
        ({ENDPOINT: ""}, False),
        ({ENDPOINT: URL}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{URL}/v1/traces"}, True),
        ({ENDPOINT: URL, "OTEL_SDK_DISABLED": "true"}, False),
        ({ENDPOINT: URL, "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_when_traces_are_on(environ: Mapping[str, str], on: bool) -> None:  # noqa: FBT001
    assert exports_traces(environ) is on
    load(environ)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({ENDPOINT: "collector:4318"}, f"{ENDPOINT}: is no URL"),
        (
            {ENDPOINT: URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: only http/protobuf",
        ),
    ],
)
def test_what_cannot_be_exported_is_refused(environ: Mapping[str, str], says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(environ)
    (problem,) = caught.value.problems
    assert problem.startswith(says)


def test_without_the_packages_the_start_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib.util, "find_spec", missing)
    monkeypatch.setattr("app.config.tracing.find_spec", missing)
    with pytest.raises(SettingsError) as caught:
        load({ENDPOINT: URL})
    assert "install kie-gateway[otel]" in caught.value.problems[0]
    load({})
