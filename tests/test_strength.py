"""What counts as a secret: made by chance, however it is written, and not typed in a hurry."""

import base64
import secrets
import uuid
from collections.abc import Callable

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from app.cli import app
from app.config import Settings
from app.config.strength import DISTINCT, ENOUGH, bits
from tests.each import each

WEAK = (
    "aaaaaaaaaaaaaaaa",
    "abababababababab",
    "abcabcabcabcabcd",
    "passwordpassword",
    "password12345678",
    "Password-Password-1",
    "P@ssw0rdP@ssw0rd",
    "0123456789abcdef",
    "fedcba9876543210",
    "1234567890123456",
    "abcdefghijklmnop",
    "qwertyuiopasdfgh",
    "changeme-changeme",
    "kie-gateway-secret-key",
    "secret-secret-secret-secret-secret",
    "a1b2a1b2a1b2a1b2a1b2a1b2",
    "0000000000000000000000000000000a",
    "....................",
)

GENERATED: dict[str, Callable[[], str]] = {
    "secrets generate": lambda: secrets.token_urlsafe(32),
    "hex, 256 bits": lambda: secrets.token_hex(32),
    "hex, 128 bits": lambda: secrets.token_hex(16),
    "uuid": lambda: str(uuid.uuid4()),
    "uuid without dashes": lambda: uuid.uuid4().hex,
    "base64": lambda: base64.b64encode(secrets.token_bytes(32)).decode(),
    "openssl rand -base64 16": lambda: base64.b64encode(secrets.token_bytes(16)).decode(),
}


@each("secret", WEAK)
@each("name", ["secret_keys", "callback_keys", "admin_key"])
def test_what_is_typed_in_a_hurry_is_refused(name: str, secret: str) -> None:
    value = SecretStr(secret)
    with pytest.raises(ValueError, match="secrets generate") as refusal:
        Settings.model_validate({name: value if name == "admin_key" else (value,)})
    assert secret not in str(refusal.value)


@pytest.mark.parametrize("made", GENERATED.values(), ids=GENERATED)
def test_what_chance_made_is_taken(made: Callable[[], str]) -> None:
    least = min((made() for _ in range(1000)), key=bits)
    assert bits(least) >= ENOUGH
    assert Settings(secret_keys=(SecretStr(least),)).secret_keys


def test_what_the_command_makes_is_taken() -> None:
    made = CliRunner().invoke(app, ["secrets", "generate"]).stdout.strip()
    assert Settings(callback_keys=(SecretStr(made),), admin_key=SecretStr(made)).receives_only


def test_few_characters_are_nothing_however_long() -> None:
    few = "".join(secrets.choice("qz7!x#k"[: DISTINCT - 1]) for _ in range(500))
    assert bits(few) == 0
