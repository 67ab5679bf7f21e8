"""Whether traces are exported: OpenTelemetry's own variables say so, and no setting of ours."""

import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"


def exports_traces(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether a collector is named, and tracing is not switched off."""
    given = os.environ if environ is None else environ
    off = given.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    off = off or given.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none"
    return not off and any(given.get(name) for name in ENDPOINTS)


def trace_problems(environ: Mapping[str, str] | None = None) -> Iterator[str]:
    """Say why the traces that are asked for cannot be exported."""
    given = os.environ if environ is None else environ
    if not exports_traces(given):
        return
    named = next(name for name in ENDPOINTS if given.get(name))
    if not _has_exporter():
        yield (
            f"{named}: needs OpenTelemetry's packages; install kie-gateway[otel], leave the "
            "variable out, or set OTEL_TRACES_EXPORTER=none"
        )
    if not given[named].lower().startswith(("http://", "https://")):
        yield f"{named}: is no URL that begins with http:// or https://; correct it"
    protocol = next((name for name in PROTOCOLS if given.get(name)), None)
    if protocol is not None and given[protocol] != PROTOCOL:
        yield f"{protocol}: only {PROTOCOL} is spoken here; set that, or leave it out"


def _has_exporter() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False
