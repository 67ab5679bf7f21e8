"""Sessions of operators in a browser: signed, kept nowhere, and ended with the key they began with.

What a browser keeps names the admin key by its id, and is signed with a key that is derived from
the gateway's secret: every process knows it, and a restart changes nothing. The key's SHA-256 is
signed along, so a session ends when its key is revoked, or another one is set as GATEWAY_ADMIN_KEY.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from app.domain.access import Role
from app.domain.audit import Action, Actor, Operator
from app.domain.callback_url import derive
from app.services.clients.authentication import Authentication, Sent
from app.store.clients import audit
from app.store.connections.engine import Connection, Database

LASTS = 8 * 3600
"""Seconds of a session: a day's shift."""

STRANGER = "stranger"
_FIRST = "first"
_TOKEN = re.compile(r"(stranger|first|[0-9a-f]{32})\.(\d{1,12})\.([A-Za-z0-9_-]{22})\.([^.]{43})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Who is at a browser: an operator, or somebody who has yet to sign in."""

    token: str = field(repr=False)
    """What the browser keeps."""
    form_token: str = field(repr=False)
    """What each form of this session has to bring along: another site cannot know it."""
    operator: Operator | None = None
    """None: nobody has signed in."""
    role: Role | None = None

    def may(self, role: Role) -> bool:
        """Tell whether the session's key is for this."""
        return self.role is not None and self.role.covers(role)

    def made(self, form_token: str) -> bool:
        """Tell whether a form is this session's own, in constant time."""
        return hmac.compare_digest(form_token.encode(), self.form_token.encode())


class Sessions:
    """Opens sessions and recognises them."""

    def __init__(
        self,
        database: Database,
        authentication: Authentication,
        secrets: Sequence[str],
        clock: Callable[[], datetime],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """Sign with the first of the gateway's `secrets`; whatever any of them signed counts."""
        self._database = database
        self._authentication = authentication
        self._signing = [derive(secret, "console-session") for secret in secrets]
        self._forms = [derive(secret, "console-form") for secret in secrets]
        self._clock = clock
        self._random_bytes = random_bytes

    async def possible(self, address: str | None) -> bool:
        """Return whether anybody could sign in: without an admin key there is no console."""
        return bool(self._signing) and await self._authentication.has_admin_keys(address)

    def stranger(self) -> Session:
        """Begin a session of somebody who has yet to sign in."""
        return self._session(self._signed(STRANGER, b""))

    async def open(self, sent: Sent) -> Session:
        """Begin an operator's session; raises as `Authentication.admin_key`."""
        key = await self._authentication.admin_key(sent)
        name = _FIRST if key.id is None else key.id.hex
        operator = Operator(Actor.CONSOLE, key.name, sent.address, sent.request_id)

        async def work(connection: Connection) -> None:
            about = {"role": key.role.value}
            await audit.note(connection, Action.CONSOLE_ENTERED, operator=operator, detail=about)

        await self._database.run(work)
        return self._session(self._signed(name, key.digest), operator, key.role)

    async def recognise(self, token: str, sent: Sent) -> Session | None:
        """Return the session of what a browser sent; None: it is none, or it is over."""
        found = _TOKEN.fullmatch(token)
        if found is None or int(found[2]) < self._clock().timestamp():
            return None
        if found[1] == STRANGER:
            return self._session(token) if self._is_signed(token, b"") else None
        key_id = None if found[1] == _FIRST else UUID(hex=found[1])
        key = await self._authentication.living_admin_key(key_id)
        if key is None or not self._is_signed(token, key.digest):
            return None
        operator = Operator(Actor.CONSOLE, key.name, sent.address, sent.request_id)
        return self._session(token, operator, key.role)

    def _session(
        self, token: str, operator: Operator | None = None, role: Role | None = None
    ) -> Session:
        form_token = _mac(self._forms[0], token.encode())
        return Session(token=token, form_token=form_token, operator=operator, role=role)

    def _signed(self, name: str, digest: bytes) -> str:
        ends = int(self._clock().timestamp()) + LASTS
        said = f"{name}.{ends}.{_text(self._random_bytes(16))}"
        return f"{said}.{_mac(self._signing[0], said.encode() + digest)}"

    def _is_signed(self, token: str, digest: bytes) -> bool:
        said, _, mac = token.rpartition(".")
        with suppress(UnicodeEncodeError):
            given = mac.encode()
            signed = (_mac(key, said.encode() + digest).encode() for key in self._signing)
            return any(hmac.compare_digest(given, own) for own in signed)
        return False


def _mac(key: bytes, said: bytes) -> str:
    return _text(hmac.digest(key, said, hashlib.sha256))


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
