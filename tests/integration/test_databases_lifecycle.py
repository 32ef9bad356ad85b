"""Cancelled calls, event loops, closing, crowds and servers that go away, on each of the three databases."""

from __future__ import annotations

import asyncio
import gc
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataflow.databases import DatabaseOptions, open_database
from dataflow.databases.interface import Database, Dialect
from dataflow.errors import DatabaseUnavailableError, PoolTimeoutError, TransientDatabaseError
from tests.integration.databases import (
    PLAYERS,
    SERVER_DRIVERS,
    SLOW,
    TEAMS,
    add_players,
    count,
    each_driver_url,  # noqa: F401  it replaces database_url
    sql,
)
from tests.servers import MariaDBServer, PostgreSQLServer, Server

INSERT_TEAM = "INSERT INTO teams (id, name) VALUES (?, ?)"

#: SQLite has no server, no sessions and one writer.
SERVERS_ONLY = pytest.mark.parametrize("database_url", SERVER_DRIVERS, indirect=True)


async def running(database: Database) -> int:
    """Statements on the server that are like SLOW's, besides this one."""
    query = {
        Dialect.POSTGRESQL: "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE ? "
        "AND pid <> pg_backend_pid()",
        Dialect.MYSQL: "SELECT count(*) FROM information_schema.processlist "
        "WHERE info LIKE ? AND id <> CONNECTION_ID()",
    }.get(database.dialect)
    if query is None:
        return database.pool_metrics()["checked_out"]
    row = await database.fetch_one(sql(database, query), ["%SLEEP(60)%" if "processlist" in query else "%pg_sleep%"])
    assert row is not None
    return int(row[0])


async def until(condition: Callable[[], Any]) -> None:
    while True:
        result = condition()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return
        await asyncio.sleep(0.005)


async def has_started(database: Database) -> bool:
    return await running(database) > 0


@pytest.mark.parametrize("where", ["alone", "transaction"])
async def test_a_cancelled_statement_stops_on_the_server(team_database: Database, where: str) -> None:
    db = team_database
    watcher = db

    async def slow() -> None:
        if where == "alone":
            await db.fetch_all(SLOW[db.dialect])
            return
        async with db.transaction() as transaction:
            await transaction.execute(sql(db, INSERT_TEAM), [1, "red"])
            await transaction.fetch_all(SLOW[db.dialect])

    for _ in range(3):
        task = asyncio.create_task(slow())
        await until(lambda: has_started(watcher))
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - began < 5
        # A server takes a moment to end what it was told to end.
        async with asyncio.timeout(5):
            await until(lambda: _none_running(watcher))
        assert db.pool_metrics()["checked_out"] == 0
        assert await count(db, "teams") == 0
    await db.execute(sql(db, INSERT_TEAM), [1, "red"])


async def _none_running(database: Database) -> bool:
    return await running(database) == 0


async def test_a_timeout_inside_a_transaction_ends_the_statement(team_database: Database) -> None:
    db = team_database

    async def slow() -> None:
        async with db.transaction() as transaction, asyncio.timeout(0.1):
            await transaction.execute(sql(db, INSERT_TEAM), [1, "red"])
            await transaction.fetch_all(SLOW[db.dialect])

    with pytest.raises(TimeoutError):
        await slow()
    assert await count(db, "teams") == 0
    assert db.pool_metrics()["checked_out"] == 0


async def test_a_cancelled_begin_leaves_no_transaction_open(database_url: str) -> None:
    """What the server had begun all the same would swallow the writes of whoever gets the connection next."""
    db = open_database(database_url, DatabaseOptions(pool_size=1, max_overflow=0))
    other = open_database(database_url)
    await db.create_tables([TEAMS])

    async def begin() -> None:
        async with db.transaction():
            pass

    for number in range(60):
        task = asyncio.create_task(begin())
        await asyncio.sleep(number / 50_000)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await db.execute(sql(db, INSERT_TEAM), [number, str(number)])
        assert await count(other, "teams") == number + 1
    await other.close()
    await db.close()


async def test_nothing_leaks_whatever_is_cancelled(database_url: str) -> None:
    db = open_database(database_url, DatabaseOptions(pool_size=3, max_overflow=2))
    await db.create_tables([TEAMS, PLAYERS])
    await add_players(db, 10)
    chance = random.Random(7)
    committed: list[int] = []

    async def write(number: int) -> None:
        async with db.transaction() as transaction:
            await transaction.execute(sql(db, INSERT_TEAM), [number, str(number)])
            await transaction.fetch_all("SELECT * FROM players")
        committed.append(number)

    async def read() -> None:
        rows = await db.fetch_all(sql(db, "SELECT id FROM players WHERE id <= ?"), [7])
        assert len(rows) == 7

    for start in range(0, 120, 20):
        tasks = [asyncio.create_task(write(start + n) if n % 2 else read()) for n in range(20)]
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(chance.random() / 300)
            chance.choice(tasks).cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}
    assert db.pool_metrics()["checked_out"] == 0
    assert db.pool_metrics()["waiting"] == 0
    stored = {row[0] for row in await db.fetch_all("SELECT id FROM teams")}
    # What was reported as done is there. A commit that was cancelled on its way may be there, too.
    assert set(committed) <= stored
    await asyncio.gather(*(read() for _ in range(20)))
    await db.close()


async def test_a_crowd_shares_the_pool(database_url: str) -> None:
    db = open_database(database_url, DatabaseOptions(pool_size=4, max_overflow=1))
    await db.create_tables([TEAMS])

    async def work(number: int) -> None:
        await db.execute(sql(db, INSERT_TEAM), [number, str(number)])
        row = await db.fetch_one(sql(db, "SELECT name FROM teams WHERE id = ?"), [number])
        assert row is not None
        assert row[0] == str(number)

    await asyncio.gather(*(work(number) for number in range(300)))
    assert await count(db, "teams") == 300
    assert db.pool_metrics()["total"] <= 5
    await db.close()


async def test_waiting_for_a_connection_ends(database_url: str) -> None:
    db = open_database(database_url, DatabaseOptions(pool_size=1, max_overflow=0, pool_timeout=0.1))
    await db.create_tables([TEAMS])
    async with db.transaction() as transaction:
        with pytest.raises(PoolTimeoutError, match="pool_size"):
            await db.execute(sql(db, INSERT_TEAM), [1, "red"])
        await transaction.execute(sql(db, INSERT_TEAM), [2, "blue"])
    rows = await db.fetch_all("SELECT id FROM teams")
    assert [row[0] for row in rows] == [2]
    await db.close()


async def test_one_database_in_several_threads(team_database: Database) -> None:
    db = team_database
    failures: list[BaseException] = []

    async def work(first: int) -> None:
        for number in range(first, first + 10):
            async with db.transaction() as transaction:
                await transaction.execute(sql(db, INSERT_TEAM), [number, str(number)])
            assert await db.fetch_one(sql(db, "SELECT id FROM teams WHERE id = ?"), [number]) is not None

    def in_thread(first: int) -> None:
        try:
            asyncio.run(work(first))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=in_thread, args=(100 * number,)) for number in range(1, 4)]
    for thread in threads:
        thread.start()
    await work(0)
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert failures == []
    assert await count(db, "teams") == 40


def test_one_database_in_one_loop_after_another(database_url: str) -> None:
    db = open_database(database_url)
    asyncio.run(_create_team(db, 1))
    asyncio.run(_create_team(db, 2))
    total = asyncio.run(count(db, "teams"))
    assert total == 2
    assert db.pool_metrics()["checked_out"] == 0
    asyncio.run(db.close())


async def _create_team(db: Database, number: int) -> None:
    await db.create_tables([TEAMS])
    await db.execute(sql(db, INSERT_TEAM), [number, str(number)])


async def test_a_memory_database_is_one_for_all_loops_and_for_nobody_else() -> None:
    db, other = open_database(":memory:"), open_database(":memory:")
    await _create_team(db, 1)
    await asyncio.to_thread(asyncio.run, _create_team(db, 2))
    assert await count(db, "teams") == 2
    assert await other.existing_columns(["teams"]) == {}
    await db.close()
    await other.close()


async def test_a_closed_database_opens_again(team_database: Database) -> None:
    db = team_database
    in_memory = db.masked_url == ":memory:"
    await db.execute(sql(db, INSERT_TEAM), [1, "red"])
    await db.close()
    assert db.pool_metrics()["total"] == 0
    assert in_memory or await count(db, "teams") == 1
    await db.close()
    await db.close()


@SERVERS_ONLY
async def test_closing_reaches_the_pools_of_other_loops(team_database: Database) -> None:
    db = team_database
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(count(db), loop))
        assert await connections(db) == 2
        await db.close()
        async with asyncio.timeout(5):
            await until(lambda: only_connection(db))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        await asyncio.to_thread(thread.join)
        loop.close()


@SERVERS_ONLY
async def test_a_database_that_nobody_holds_leaves_no_connection(empty_database: Database, database_url: str) -> None:
    forgotten = open_database(database_url)
    await asyncio.gather(*(forgotten.fetch_one("SELECT 1") for _ in range(3)))
    assert await connections(empty_database) == 4
    del forgotten
    gc.collect()
    async with asyncio.timeout(5):
        await until(lambda: only_connection(empty_database))


async def connections(db: Database) -> int:
    query = {
        Dialect.POSTGRESQL: "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()",
        Dialect.MYSQL: "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE()",
    }[db.dialect]
    row = await db.fetch_one(query)
    assert row is not None
    return int(row[0])


async def only_connection(db: Database) -> bool:
    return await connections(db) == 1


@SERVERS_ONLY
async def test_without_pooling_no_connection_stays(database_url: str) -> None:
    db = open_database(database_url, DatabaseOptions(enable_connection_pooling=False))
    await db.create_tables([TEAMS])
    async with db.transaction() as transaction:
        await transaction.execute(sql(db, INSERT_TEAM), [1, "red"])
    assert db.pool_metrics()["total"] == 0
    await db.close()


@SERVERS_ONLY
async def test_a_deadlock_is_transient_and_ends_one_of_the_two(team_database: Database) -> None:
    db = team_database
    for number in (1, 2):
        await db.execute(sql(db, INSERT_TEAM), [number, str(number)])
    both = asyncio.Barrier(2)

    async def cross(first: int, second: int) -> None:
        async with db.transaction() as transaction:
            update = sql(db, "UPDATE teams SET name = ? WHERE id = ?")
            await transaction.execute(update, [f"{first}a", first])
            await both.wait()
            await transaction.execute(update, [f"{second}b", second])

    results = await asyncio.gather(cross(1, 2), cross(2, 1), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["NoneType", "TransientDatabaseError"]
    assert db.pool_metrics()["checked_out"] == 0


async def test_another_process_that_writes_is_waited_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    db, other = open_database(url, DatabaseOptions(busy_timeout=0.3)), open_database(url)
    await db.create_tables([TEAMS])
    async with other.transaction() as transaction:
        await transaction.execute(INSERT_TEAM, [1, "red"])
        assert await count(db, "teams") == 0
        with pytest.raises(TransientDatabaseError, match="locked"):
            await db.execute(INSERT_TEAM, [2, "blue"])
        with pytest.raises(TransientDatabaseError, match="locked"):
            async with db.transaction():
                pass
        # A cancelled call does not wait for the lock.
        patient = open_database(url, DatabaseOptions(busy_timeout=60))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await patient.execute(INSERT_TEAM, [2, "blue"])
        await patient.close()
    await db.execute(INSERT_TEAM, [2, "blue"])
    assert await count(other, "teams") == 2
    await db.close()
    await other.close()


async def test_a_sqlite_file_that_is_read_only(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    db = open_database(f"sqlite:///{path}", DatabaseOptions(enable_wal=False))
    await _create_team(db, 1)
    await db.close()
    reader = open_database(f"sqlite:///{path}?mode=ro")
    assert await count(reader, "teams") == 1
    with pytest.raises(DatabaseUnavailableError, match="readonly"):
        await reader.execute(INSERT_TEAM, [2, "blue"])
    await reader.close()


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "text.db"
    path.write_text("This is no database, but long enough to be mistaken for one. " * 20)
    db = open_database(f"sqlite:///{path}")
    with pytest.raises(DatabaseUnavailableError, match="not a database"):
        await db.capabilities()
    await db.close()


@SERVERS_ONLY
async def test_sessions_mean_the_same_on_every_server(empty_database: Database) -> None:
    db = empty_database
    query = {
        Dialect.POSTGRESQL: "SELECT current_setting('timezone'), current_setting('transaction_isolation'), "
        "current_setting('application_name')",
        Dialect.MYSQL: "SELECT @@session.time_zone, LOWER(REPLACE(@@session.tx_isolation, '-', ' ')), 'dataflow'",
    }[db.dialect]
    row = await db.fetch_one(query)
    assert row is not None
    assert row[0] in ("UTC", "+00:00")
    assert (row[1], row[2]) == ("read committed", "dataflow")


@pytest.mark.parametrize("kind", [PostgreSQLServer, MariaDBServer])
async def test_connections_recover_when_the_server_comes_back(
    kind: type[Server], new_server: Callable[[type[Server]], Server]
) -> None:
    own_server = new_server(kind)
    db = open_database(own_server.url, DatabaseOptions(pool_size=3, max_overflow=0))
    query = "SELECT 1"
    await asyncio.gather(*(db.fetch_one(query) for _ in range(3)))
    assert db.pool_metrics()["total"] == 3
    slow = asyncio.create_task(db.fetch_one(SLOW[db.dialect]))
    await until(lambda: has_started(db))
    await asyncio.to_thread(own_server.kill)
    with pytest.raises(DatabaseUnavailableError, match="was lost"):
        await slow

    async def refused() -> bool:
        # Idle connections break one after another, as the server's processes end; one that has not may still answer.
        try:
            await db.fetch_one(query)
        except DatabaseUnavailableError as error:
            return "Cannot reach" in str(error) and "connection refused" in str(error)
        return False

    await until(refused)
    await asyncio.to_thread(own_server.start)
    rows = await asyncio.gather(*(db.fetch_one(query) for _ in range(10)))
    assert [row[0] for row in rows if row] == [1] * 10
    assert db.pool_metrics()["checked_out"] == 0
    await db.close()


SCRIPT = """
import asyncio
from dataflow.databases import open_database

async def main():
    await database.execute("CREATE TABLE t (a INTEGER)")
    async with database.transaction() as transaction:
        await transaction.execute("INSERT INTO t (a) VALUES (1)")
    print((await database.fetch_one("SELECT a FROM t"))[0])

database = open_database({url!r})
asyncio.run(main())
"""


def test_a_process_that_never_closes_ends_quietly(database_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(url=database_url)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
