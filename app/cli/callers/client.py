"""The client that the commands of callers use, and how they say what it met."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from app.cli.exits import give_up

if TYPE_CHECKING:
    import ssl

    from kie_gateway_client import GatewayError


@contextmanager
def calling(url: str, api_key: str) -> Iterator[Any]:
    """Lend a client of the gateway at `url`, whose answers are objects; says why it is refused.

    Each call is tried once: who waits at a terminal wants to know. It is imported with the first.
    """
    # httpx imports its own command line where click and rich are found, with pygments, and does
    # without where it cannot: half of what it takes to import.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # makes the import fail
    import httpx

    from kie_gateway_client import Gateway, GatewayError, Unusable
    from kie_gateway_client.terms import Terms

    try:
        trusts_environment = Terms.given(url, api_key, 0.0).trusts_environment
    except Unusable as error:
        give_up(f"no answer from {url}: {error}")
    try:
        with httpx.Client(trust_env=trusts_environment, verify=_trusted(url)) as http:
            yield Gateway(url, api_key, patience=0.0, http=http).plain
    except GatewayError as error:
        give_up(refusal(error))


def _trusted(url: str) -> "ssl.SSLContext | bool":
    """Say whom to trust: whom httpx does, or nobody where the gateway is called without TLS.

    To read all authorities takes a tenth of a command's time. No command follows an answer
    elsewhere; one that did would be refused there.
    """
    import ssl

    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if url.startswith("http://") else True


def refusal(error: "GatewayError") -> str:
    """Say why, and where: the sentence of one flaw says the same as the flaw."""
    from kie_gateway_client import Invalid

    if error.code is None:
        return error.detail
    found = error.fields if isinstance(error, Invalid) else ()
    flaws = [
        f"{flaw.parameter if flaw.pointer is None else flaw.pointer}: {flaw.detail}"
        for flaw in found
    ]
    said = flaws if len(flaws) == 1 else [error.detail, *flaws]
    return f"{error.code}: " + "\n  ".join(said)
