from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator

import pymysql
import pytest

from tests.conftest import _serving
from tests.integration.events.lines import Line
from tests.integration.events.stage import Stage
from tests.integration.events.test_binlog_source import LOGGED
from tests.servers import MariaDBServer

#: A database and a way to capture its changes.
MECHANISMS = ["sqlite-outbox", "postgresql-outbox", "postgresql-pgoutput", "mysql-outbox", "mysql-binlog"]


_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def logging_mariadb() -> Iterator[MariaDBServer]:
    """A MariaDB with a binary log."""
    with _serving(MariaDBServer, LOGGED) as server:
        yield server


@pytest.fixture
def binlog_db_url(logging_mariadb: MariaDBServer) -> str:
    """An empty database there; it goes with the server."""
    name = f"events_{next(_numbers)}"
    with (
        pymysql.connect(host="127.0.0.1", port=logging_mariadb.port, user="root") as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(f"CREATE DATABASE {name}")
    return logging_mariadb.url.replace("/mysql", f"/{name}")


def line_of(request: pytest.FixtureRequest) -> Line:
    """A line of the kind that the parameter names."""
    kind, _, mechanism = request.param.partition("-")
    if mechanism == "pgoutput":
        pytest.importorskip("psycopg")
    fixture = {"sqlite-outbox": "sqlite_url", "mysql-binlog": "binlog_db_url"}.get(request.param, f"{kind}_db_url")
    url = request.getfixturevalue(fixture)
    return Line(url, request.getfixturevalue("redis_url"), mechanism)


@pytest.fixture(params=MECHANISMS)
async def line(request: pytest.FixtureRequest) -> AsyncIterator[Line]:
    """Each mechanism of each database in turn."""
    made = line_of(request)
    await made.open()
    yield made
    await made.close()


@pytest.fixture(params=MECHANISMS[:1])
async def sqlite_line(request: pytest.FixtureRequest) -> AsyncIterator[Line]:
    """SQLite's, for what is the same whatever the source."""
    made = line_of(request)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def stage(redis_url: str) -> AsyncIterator[Stage]:
    made = Stage(redis_url)
    await made.open()
    yield made
    await made.close()
