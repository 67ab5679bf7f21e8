"""Real PostgreSQL for every test that wants it: one server, a database per test process."""

import asyncio
import ipaddress
import os
import shutil
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from app.config import Settings
from app.embedded import running
from app.main import create_app
from app.services.services import Services
from app.store import schema
from app.wiring import wired
from tests.gateway import SECRET, Gateway
from tests.stage import serving
from tests.upstream import Upstream

StartGateway = Callable[..., Awaitable[Gateway]]
Wire = Callable[..., Awaitable[Services]]

TABLES = (
    "deliveries, delivery_hosts, callbacks, task_events, tasks, client_queues, kie_slots,"
    " audit_entries, api_keys, clients"
)
NEW_ACCOUNT = "DELETE FROM kie_account; INSERT INTO kie_account (id) VALUES (1)"


EMBEDDED = "KIE_GATEWAY_TESTS_EMBEDDED"
"""Names the directory of the run's server to all of its processes. It is not among pytest's own
directories: pytest takes the rights of other users away there, and as root the server is one."""


def pytest_configure() -> None:
    if EMBEDDED not in os.environ:
        os.environ[EMBEDDED] = tempfile.mkdtemp(prefix="kie-gateway-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(EMBEDDED), ignore_errors=True)


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Lend a PostgreSQL server: GATEWAY_TEST_DATABASE_URL's, or an embedded one for the run."""
    given = os.environ.get("GATEWAY_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with running(Path(os.environ[EMBEDDED])) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def dsn(server: str) -> Iterator[str]:
    """Lend an empty, migrated database of this test process's own."""
    name = f"test_{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}_{os.getpid()}"

    def admin(statement: str) -> None:
        async def run() -> None:
            connection = await asyncpg.connect(server)
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        asyncio.run(run())

    admin(f"CREATE DATABASE {name}")
    own = _with_database(server, name)
    schema.upgrade(own)
    yield own
    admin(f"DROP DATABASE {name} WITH (FORCE)")


def _with_database(server: str, name: str) -> str:
    head, _, query = server.partition("?")
    return f"{head.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")


@pytest_asyncio.fixture(scope="session")
async def sql_connection(dsn: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def sql(
    sql_connection: "asyncpg.Connection[asyncpg.Record]",
) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """Lend a connection to look and to set the stage with; all rows go after the test."""
    yield sql_connection
    await sql_connection.execute(f"TRUNCATE {TABLES} CASCADE; {NEW_ACCOUNT}")


@pytest_asyncio.fixture(scope="session")
async def upstream_server() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    async with serving(upstream.app()) as url:
        upstream.url = url
        yield upstream


@pytest.fixture
def upstream(upstream_server: Upstream) -> Upstream:
    """A kie.ai that has heard nothing at the start of each test."""
    upstream_server.reset()
    return upstream_server


@pytest.fixture
def make_settings(dsn: str, upstream: Upstream) -> Callable[..., Settings]:
    def make(**overrides: Any) -> Settings:  # of any field's type
        values = {
            "database_url": SecretStr(dsn),
            "secret_keys": (SecretStr(SECRET),),
            "kie_base_url": upstream.url,
            "kie_api_key": SecretStr("sk-not-to-be-shown"),
            "public_url": "https://gateway.test/base",
            **overrides,
        }
        return Settings(**values)

    return make


@pytest_asyncio.fixture
async def start_gateway(
    sql: "asyncpg.Connection[asyncpg.Record]", make_settings: Callable[..., Settings]
) -> AsyncIterator[StartGateway]:
    """Start gateways over real sockets, without loops unless told `worker=True`."""
    async with AsyncExitStack() as stack:

        async def start(*, worker: bool = False, **overrides: Any) -> Gateway:
            settings = make_settings(**overrides)
            url = await stack.enter_async_context(serving(create_app(settings, worker=worker)))
            return await stack.enter_async_context(Gateway.at(url, settings))

        yield start


@pytest_asyncio.fixture
async def gateway(start_gateway: StartGateway) -> Gateway:
    return await start_gateway()


@pytest_asyncio.fixture
async def wire(
    sql: "asyncpg.Connection[asyncpg.Record]", make_settings: Callable[..., Settings], dsn: str
) -> AsyncIterator[Wire]:
    """Wire services as another process would."""
    async with AsyncExitStack() as stack:

        async def start(**overrides: Any) -> Services:
            return await stack.enter_async_context(wired(make_settings(**overrides), dsn))

        yield start


@pytest_asyncio.fixture
async def services(wire: Wire) -> Services:
    return await wire()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1, in one file, that nobody else trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + signed.public_bytes(Encoding.PEM)
    )
    return path


@pytest.fixture(scope="session")
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context
