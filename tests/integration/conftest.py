from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import pytest

from dataflow.databases import DatabaseOptions, open_database
from dataflow.databases.interface import Database
from tests.integration.bulk_models import Shop, open_shop
from tests.integration.databases import PLAYERS, TEAMS


@pytest.fixture
async def empty_database(database_url: str) -> AsyncIterator[Database]:
    """A database without tables, on each of the three in turn."""
    database = open_database(database_url)
    yield database
    await database.close()


@asynccontextmanager
async def _as_owner(superuser_url: str) -> AsyncIterator[str]:
    """A PostgreSQL database as an ordinary user, whom row-level security binds on tables of their own too."""
    parts = urlsplit(superuser_url)
    user = f"{parts.path.removeprefix('/')}_owner"
    admin = open_database(superuser_url, DatabaseOptions(pool_size=1))
    await admin.execute(f"CREATE ROLE {user} LOGIN PASSWORD 'secret' NOSUPERUSER NOBYPASSRLS")
    await admin.execute(f"GRANT CREATE, USAGE ON SCHEMA public TO {user}")
    yield urlunsplit(parts._replace(netloc=f"{user}:secret@{parts.hostname}:{parts.port or 5432}"))
    await admin.execute(f"DROP OWNED BY {user}")
    await admin.execute(f"DROP ROLE {user}")
    await admin.close()


@pytest.fixture
async def owner_url(postgresql_db_url: str) -> AsyncIterator[str]:
    """An empty PostgreSQL database, as an ordinary user."""
    async with _as_owner(postgresql_db_url) as url:
        yield url


@pytest.fixture
async def ordinary_url(database_url: str) -> AsyncIterator[str]:
    """Each of the three databases in turn, on PostgreSQL as an ordinary user."""
    if not database_url.startswith("postgresql"):
        yield database_url
        return
    async with _as_owner(database_url) as url:
        yield url


@pytest.fixture
async def team_database(empty_database: Database) -> Database:
    """A database with the tables ``teams`` and ``players``."""
    await empty_database.create_tables([TEAMS, PLAYERS])
    return empty_database


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    """The models of the bulk tests, on each of the three databases in turn."""
    async with open_shop(database_url) as shop:
        yield shop
