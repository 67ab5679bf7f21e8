"""What counts as a secret: made by chance, however it is written, and not typed in a hurry."""

import base64
import secrets
import uuid
from collections.abc import Callable
from random import Random

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

GENERATED: dict[str, Callable[[Random], str]] = {
    "secrets generate": lambda chance: base64.urlsafe_b64encode(chance.randbytes(32)).decode(),
    "hex, 256 bits": lambda chance: chance.randbytes(32).hex(),
    "hex, 128 bits": lambda chance: chance.randbytes(16).hex(),
    "uuid": lambda chance: str(_uuid(chance)),
    "uuid without dashes": lambda chance: _uuid(chance).hex,
    "base64": lambda chance: base64.b64encode(chance.randbytes(32)).decode(),
    "openssl rand -base64 16": lambda chance: base64.b64encode(chance.randbytes(16)).decode(),
}
"""Ways to write what chance made. Of 128 bits in hex three in a million are taken for weak."""


def _uuid(chance: Random) -> uuid.UUID:
    return uuid.UUID(bytes=chance.randbytes(16), version=4)


@each("secret", WEAK)
@each("name", ["secret_keys", "callback_keys", "admin_key"])
def test_what_is_typed_in_a_hurry_is_refused(name: str, secret: str) -> None:
    value = SecretStr(secret)
    with pytest.raises(ValueError, match="secrets generate") as refusal:
        Settings.model_validate({name: value if name == "admin_key" else (value,)})
    assert secret not in str(refusal.value)


@pytest.mark.parametrize("made", GENERATED.values(), ids=GENERATED)
def test_what_chance_made_is_taken(made: Callable[[Random], str]) -> None:
    chance = Random(20261129)  # noqa: S311  # no secret: the same in each run
    least = min((made(chance) for _ in range(1000)), key=bits)
    assert bits(least) >= ENOUGH
    assert Settings(secret_keys=(SecretStr(least),)).secret_keys


def test_what_the_command_makes_is_taken() -> None:
    made = CliRunner().invoke(app, ["secrets", "generate"]).stdout.strip()
    assert Settings(callback_keys=(SecretStr(made),), admin_key=SecretStr(made)).receives_only


def test_few_characters_are_nothing_however_long() -> None:
    few = "".join(secrets.choice("qz7!x#k"[: DISTINCT - 1]) for _ in range(500))
    assert bits(few) == 0
