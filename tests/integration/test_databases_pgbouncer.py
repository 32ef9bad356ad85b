"""PostgreSQL behind PgBouncer in transaction mode: each transaction may run on another of a few connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from dataflow import AsyncLocalRuntime, DataFlow, WorkflowBuilder
from dataflow.databases import DatabaseOptions, open_database
from dataflow.databases.interface import Database
from dataflow.errors import DatabaseError, UniqueViolationError
from tests.integration.databases import PLAYERS, TEAMS, add_players, count

CROWD = 50


@pytest.fixture
async def db(pgbouncer_url: str) -> AsyncIterator[Database]:
    database = open_database(pgbouncer_url, DatabaseOptions(statement_cache_size=0, pool_size=CROWD))
    await database.create_tables([TEAMS, PLAYERS])
    yield database
    await database.close()


async def test_a_crowd_runs_every_kind_of_statement(db: Database) -> None:
    async def work(number: int) -> None:
        insert = "INSERT INTO players (name, score) VALUES ($1, $2)"
        row = await db.fetch_one(f"{insert} RETURNING id, score", [f"a{number}", number])
        assert row is not None
        assert row[1] == number
        assert (await db.execute("UPDATE players SET score = $2 WHERE id = $1", [row[0], number + 1])).rows == 1
        assert await db.execute_many(insert, [[f"m{number}", number]] * 10) == 10
        assert await db.execute_many("UPDATE players SET score = $2 WHERE name = $1", [[f"m{number}", 1]] * 2) == 20
        assert await db.copy_rows("players", ["name", "score"], [[f"c{number}", number]] * 10) == 10
        rows = await db.fetch_all("SELECT score FROM players WHERE name = $1", [f"c{number}"])
        assert [row[0] for row in rows] == [number] * 10

    await asyncio.gather(*(work(number) for number in range(CROWD)))
    assert await count(db) == 21 * CROWD


async def test_a_crowd_of_transactions_with_settings(db: Database) -> None:
    async def work(number: int) -> None:
        async with db.transaction({"app.tenant": str(number)}) as transaction:
            await transaction.copy_rows("players", ["name", "score"], [["c", number]] * 5)
            with pytest.raises(UniqueViolationError):
                async with transaction.savepoint():
                    await transaction.execute("INSERT INTO teams (id, name) VALUES (1, $1), (2, $1)", ["a"])
            row = await transaction.fetch_one("SELECT current_setting('app.tenant', true)")
            assert row is not None
            assert row[0] == str(number)
        row = await db.fetch_one("SELECT current_setting('app.tenant', true), current_setting('timezone')")
        assert row is not None
        assert (row[0] or "", row[1]) == ("", "UTC")

    await asyncio.gather(*(work(number) for number in range(CROWD)))
    assert await count(db) == 5 * CROWD


async def test_tables_are_created_once_by_several_at_once(pgbouncer_url: str) -> None:
    options = DatabaseOptions(statement_cache_size=0)
    several = [open_database(pgbouncer_url, options) for _ in range(5)]
    created = await asyncio.gather(*(db.create_tables([TEAMS, PLAYERS]) for db in several))
    assert sorted(map(len, created)) == [0, 0, 0, 0, 2]
    await asyncio.gather(*(db.close() for db in several))


async def test_altered_tables(db: Database) -> None:
    await add_players(db, 1)
    query = "SELECT * FROM players WHERE id = $1"
    before = await asyncio.gather(*(db.fetch_all(query, [1]) for _ in range(10)))
    await db.execute("ALTER TABLE players ADD COLUMN colour TEXT")
    after = await asyncio.gather(*(db.fetch_all(query, [1]) for _ in range(10)))
    assert {len(rows[0]) for rows in after} == {len(before[0][0]) + 1}


@pytest.mark.parametrize("where", ["alone", "transaction"])
async def test_a_cancelled_statement_stops_on_the_server(db: Database, where: str, postgresql_db_url: str) -> None:
    watcher = open_database(postgresql_db_url)

    async def running() -> int:
        query = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE $1"
        row = await watcher.fetch_one(query, ["SELECT pg_sleep%"])
        assert row is not None
        return int(row[0])

    async def slow() -> None:
        if where == "alone":
            await db.fetch_all("SELECT pg_sleep(60)")
            return
        async with db.transaction({"app.tenant": "acme"}) as transaction:
            await transaction.execute("INSERT INTO teams (id, name) VALUES (1, 'red')")
            await transaction.fetch_all("SELECT pg_sleep(60)")

    began = time.monotonic()
    for _ in range(3):
        # As many as there are connections behind the pooler: one that stays busy would block the next round.
        tasks = [asyncio.create_task(slow()) for _ in range(1 if where == "transaction" else 3)]
        while await running() < len(tasks):
            await asyncio.sleep(0.005)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.cancelled() for task in tasks)
        assert await count(db, "teams") == 0
        async with asyncio.timeout(5):
            while await running():
                await asyncio.sleep(0.005)
    await watcher.close()
    assert time.monotonic() - began < 20
    assert db.pool_metrics()["checked_out"] == 0


async def test_nodes(pgbouncer_url: str) -> None:
    async with DataFlow(pgbouncer_url, statement_cache_size=0) as db:

        @db.model
        class Note:
            body: str
            stars: int = 0

        async def run(number: int) -> None:
            builder = WorkflowBuilder()
            builder.add_node("NoteCreateNode", "create", {"body": f"note {number}"})
            builder.add_node("NoteUpdateNode", "update", {"fields": {"stars": {"$inc": 2}}})
            builder.add_connection("create", "id", "update", "id")
            builder.add_node("NoteBulkCreateNode", "bulk", {"data": [{"body": f"bulk {number}"}] * 20})
            results, _ = await AsyncLocalRuntime().execute_workflow_async(builder.build())
            assert results["update"]["stars"] == 2
            assert results["bulk"]["inserted"] == 20

        await asyncio.gather(*(run(number) for number in range(CROWD)))
        builder = WorkflowBuilder()
        builder.add_node("NoteListNode", "list", {"filter": {"stars": 2}, "with_total": True})
        builder.add_node("NoteBulkDeleteNode", "delete", {"filter": {"stars": 0}})
        results, _ = await AsyncLocalRuntime().execute_workflow_async(builder.build())
        assert results["list"]["total"] == CROWD
        assert results["delete"]["deleted"] == 20 * CROWD


async def test_without_the_setting_the_error_names_it(pgbouncer_url: str) -> None:
    db = open_database(pgbouncer_url, DatabaseOptions(pool_size=CROWD))

    async def work(number: int) -> None:
        for _ in range(5):
            await db.fetch_all("SELECT pg_backend_pid(), $1::int", [number])

    outcomes = await asyncio.gather(*(work(number) for number in range(CROWD)), return_exceptions=True)
    errors = [outcome for outcome in outcomes if outcome is not None]
    assert errors
    assert all(isinstance(error, DatabaseError) for error in errors)
    assert {error.hint.partition(". ")[0] for error in errors if isinstance(error, DatabaseError) and error.hint} == {
        "Behind PgBouncer in transaction mode, set statement_cache_size=0"
    }
    await db.close()
