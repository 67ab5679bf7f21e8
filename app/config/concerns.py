"""What is said of settings that can be used: what is risky, slow, or hardly meant."""

import ipaddress
from urllib.parse import urlsplit

from app.config.database_url import crosses_the_network_unverified
from app.config.settings import Settings


def concerns(settings: Settings) -> list[str]:
    """Say what may be meant and is risky or slow: one sentence each, to be logged at start."""
    public = settings.public_url
    found = {
        "GATEWAY_KIE_API_KEY is not set: kie.ai will refuse every task, and all will wait in "
        "the queue": settings.kie_api_key is None and not settings.receives_only,
        "polling only: GATEWAY_PUBLIC_URL is not set, so kie.ai sends no callbacks and results "
        "are noticed seconds later": public is None and not settings.receives_only,
        "GATEWAY_DATABASE_URL or GATEWAY_DATABASE_LISTEN_URL lacks sslmode=verify-full: who is "
        "between here and PostgreSQL can read and change everything": any(
            crosses_the_network_unverified(url.get_secret_value())
            for url in (settings.database_url, settings.database_listen_url)
            if url is not None
        ),
        "GATEWAY_PUBLIC_URL is http: callbacks and their tokens cross the network in the "
        "clear": public is not None and _in_the_clear(public),
        "GATEWAY_KIE_BASE_URL is http: the API key crosses the network in the clear": _in_the_clear(
            settings.kie_base_url
        ),
        "GATEWAY_KIE_CONFIRM is off and there are no GATEWAY_KIE_WEBHOOK_HMAC_KEYS: a callback "
        "is believed for its URL only": public is not None
        and settings.kie_confirm == "off"
        and not settings.kie_webhook_hmac_keys,
    }
    return [concern for concern, present in found.items() if present]


def _in_the_clear(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https" or host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True
