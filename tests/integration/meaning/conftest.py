"""Where the differential test plays, and its longer form."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.internal.conjecture import providers

from dataflow.databases import open_database
from dataflow.databases.interface import Database, Dialect, Row
from tests.integration.meaning.arena import open_arena
from tests.integration.meaning.tasks import Play

#: The profile of a longer test, of other plays every time: ``make meaning``. What fails is named by its seed, and
#: ``DATAFLOW_MEANING_SEEDS=<seed>,…`` plays it again.
LONG = "long"
settings.register_profile(LONG)


_NO_CONSTANTS = providers.Constants()


@pytest.fixture(autouse=True)
def the_same_plays_beside_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    # Hypothesis also draws constants that it finds in the modules that happen to be loaded.
    monkeypatch.setattr(providers, "_get_local_constants", lambda: _NO_CONSTANTS)


@dataclass
class Stage:
    """The three databases, and the event loop that they are used from."""

    runner: asyncio.Runner
    databases: list[Database]

    def perform(self, play: Play) -> None:
        """Run a play on all sides.

        Raises:
            AssertionError: A database has a meaning of its own.
        """
        self.runner.run(self._perform(play))

    def ask(self, statements: Mapping[Dialect, str]) -> dict[Dialect, list[Row]]:
        """What the databases themselves answer."""
        asked = [database for database in self.databases if database.dialect in statements]
        return {
            database.dialect: self.runner.run(database.fetch_all(statements[database.dialect])) for database in asked
        }

    async def _perform(self, play: Play) -> None:
        async with open_arena(play.model, self.databases) as arena:
            for step in play.steps:
                await arena.play(step)


@pytest.fixture
def stage(postgresql_db_url: str, mysql_db_url: str, tmp_path: Path) -> Iterator[Stage]:
    with asyncio.Runner() as runner:
        urls = [postgresql_db_url, mysql_db_url, f"sqlite:///{tmp_path / 'meaning.db'}"]
        databases = [open_database(url) for url in urls]
        yield Stage(runner, databases)
        for database in databases:
            runner.run(database.close())
