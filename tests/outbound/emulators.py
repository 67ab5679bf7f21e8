"""Azure's and Google's object stores on this machine.

Azurite is installed by the first test that needs it, into `build/emulators` and no lock file: who
cannot have it (no Node.js, no registry) skips what needs it, and is told why.
"""

import base64
import fcntl
import hashlib
import hmac
import json
import logging
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from moto.server import ThreadedMotoServer

BUILD = Path(__file__).parents[2] / "build" / "emulators"
AZURITE = "azurite@3.37.0"
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
"""Azurite's own, the same everywhere: no secret."""

SIGNED_FOR = "storage.googleapis.com"

PATIENCE = 180.0
"""Seconds for an installation, and for a start."""


def installed(command: Sequence[str], found: Path) -> None:
    """Run an installation once; skips the test where it fails."""
    BUILD.mkdir(parents=True, exist_ok=True)
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is missing, which installs this emulator")
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side
        if found.exists():
            return
        done = subprocess.run(  # noqa: S603  # our own words
            command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        pytest.skip(f"the emulator cannot be installed: {' '.join(last)}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def running(command: Sequence[str | Path], port: int) -> Iterator[None]:
    """Run an emulator until it is not needed any more."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen([*map(str, command)], stdout=quiet, stderr=quiet) as process:  # noqa: S603  # as above
        try:
            _answers(process, port)
            yield
        finally:
            process.terminate()


def _answers(process: "subprocess.Popen[bytes]", port: int) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        assert process.poll() is None, "the emulator has ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    message = "the emulator does not start"
    raise AssertionError(message)


@contextmanager
def azurite(directory: Path) -> Iterator[Mapping[str, str]]:
    """Run an Azure with the container `results`; lends what the environment has to say of it."""
    main = BUILD / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    quiet = ("--no-audit", "--no-fund", "--loglevel=error")
    installed(["npm", "install", "--prefix", str(BUILD), *quiet, AZURITE], main)
    port = free_port()
    options = ("--blobPort", str(port), "--location", directory, "--silent")
    with running(["node", main, *options, "--skipApiVersionCheck"], port):
        _make_container(f"http://127.0.0.1:{port}")
        yield {
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": ACCOUNT_KEY,
            "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/{ACCOUNT}",
            "AZURE_ALLOW_HTTP": "true",
        }


def _make_container(url: str) -> None:
    """Ask for it as Azure wants to be asked: with the account's key (Shared Key)."""
    at = formatdate(usegmt=True)
    path = f"/{ACCOUNT}/results"
    said = f"x-ms-date:{at}\nx-ms-version:2021-08-06\n/{ACCOUNT}{path}\nrestype:container"
    signed = hmac.digest(
        base64.b64decode(ACCOUNT_KEY), f"PUT{12 * chr(10)}{said}".encode(), hashlib.sha256
    )
    httpx.put(
        f"{url}{path}?restype=container",
        headers={
            "x-ms-date": at,
            "x-ms-version": "2021-08-06",
            "Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(signed).decode()}",
        },
        trust_env=False,
    ).raise_for_status()


@contextmanager
def google(directory: Path) -> Iterator[Mapping[str, str]]:
    """Run what takes Google's XML API, with the bucket `results`; lends what the environment says.

    It is moto: that API is S3's but for the signatures, which moto does not check. No emulator of
    Google's own takes an upload in parts by it (fake-gcs-server answers 400).
    """
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    httpx.put(f"{url}/results", trust_env=False).raise_for_status()
    account = directory / "account.json"
    account.write_text(service_account())
    yield {
        "GOOGLE_APPLICATION_CREDENTIALS": str(account),
        "GOOGLE_BASE_URL": url,
        "GOOGLE_ALLOW_HTTP": "true",
    }
    server.stop()


def check_google_link(link: str, account: Path) -> None:
    """Check a link's signature as Google does (V4, RSA); raises `InvalidSignature`.

    Whatever the endpoint is, obstore signs for Google's own.
    """
    key = serialization.load_pem_private_key(
        json.loads(account.read_text())["private_key"].encode(), None
    )
    assert isinstance(key, rsa.RSAPrivateKey)
    url = httpx.URL(link)
    query, _, signature = url.query.decode().rpartition("&X-Goog-Signature=")
    given = dict(url.params)
    asked = f"GET\n{url.path}\n{query}\nhost:{SIGNED_FOR}\n\nhost\nUNSIGNED-PAYLOAD"
    scope = given["X-Goog-Credential"].partition("/")[2]
    digest = hashlib.sha256(asked.encode()).hexdigest()
    said = f"GOOG4-RSA-SHA256\n{given['X-Goog-Date']}\n{scope}\n{digest}"
    key.public_key().verify(
        bytes.fromhex(signature), said.encode(), padding.PKCS1v15(), hashes.SHA256()
    )


def service_account() -> str:
    """Make up a service account of Google's, with a key of its own, as its JSON."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    written = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "tests",
            "private_key_id": "1",
            "private_key": written.decode(),
            "client_email": "tests@tests.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": "http://127.0.0.1:9/token",
        }
    )
