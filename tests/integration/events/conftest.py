from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.events.lines import Line

#: A database and a way to capture its changes.
MECHANISMS = ["sqlite-outbox", "postgresql-outbox", "mysql-outbox"]


def line_of(request: pytest.FixtureRequest) -> Line:
    """A line of the kind that the parameter names."""
    kind, _, mechanism = request.param.partition("-")
    fixture = {"postgresql": "postgresql_db_url", "mysql": "mysql_db_url", "sqlite": "sqlite_url"}[kind]
    return Line(request.getfixturevalue(fixture), request.getfixturevalue("redis_url"), mechanism)


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
