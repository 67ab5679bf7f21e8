"""Real PostgreSQL for every test that wants it: one server, a database per test process.

Only what every folder may need is here, so that pure tests start at once. The rest are plugins in
`tests/fixtures`, which `FOLDERS` loads when pytest is asked for a folder that uses them.
"""

import gc
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import hypothesis
import pytest
import pytest_asyncio

from tests import database

GATEWAY, TLS, LOGS = "tests.fixtures.gateway", "tests.fixtures.tls", "tests.fixtures.logs"
FOLDERS = {
    "api": (GATEWAY, TLS, LOGS),
    "cli": (LOGS,),
    "client": (GATEWAY,),
    "console": (GATEWAY,),
    "dropin": (GATEWAY, TLS),
    "faults": (GATEWAY, TLS),
    "kie": (TLS,),
    "outbound": (TLS,),
    "processes": (GATEWAY, TLS),
    "services": (GATEWAY, TLS),
    "simulator": (TLS,),
}
"""The plugins that a folder's tests use."""

EMBEDDED = "KIE_GATEWAY_TESTS_EMBEDDED"
"""Names the directory of the run's server to all of its processes. It is not among pytest's own
directories: pytest takes the rights of other users away there, and as root the server is one."""
GIVEN = "GATEWAY_TEST_DATABASE_URL"
"""Names a server to be used instead of an embedded one."""
HYPOTHESIS = "KIE_GATEWAY_TESTS_EXAMPLES"
"""Names the profile: how many examples a property is tried with."""

for name, examples in (("quick", 10), ("full", 100), ("long", 500)):
    hypothesis.settings.register_profile(
        name, max_examples=examples, deadline=None, print_blob=True
    )
hypothesis.settings.load_profile(os.environ.get(HYPOTHESIS, "full"))


gc.disable()  # until all is imported and collected, of which nothing is garbage


def pytest_configure(config: pytest.Config) -> None:
    if EMBEDDED not in os.environ:
        os.environ[EMBEDDED] = tempfile.mkdtemp(prefix="kie-gateway-tests-")
    asked = [Path(argument.partition("::")[0]).resolve() for argument in config.args]
    for folder, plugins in FOLDERS.items():
        path = Path(__file__).parent / folder
        if any(path.is_relative_to(one) or one.is_relative_to(path) for one in asked):
            for plugin in plugins:
                config.pluginmanager.import_plugin(plugin)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return one more than there are cores: a test waits for as long as it works."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Have the collector pass over what stays: it took a fifth of all time to look through it."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    gc.enable()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        run = Path(os.environ.pop(EMBEDDED))
        if given := os.environ.get(GIVEN):
            database.drop_template(given, run)
        shutil.rmtree(run, ignore_errors=True)


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Lend a PostgreSQL server: GATEWAY_TEST_DATABASE_URL's, or an embedded one for the run."""
    given = os.environ.get(GIVEN)
    if given:
        yield given
        return
    from app.embedded import running  # noqa: PLC0415  # pure tests need none of it

    with running(Path(os.environ[EMBEDDED])) as dsn:
        database.relaxed(dsn)
        yield dsn


@pytest.fixture(scope="session")
def template(server: str) -> str:
    """Lend the name of a migrated database to copy new ones from."""
    return database.migrated(server, Path(os.environ[EMBEDDED]))


@pytest.fixture(scope="session")
def dsn(server: str, template: str) -> Iterator[str]:
    """Lend an empty, migrated database of this test process's own."""
    name = f"test_{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}_{os.getpid()}"
    database.execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield database.with_database(server, name)
    database.execute(server, f"DROP DATABASE {name} WITH (FORCE)")


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
    await database.emptied(sql_connection)
