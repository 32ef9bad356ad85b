"""Tables that are altered under a running pool: whatever was prepared or learned before must not matter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import Any

import pytest

from dataflow.databases import DatabaseOptions, open_database
from dataflow.databases.interface import Database, Dialect, Executor
from dataflow.errors import DatabaseError, TransientDatabaseError, TypeMismatchError
from tests.integration.databases import count, each_driver_url, sql  # noqa: F401

WARM = 4
READ = "SELECT * FROM items WHERE id = ?"
INSERT = "INSERT INTO items (id, code) VALUES (?, ?)"

POSTGRESQL_ONLY = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Database]:
    """Who alters the tables."""
    database = open_database(database_url)
    await database.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, code INTEGER)")
    await database.execute("INSERT INTO items (id, code) VALUES (1, 7)")
    yield database
    await database.close()


@pytest.fixture
async def db(other: Database, database_url: str) -> AsyncIterator[Database]:
    """A pool whose connections have all read and written the table."""
    database = open_database(database_url, DatabaseOptions(pool_size=WARM, max_overflow=0))
    barrier = asyncio.Barrier(WARM)

    async def warm(number: int) -> None:
        async with database.transaction() as transaction:
            if database.dialect is not Dialect.SQLITE:
                await barrier.wait()
            await transaction.fetch_all(sql(database, READ), [1])
            await transaction.execute(sql(database, INSERT), [100 + number, 7])
            await transaction.execute_many(sql(database, INSERT), [[200 + number, 7], [300 + number, 7]])
            await transaction.copy_rows("items", ["id", "code"], [[400 + number, 7]])
            raise LookupError("so that nothing stays")

    await asyncio.gather(*(warm(number) for number in range(WARM)), return_exceptions=True)
    await asyncio.gather(*(database.fetch_all(sql(database, READ), [1]) for _ in range(WARM)))
    assert await count(database, "items") == 1
    yield database
    await database.close()


async def alter(other: Database, postgresql: str, mysql: str | None = None) -> None:
    """Add a column, and change a type where the database can."""
    await other.execute("ALTER TABLE items ADD COLUMN colour VARCHAR(10)")
    if other.dialect is Dialect.POSTGRESQL:
        await other.execute(f"ALTER TABLE items ALTER COLUMN code TYPE {postgresql}")
    elif other.dialect is Dialect.MYSQL:
        await other.execute(f"ALTER TABLE items MODIFY COLUMN code {mysql or postgresql}")


async def at_once(db: Database, work: Any) -> list[Any]:
    """Run work on every connection of the pool."""
    return await asyncio.gather(*(work(number) for number in range(WARM)))


async def test_statements_by_themselves_see_the_new_columns(db: Database, other: Database) -> None:
    await alter(other, "BIGINT")

    async def work(number: int) -> None:
        [row] = await db.fetch_all(sql(db, READ), [1])
        assert tuple(row) == (1, 7, None)
        row = await db.fetch_one(sql(db, READ), [1])
        assert row is not None
        assert len(row) == 3

    await at_once(db, work)
    assert db.pool_metrics()["checked_out"] == 0


async def test_the_first_statement_of_a_transaction_is_run_again(db: Database, other: Database) -> None:
    await alter(other, "BIGINT")

    async def work(number: int) -> None:
        async with db.transaction() as transaction:
            [row] = await transaction.fetch_all(sql(db, READ), [1])
            assert tuple(row) == (1, 7, None)
            await transaction.execute(sql(db, INSERT), [10 + number, 1])

    await at_once(db, work)
    assert await count(other, "items") == 1 + WARM


@POSTGRESQL_ONLY
async def test_settings_hold_in_the_transaction_that_was_begun_anew(db: Database, other: Database) -> None:
    await alter(other, "BIGINT")

    async def work(number: int) -> None:
        async with db.transaction({"app.tenant": "acme"}) as transaction:
            await transaction.fetch_all(sql(db, READ), [1])
            row = await transaction.fetch_one("SELECT current_setting('app.tenant', true)")
            assert row is not None
            assert row[0] == "acme"

    await at_once(db, work)


@POSTGRESQL_ONLY
async def test_a_later_statement_of_a_transaction_is_a_transient_failure(db: Database, other: Database) -> None:
    await alter(other, "BIGINT")

    async def work() -> None:
        async with db.transaction() as transaction:
            await transaction.execute(sql(db, INSERT), [10, 1])
            await transaction.fetch_all(sql(db, READ), [1])

    with pytest.raises(TransientDatabaseError, match="altered"):
        await work()
    assert await count(other, "items") == 1
    assert db.pool_metrics()["checked_out"] == 0
    await work()
    assert await count(other, "items") == 2


@POSTGRESQL_ONLY
@pytest.mark.parametrize(("kind", "value"), [("TEXT", "text"), ("DATE", None)])
async def test_a_later_statement_whose_values_have_another_type(
    db: Database, other: Database, kind: str, value: str | None
) -> None:
    """A value that the old type refuses is sent with the new one; what the server refuses ends the transaction."""
    await alter(other, f"{kind} USING NULL")

    async def work(transaction: Executor) -> None:
        await transaction.fetch_one("SELECT 1")
        await transaction.execute(sql(db, INSERT), [10, value])

    if value is None:
        with pytest.raises(TransientDatabaseError, match="altered"):
            async with db.transaction() as transaction:
                await work(transaction)
    else:
        async with db.transaction() as transaction:
            await work(transaction)
        await other.execute("DELETE FROM items WHERE id = 10")
    async with db.transaction() as transaction:
        await work(transaction)
        with pytest.raises(TypeMismatchError):
            await transaction.execute(sql(db, INSERT), [object(), value])
    assert await count(other, "items") == 2


@pytest.mark.parametrize("way", ["execute", "execute_many", "copy_rows", "transaction"])
@pytest.mark.parametrize("database_url", ["postgresql", "mysql+aiomysql", "mysql+asyncmy"], indirect=True)
async def test_values_of_the_new_type_are_taken(db: Database, other: Database, way: str) -> None:
    await alter(other, "TEXT")

    async def work(number: int) -> None:
        row = [10 + number, "text"]
        if way == "execute":
            await db.execute(sql(db, INSERT), row)
        elif way == "execute_many":
            await db.execute_many(sql(db, INSERT), [row, [20 + number, "text"]])
        elif way == "copy_rows":
            await db.copy_rows("items", ["id", "code"], [row])
        else:
            async with db.transaction() as transaction:
                await transaction.execute(sql(db, INSERT), row)

    await at_once(db, work)
    rows = await other.fetch_all("SELECT code FROM items WHERE id > 1")
    assert {row[0] for row in rows} == {"text"}


@pytest.mark.parametrize("database_url", ["postgresql", "mysql+aiomysql", "mysql+asyncmy"], indirect=True)
async def test_copied_rows_keep_their_values_when_a_type_of_the_same_width_takes_over(
    db: Database, other: Database
) -> None:
    await alter(other, "REAL", "FLOAT")

    async def work(number: int) -> None:
        await db.copy_rows("items", ["id", "code"], [[10 + number, 3]])

    await at_once(db, work)
    rows = await other.fetch_all("SELECT code FROM items WHERE id > 1")
    assert [row[0] for row in rows] == [3.0] * WARM


@POSTGRESQL_ONLY
async def test_a_statement_that_is_wrong_fails_with_its_own_error(db: Database, other: Database) -> None:
    for statement in ("SELECT 1 + '[]'::json", "INSERT INTO items (id) SELECT now()"):
        with pytest.raises(DatabaseError) as caught:
            await db.fetch_all(statement)
        assert not isinstance(caught.value, TransientDatabaseError)
        with pytest.raises(DatabaseError):
            async with db.transaction() as transaction:
                await transaction.fetch_all(statement)
    assert db.pool_metrics()["checked_out"] == 0
    assert await count(db, "items") == 1


@POSTGRESQL_ONLY
@pytest.mark.parametrize("in_transaction", [False, True])
async def test_a_connection_that_knows_the_old_form_of_a_type_is_not_used_again(
    other: Database, database_url: str, *, in_transaction: bool
) -> None:
    await other.execute("CREATE TYPE pair AS (a INTEGER, b INTEGER)")
    await other.execute("ALTER TABLE items ADD COLUMN both_of pair DEFAULT ROW(1, 2)::pair")
    query = "SELECT both_of FROM items WHERE id = $1"
    db = open_database(database_url, DatabaseOptions(pool_size=1, max_overflow=0))
    assert await db.fetch_one(query, [1]) == ((1, 2),)
    await other.execute("ALTER TYPE pair DROP ATTRIBUTE b, ADD ATTRIBUTE b TEXT")
    await other.execute("UPDATE items SET both_of = ROW(1, 'two')::pair")

    async def read() -> None:
        async with db.transaction() if in_transaction else nullcontext(db) as run:
            await run.fetch_one(query, [1])

    with pytest.raises(DatabaseError, match="composite type attribute"):
        await read()
    assert await db.fetch_one(query, [1]) == ((1, "two"),)
    await db.close()


async def test_a_dropped_and_remade_table_is_another_table(db: Database, other: Database) -> None:
    await other.execute("DROP TABLE items")
    await other.execute("CREATE TABLE items (code VARCHAR(10), id INTEGER PRIMARY KEY)")
    await other.execute("INSERT INTO items (id, code) VALUES (1, 'new')")

    async def work(number: int) -> None:
        async with db.transaction() as transaction:
            [row] = await transaction.fetch_all(sql(db, READ), [1])
            assert tuple(row) == ("new", 1)

    await at_once(db, work)
