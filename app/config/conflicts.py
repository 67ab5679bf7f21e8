"""Which settings exclude each other, and what to do about it."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.config.settings import Settings

RECORDING = 5.0
"""Seconds at the end of a shutdown that are for the record of kie.ai's last answers."""


def conflicts(settings: "Settings") -> list[str]:
    """Say what cannot be set together: one line each, with the setting to change."""
    found = {
        "GATEWAY_SUBMIT_WAIT: is longer than GATEWAY_KIE_TIMEOUT, when kie.ai's answer is "
        "given up anyway; set it lower": settings.submit_wait > settings.kie_timeout,
        f"GATEWAY_KIE_TIMEOUT: a create that is sent just before SIGTERM could not be recorded "
        f"before GATEWAY_SHUTDOWN_TIMEOUT is over; set it at least {RECORDING:g} s lower, or "
        "raise that one, and the time that your platform gives before it kills with "
        "it": settings.kie_timeout + RECORDING > settings.shutdown_timeout,
        f"GATEWAY_SHUTDOWN_LINGER: leaves requests less than {RECORDING:g} s of "
        f"GATEWAY_SHUTDOWN_TIMEOUT; set it lower": settings.shutdown_linger + 2 * RECORDING
        > settings.shutdown_timeout,
        "GATEWAY_WORKER_LISTEN: is the same address as GATEWAY_LISTEN; give each its own "
        "port": settings.worker_listen == settings.listen and settings.listen.port != 0,
        "GATEWAY_METRICS_LISTEN: is the address of GATEWAY_LISTEN or GATEWAY_WORKER_LISTEN; "
        "give it a port of its own": settings.metrics_listen is not None
        and settings.metrics_listen.port != 0
        and settings.metrics_listen in {settings.listen, settings.worker_listen},
        "GATEWAY_DOCS: is admin, and there is no GATEWAY_ADMIN_KEY that opens them; set one, "
        "or set this to off": settings.docs == "admin" and settings.admin_key is None,
        "GATEWAY_ARCHIVE_URL: needs the package obstore; install kie-gateway[archive]": (
            settings.archive_url is not None and find_spec("obstore") is None
        ),
        "GATEWAY_DATABASE_LISTEN_URL: is set without GATEWAY_DATABASE_URL, and the embedded "
        "server needs none; set both or neither": settings.database_listen_url is not None
        and settings.database_url is None,
    }
    return [conflict for conflict, present in found.items() if present]
