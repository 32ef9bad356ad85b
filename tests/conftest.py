"""Fixtures that bring up servers.

A test that names one of these gets a real server of its own session and, where it says so, an empty database of its
own. Where the machine lacks the server, the service at ``DATAFLOW_TEST_POSTGRESQL_URL``, ``DATAFLOW_TEST_MYSQL_URL`` or
``DATAFLOW_TEST_REDIS_URL`` is used; else the test is skipped, or fails if ``DATAFLOW_TEST_REQUIRE`` (such as
``postgresql,mysql,pgbouncer,redis``) names the service.

==================  =========  ==========================================================
fixture             scope      value
==================  =========  ==========================================================
postgresql_server   session    PostgreSQLServer; skips where only a URL is given
mysql_server        session    MariaDBServer; the same
postgresql_url      session    URL of the server's maintenance database
mysql_url           session    URL of the server's maintenance database
on_postgresql       session    a function: runs a statement there
on_mysql            session    the same
postgresql_db_url   function   URL of an empty database
mysql_db_url        function   URL of an empty database
pgbouncer_url       function   postgresql_db_url through a PgBouncer of its own, in transaction mode
sqlite_url          function   URL of a file that does not exist yet
database_url        function   each of the three above in turn
new_server          function   a function: starts a server of that class for this test alone, to stop and kill
redis_url           session    Redis
valkey_url          session    Valkey
broker_url          function   Valkey and Redis in turn, emptied
==================  =========  ==========================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pymysql
import pytest
import redis

from tests.servers import (
    BinaryNotFoundError,
    MariaDBServer,
    PgBouncerServer,
    PostgreSQLServer,
    RedisServer,
    Server,
    ValkeyServer,
)

S = TypeVar("S", bound=Server)
#: Runs an SQL statement.
Execute = Callable[[str], object]
_numbers = itertools.count(1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Processes for ``pytest -n auto``: tests wait more than they work. A Redis that is not ours they cannot share."""
    return 0 if _given(RedisServer) else min((os.cpu_count() or 1) + 1, 8)


@contextlib.contextmanager
def _serving(kind: type[S], *args: object) -> Iterator[S]:
    """A server that runs; without its program the test is skipped, or fails where the service is required."""
    try:
        server = kind(*args)
    except BinaryNotFoundError as error:
        required = [name.strip() for name in os.environ.get("DATAFLOW_TEST_REQUIRE", "").split(",")]
        if kind.service in required:
            pytest.fail(f"DATAFLOW_TEST_REQUIRE names {kind.service}, but {error}", pytrace=False)
        pytest.skip(f"{kind.service}: {error}")
    try:
        server.start()
        yield server
    finally:
        server.remove()


def _given(kind: type[Server]) -> str | None:
    """URL of the service that the environment names; None where the machine has the server's program."""
    try:
        kind.program()
    except BinaryNotFoundError:
        return os.environ.get(f"DATAFLOW_TEST_{kind.service.upper()}_URL")
    return None


def _url(request: pytest.FixtureRequest, fixture: str, kind: type[Server]) -> str:
    """The URL of a service that is given, else the private server's."""
    if given := _given(kind):
        return given
    server: Server = request.getfixturevalue(fixture)
    return server.url


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQLServer]:
    with _serving(PostgreSQLServer) as server:
        yield server


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[MariaDBServer]:
    with _serving(MariaDBServer) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with _serving(RedisServer) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    with _serving(ValkeyServer) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_url(request: pytest.FixtureRequest) -> str:
    return _url(request, "postgresql_server", PostgreSQLServer)


@pytest.fixture(scope="session")
def mysql_url(request: pytest.FixtureRequest) -> str:
    return _url(request, "mysql_server", MariaDBServer)


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest) -> str:
    return _url(request, "redis_server", RedisServer)


@pytest.fixture(scope="session")
def valkey_url(valkey_server: ValkeyServer) -> str:
    return valkey_server.url


@pytest.fixture
def new_server() -> Iterator[Callable[[type[Server]], Server]]:
    with contextlib.ExitStack() as stack:
        yield lambda kind: stack.enter_context(_serving(kind))


@pytest.fixture(scope="session")
def on_postgresql(postgresql_url: str) -> Iterator[Execute]:
    """Runs statements in the maintenance database, in a thread: a test's own event loop may be running."""
    with ThreadPoolExecutor(1) as thread, contextlib.closing(asyncio.new_event_loop()) as loop:

        def run(work: Coroutine[Any, Any, Any]) -> Any:
            return thread.submit(loop.run_until_complete, work).result()

        connection = run(asyncpg.connect(postgresql_url))
        yield lambda statement: run(connection.execute(statement))
        run(connection.close())


@pytest.fixture(scope="session")
def on_mysql(mysql_url: str) -> Iterator[Execute]:
    """Runs statements in the maintenance database, on one connection: PyMySQL reads all certificates for each."""
    parts = urlsplit(mysql_url)
    with (
        pymysql.connect(
            host=parts.hostname, port=parts.port or 3306, user=parts.username or "root", password=parts.password or ""
        ) as connection,
        connection.cursor() as cursor,
    ):
        yield cursor.execute


@pytest.fixture
def postgresql_db_url(postgresql_url: str, on_postgresql: Execute) -> Iterator[str]:
    name = _database_name()
    on_postgresql(f'CREATE DATABASE "{name}" TEMPLATE template0')
    yield _with_database(postgresql_url, name)
    on_postgresql(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def pgbouncer_url(postgresql_db_url: str) -> Iterator[str]:
    with _serving(PgBouncerServer, postgresql_db_url) as server:
        yield server.url


@pytest.fixture
def mysql_db_url(mysql_url: str, on_mysql: Execute) -> Iterator[str]:
    name = _database_name()
    on_mysql(f"CREATE DATABASE `{name}`")
    yield _with_database(mysql_url, name)
    on_mysql(f"DROP DATABASE `{name}`")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'test.db'}"


def database_of(request: pytest.FixtureRequest) -> str:
    """URL of an empty database of the kind that the parameter names; in ``mysql+asyncmy``, with that driver."""
    kind, _, driver = request.param.partition("+")
    fixture = {"postgresql": "postgresql_db_url", "mysql": "mysql_db_url", "sqlite": "sqlite_url"}[kind]
    url: str = request.getfixturevalue(fixture)
    return url.replace("://", f"+{driver}://", 1) if driver else url


@pytest.fixture(params=["postgresql", "mysql", "sqlite"])
def database_url(request: pytest.FixtureRequest) -> str:
    return database_of(request)


@pytest.fixture(params=["valkey", "redis"])
def broker_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{request.param}_url")
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


def _database_name() -> str:
    return f"dataflow_test_{os.getpid()}_{next(_numbers)}"


def _with_database(url: str, name: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{name}"))
