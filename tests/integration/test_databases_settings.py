"""Settings that last as long as a transaction: PostgreSQL has them, the others say that they do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dataflow.databases import DatabaseOptions, open_database
from dataflow.databases.interface import Database, Executor
from dataflow.errors import DatabaseError, DatabaseUnavailableError, MissingTableError, TypeMismatchError

TENANT = {"app.tenant": "acme"}


@pytest.fixture
async def db(postgresql_db_url: str) -> AsyncIterator[Database]:
    """A database with one connection, so that whatever a transaction leaves behind meets the next statement."""
    database = open_database(postgresql_db_url, DatabaseOptions(pool_size=1, max_overflow=0))
    yield database
    await database.close()


async def setting(executor: Executor, name: str = "app.tenant") -> Any:
    row = await executor.fetch_one("SELECT current_setting($1, true)", [name])
    assert row is not None
    return row[0]


async def connection(executor: Executor) -> Any:
    row = await executor.fetch_one("SELECT pg_backend_pid()")
    assert row is not None
    return row[0]


async def test_settings_hold_for_all_statements_of_the_transaction(db: Database) -> None:
    async with db.transaction({**TENANT, "statement_timeout": "12345"}) as transaction:
        assert await setting(transaction) == "acme"
        async with transaction.savepoint():
            assert await setting(transaction, "statement_timeout") == "12345ms"
        assert await setting(transaction) == "acme"
    assert not await setting(db)
    assert await setting(db, "statement_timeout") == "0"


async def test_a_transaction_without_settings_sees_none_of_those_before(db: Database) -> None:
    async with db.transaction(TENANT):
        pass
    for settings in (None, {}):
        async with db.transaction(settings) as transaction:
            assert not await setting(transaction)


@pytest.mark.parametrize(
    "text",
    ["O'Brien", "\\", "\\'", "'); DROP TABLE t; --", "E'\\x27'", "$1 %s {} ?", "", " ", "\n\t", "é漢😀", "x" * 100_000],
)
@pytest.mark.parametrize("conforming", ["on", "off"])
async def test_any_text_arrives_as_it_is(db: Database, text: str, conforming: str) -> None:
    await db.execute(f"SET standard_conforming_strings = {conforming}")
    async with db.transaction({"app.tenant": text, "app.other": "b"}) as transaction:
        assert await setting(transaction) == text
        assert await setting(transaction, "app.other") == "b"


@pytest.mark.parametrize("value", ["a\0b", "\ud800", 7, None, b"a"])
async def test_what_is_no_text_is_refused_before_it_is_sent(db: Database, value: Any) -> None:
    for settings in ({"app.tenant": value}, {value: "acme"}):
        with pytest.raises(TypeMismatchError, match="setting"):
            async with db.transaction(settings):
                pytest.fail("the block ran")
    assert db.pool_metrics()["checked_out"] == 0
    assert not await setting(db)


@pytest.mark.parametrize("bad", [{"nonsense": "1"}, {"statement_timeout": "soon"}, {"a'b": "1"}])
async def test_a_setting_that_the_server_refuses_ends_the_transaction(db: Database, bad: dict[str, str]) -> None:
    with pytest.raises((DatabaseError, TypeMismatchError)):
        async with db.transaction({**TENANT, **bad}):
            pytest.fail("the block ran")
    assert db.pool_metrics()["checked_out"] == 0
    assert not await setting(db)


async def test_a_setting_does_not_survive_an_error(db: Database) -> None:
    before = await connection(db)

    async def fail(statement: str) -> None:
        async with db.transaction(TENANT) as transaction:
            await transaction.fetch_one(statement)
            raise LookupError

    with pytest.raises(LookupError):
        await fail("SELECT 1")
    assert not await setting(db)
    with pytest.raises(MissingTableError):
        await fail("SELECT * FROM nowhere")
    assert not await setting(db)
    assert await connection(db) == before


async def test_a_setting_does_not_survive_a_cancellation_at_any_moment(db: Database) -> None:
    async def work() -> None:
        async with db.transaction(TENANT) as transaction:
            await transaction.fetch_one("SELECT 1")
            await transaction.fetch_one("SELECT pg_sleep(0.002)")

    before = await connection(db)
    cancelled = 0
    for step in range(60):
        task = asyncio.create_task(work())
        await asyncio.sleep(step / 10_000)
        cancelled += task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not await setting(db)
        async with db.transaction() as transaction:
            assert not await setting(transaction)
    assert cancelled > 10
    assert db.pool_metrics()["checked_out"] == 0
    assert await connection(db) == before, "every cancelled transaction cost a connection, so nothing was proven"


async def test_a_setting_does_not_survive_a_lost_connection(db: Database, postgresql_db_url: str) -> None:
    other = open_database(postgresql_db_url)

    async def lose() -> None:
        async with db.transaction(TENANT) as transaction:
            await other.fetch_one("SELECT pg_terminate_backend($1)", [await connection(transaction)])
            await transaction.fetch_one("SELECT 1")

    with pytest.raises(DatabaseUnavailableError):
        await lose()
    assert not await setting(db)
    await other.close()


async def test_row_level_security_sees_them(db: Database) -> None:
    await db.execute("CREATE TABLE notes (tenant_id text NOT NULL, body text)")
    await db.execute("ALTER TABLE notes ENABLE ROW LEVEL SECURITY")
    await db.execute("ALTER TABLE notes FORCE ROW LEVEL SECURITY")
    mine = "tenant_id = nullif(current_setting('app.tenant', true), '')"
    await db.execute(f"CREATE POLICY tenant ON notes USING ({mine})")
    role = f"dataflow_{await connection(db)}"
    await db.execute(f"CREATE ROLE {role}")
    try:
        await db.execute(f"GRANT ALL ON notes TO {role}")
        settings = {"role": role, "app.tenant": "acme"}
        async with db.transaction(settings) as transaction:
            await transaction.execute("INSERT INTO notes VALUES ($1, 'a')", ["acme"])
            with pytest.raises(DatabaseError, match="row-level security"):
                async with transaction.savepoint():
                    await transaction.execute("INSERT INTO notes VALUES ($1, 'b')", ["other"])
        for tenant, seen in (("acme", 1), ("other", 0), ("", 0)):
            async with db.transaction({**settings, "app.tenant": tenant}) as transaction:
                assert len(await transaction.fetch_all("SELECT * FROM notes")) == seen
    finally:
        await db.execute(f"DROP OWNED BY {role}")
        await db.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize("database_url", ["mysql", "sqlite"], indirect=True)
async def test_elsewhere_they_are_refused(empty_database: Database) -> None:
    with pytest.raises(DatabaseError, match=r"(MySQL|SQLite) has no settings .* PostgreSQL only"):
        async with empty_database.transaction(TENANT):
            pytest.fail("the block ran")
    assert empty_database.pool_metrics()["checked_out"] == 0
    async with empty_database.transaction({}) as transaction:
        assert await transaction.fetch_one("SELECT 1") is not None
