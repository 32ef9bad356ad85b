from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from dataflow.databases import open_database
from dataflow.databases.interface import Database
from tests.integration.bulk_models import Shop, open_shop
from tests.integration.databases import PLAYERS, TEAMS


@pytest.fixture
async def empty_database(database_url: str) -> AsyncIterator[Database]:
    """A database without tables, on each of the three in turn."""
    database = open_database(database_url)
    yield database
    await database.close()


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
