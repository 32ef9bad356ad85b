"""What every Database does: statements, transactions, errors. One suite, run on all three."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
import sqlalchemy as sa

from dataflow.databases import DatabaseOptions, open_database
from dataflow.databases.interface import Database, Dialect, Transaction
from dataflow.errors import (
    CheckViolationError,
    ConstraintError,
    DatabaseError,
    DatabaseUnavailableError,
    ForeignKeyViolationError,
    MissingTableError,
    NotNullViolationError,
    SchemaMismatchError,
    TypeMismatchError,
    UniqueViolationError,
)
from tests.integration.databases import KINDS, MYSQL_DRIVERS, add_players, count, each_driver_url, sql  # noqa: F401

INSERT_TEAM = "INSERT INTO teams (id, name) VALUES (?, ?)"
INSERT_PLAYER = "INSERT INTO players (name, score) VALUES (?, ?)"


async def test_rows_come_back_in_column_order(team_database: Database) -> None:
    db = team_database
    await db.execute(sql(db, INSERT_TEAM), [1, "red"])
    await db.execute(sql(db, INSERT_TEAM), [2, "blue"])
    query = sql(db, "SELECT id, name FROM teams WHERE id >= ? ORDER BY id")
    assert [tuple(row) for row in await db.fetch_all(query, [1])] == [(1, "red"), (2, "blue")]
    row = await db.fetch_one(query, [2])
    assert row is not None
    assert (row[0], row[1]) == (2, "blue")
    assert await db.fetch_one(query, [3]) is None
    assert await db.fetch_all(query, [3]) == []


async def test_statements_without_arguments(team_database: Database) -> None:
    db = team_database
    await db.execute("INSERT INTO teams (id, name) VALUES (1, 'red')")
    assert await count(db, "teams") == 1
    row = await db.fetch_one(sql(db, "SELECT 17 % 5"))
    assert row is not None
    assert row[0] == 2


async def test_matched_rows_count_also_where_nothing_changes(team_database: Database) -> None:
    db = team_database
    await add_players(db, 5)
    assert (await db.execute(sql(db, "UPDATE players SET score = score WHERE score > ?"), [2])).rows == 3
    assert (await db.execute(sql(db, "UPDATE players SET score = 0 WHERE score > ?"), [99])).rows == 0
    assert (await db.execute(sql(db, "DELETE FROM players WHERE score <= ?"), [2])).rows == 2


async def test_the_generated_id_where_the_driver_tells(team_database: Database) -> None:
    db = team_database
    outcome = await db.execute(sql(db, INSERT_PLAYER), ["a", 1])
    assert outcome.rows == 1
    assert outcome.last_id == (None if db.dialect is Dialect.POSTGRESQL else 1)


async def test_returning_commits(team_database: Database) -> None:
    db = team_database
    if not (await db.capabilities()).insert_returning:
        pytest.skip("no INSERT … RETURNING")
    statement = sql(db, "INSERT INTO players (name, score) VALUES (?, ?), (?, ?) RETURNING id")
    row = await db.fetch_one(statement, ["a", 1, "b", 2])
    assert row is not None
    assert row[0] == 1
    assert len(await db.fetch_all(statement, ["c", 3, "d", 4])) == 2
    assert await count(db) == 4


@pytest.mark.parametrize("way", ["execute", "execute_many", "copy_rows"])
async def test_values_survive_the_way_there_and_back(empty_database: Database, way: str) -> None:
    db = empty_database
    kinds = KINDS[db.dialect]
    names = [f"c{number}" for number in range(len(kinds))]
    columns = [sa.Column(name, kind) for name, (kind, _, _) in zip(names, kinds, strict=True)]
    await db.create_tables([sa.Table("kinds", sa.MetaData(), *columns)])
    values = [value for _, value, _ in kinds]
    expected = [value if back is ... else back for _, value, back in kinds]
    statement = sql(db, f"INSERT INTO kinds ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})")
    nothing = [None] * len(names)
    if way == "execute":
        await db.execute(statement, values)
        await db.execute(statement, nothing)
    elif way == "execute_many":
        assert await db.execute_many(statement, [values, nothing]) == 2
    else:
        assert await db.copy_rows("kinds", names, [values, nothing]) == 2
    rows = await db.fetch_all(f"SELECT {', '.join(names)} FROM kinds")
    assert [list(row) for row in rows] == [expected, nothing]


async def test_many_rows(team_database: Database) -> None:
    db = team_database
    rows = [(f"p{number} {'x' * 40}", number) for number in range(30_000)]
    assert await db.execute_many(sql(db, INSERT_PLAYER), rows[:20_000]) == 20_000
    assert await db.copy_rows("players", ["name", "score"], rows[20_000:]) == 10_000
    assert await count(db) == 30_000
    assert await db.execute_many(sql(db, INSERT_PLAYER), []) == 0
    assert await db.copy_rows("players", ["name", "score"], []) == 0


async def test_many_updates_count_matched_rows(team_database: Database) -> None:
    db = team_database
    await add_players(db, 3)
    update = sql(db, "UPDATE players SET name = ? WHERE score >= ?")
    assert await db.execute_many(update, [("a", 3), ("b", 2), ("c", 99)]) == 3


@pytest.mark.parametrize("way", ["execute_many", "copy_rows"])
@pytest.mark.parametrize("inside", [False, True])
async def test_many_rows_are_all_or_none(team_database: Database, way: str, inside: bool) -> None:
    db = team_database
    # Long names, so that MySQL needs several statements before it meets the bad row.
    rows = [(number, f"{number} {'x' * 40}") for number in range(20_000)] + [(0, "again")]

    async def write(executor: Any) -> None:
        if way == "copy_rows":
            await executor.copy_rows("teams", ["id", "name"], rows)
        else:
            await executor.execute_many(sql(db, INSERT_TEAM), rows)

    if not inside:
        with pytest.raises(UniqueViolationError):
            await write(db)
        assert await count(db, "teams") == 0
        return
    async with db.transaction() as transaction:
        await transaction.execute(sql(db, INSERT_TEAM), [-1, "before"])
        with pytest.raises(UniqueViolationError):
            async with transaction.savepoint():
                await write(transaction)
        await transaction.execute(sql(db, INSERT_TEAM), [-2, "after"])
    assert await count(db, "teams") == 2


# On PostgreSQL a failed statement ends the transaction.
@pytest.mark.parametrize("database_url", [*MYSQL_DRIVERS, "sqlite"], indirect=True)
async def test_a_failed_batch_leaves_the_rest_of_the_transaction(team_database: Database) -> None:
    db = team_database
    rows = [(number, f"{number} {'x' * 40}") for number in range(20_000)] + [(0, "again")]
    async with db.transaction() as transaction:
        await transaction.execute(sql(db, INSERT_TEAM), [-1, "before"])
        with pytest.raises(UniqueViolationError):
            await transaction.execute_many(sql(db, INSERT_TEAM), rows)
    assert await count(db, "teams") == 1


async def test_a_transaction_commits_at_its_end_and_shows_nothing_before(team_database: Database) -> None:
    db = team_database
    async with db.transaction() as transaction:
        await transaction.execute(sql(db, INSERT_TEAM), [1, "red"])
        assert await count(transaction, "teams") == 1
        assert await count(db, "teams") == 0
    assert await count(db, "teams") == 1


async def test_a_transaction_rolls_back_when_its_block_raises(team_database: Database) -> None:
    db = team_database

    async def fail() -> None:
        async with db.transaction() as transaction:
            await transaction.execute(sql(db, INSERT_TEAM), [1, "red"])
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await fail()
    assert await count(db, "teams") == 0
    assert db.pool_metrics()["checked_out"] == 0


async def test_a_savepoint_undoes_its_part_only(team_database: Database) -> None:
    db = team_database

    async def fail(transaction: Transaction) -> None:
        async with transaction.savepoint():
            await transaction.execute(sql(db, INSERT_TEAM), [2, "blue"])
            async with transaction.savepoint():
                await transaction.execute(sql(db, INSERT_TEAM), [3, "red"])

    async with db.transaction() as transaction:
        await transaction.execute(sql(db, INSERT_TEAM), [1, "red"])
        with pytest.raises(UniqueViolationError):
            await fail(transaction)
        async with transaction.savepoint():
            await transaction.execute(sql(db, INSERT_TEAM), [4, "green"])
    rows = await db.fetch_all("SELECT id FROM teams ORDER BY id")
    assert [row[0] for row in rows] == [1, 4]


async def test_a_deadlock_is_told_as_such_from_within_a_savepoint(team_database: Database) -> None:
    """MySQL undoes the whole transaction, savepoints included; that must not hide why."""
    if team_database.dialect is Dialect.SQLITE:
        pytest.skip("SQLite has one writer, so no deadlocks")
    await add_players(team_database, 2)
    update = sql(team_database, "UPDATE players SET score = score + 1 WHERE id = ?")
    both_hold_one = asyncio.Barrier(2)

    async def lock(first: int, second: int) -> None:
        async with team_database.transaction() as transaction, transaction.savepoint():
            await transaction.execute(update, [first])
            await both_hold_one.wait()
            await transaction.execute(update, [second])

    async with asyncio.timeout(30):
        outcomes = await asyncio.gather(lock(1, 2), lock(2, 1), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType", "TransientDatabaseError"]


async def test_an_error_that_is_swallowed_never_loses_writes_silently(team_database: Database) -> None:
    db = team_database

    async def swallow() -> None:
        async with db.transaction() as transaction:
            await transaction.execute(sql(db, INSERT_TEAM), [1, "red"])
            with pytest.raises(UniqueViolationError):
                await transaction.execute(sql(db, INSERT_TEAM), [1, "red"])

    if db.dialect is Dialect.POSTGRESQL:
        with pytest.raises(DatabaseError, match="rolled back by the database"):
            await swallow()
        assert await count(db, "teams") == 0
    else:
        await swallow()
        assert await count(db, "teams") == 1
    assert db.pool_metrics()["checked_out"] == 0


async def test_statements_of_a_transaction_run_one_at_a_time(team_database: Database) -> None:
    db = team_database
    async with db.transaction() as transaction:
        await asyncio.gather(*(transaction.execute(sql(db, INSERT_TEAM), [n, str(n)]) for n in range(20)))
    assert await count(db, "teams") == 20


async def test_a_transaction_that_is_over_takes_no_statements(team_database: Database) -> None:
    async with team_database.transaction() as transaction:
        pass
    with pytest.raises(DatabaseError, match="The transaction is over"):
        await transaction.fetch_one("SELECT 1")


@pytest.mark.parametrize("inside", [False, True])
async def test_violations(team_database: Database, inside: bool) -> None:
    db = team_database
    await db.execute(sql(db, INSERT_TEAM), [1, "red"])
    await db.execute(sql(db, "INSERT INTO players (id, name, team_id) VALUES (?, ?, ?)"), [100, "a", 1])

    async def violate(statement: str, args: list[Any]) -> ConstraintError:
        async def run() -> None:
            if inside:
                async with db.transaction() as transaction:
                    await transaction.execute(sql(db, statement), args)
            else:
                await db.execute(sql(db, statement), args)

        with pytest.raises(ConstraintError) as caught:
            await run()
        assert caught.value.__cause__ is not None
        return caught.value

    unique = await violate(INSERT_TEAM, [2, "red"])
    assert type(unique) is UniqueViolationError
    assert unique.context["fields"] == ["name"] or unique.context["constraint"] == "uq_teams_name"
    orphan = await violate("INSERT INTO players (name, team_id) VALUES (?, ?)", ["b", 99])
    assert type(orphan) is ForeignKeyViolationError
    parent = await violate("DELETE FROM teams WHERE id = ?", [1])
    assert type(parent) is ForeignKeyViolationError
    if db.dialect is not Dialect.SQLITE:
        assert orphan.context["constraint"] == parent.context["constraint"] == "fk_players_team_id"
    null = await violate("UPDATE teams SET name = ? WHERE id = 1", [None])
    assert type(null) is NotNullViolationError
    assert null.context["fields"] == ["name"]
    absent = await violate("INSERT INTO teams (id) VALUES (?)", [5])
    assert type(absent) is NotNullViolationError
    check = await violate(INSERT_PLAYER, ["c", -1])
    assert type(check) is CheckViolationError
    assert db.pool_metrics()["checked_out"] == 0


async def test_missing_tables_and_columns(team_database: Database) -> None:
    db = team_database
    with pytest.raises(MissingTableError, match="'nowhere' does not exist") as caught:
        await db.fetch_all("SELECT * FROM nowhere")
    assert caught.value.context["table"] == "nowhere"
    with pytest.raises(MissingTableError):
        await db.execute(sql(db, "UPDATE nowhere SET a = ?"), [1])
    with pytest.raises(SchemaMismatchError, match="nonsense"):
        await db.fetch_all("SELECT nonsense FROM teams")
    with pytest.raises(SchemaMismatchError, match="nonsense"):
        await db.execute(sql(db, "INSERT INTO teams (id, name, nonsense) VALUES (?, ?, ?)"), [1, "a", 1])


async def test_values_that_do_not_fit(team_database: Database) -> None:
    db = team_database
    with pytest.raises(TypeMismatchError):
        await db.execute(sql(db, INSERT_TEAM), [2**80, "a"])
    with pytest.raises(TypeMismatchError):
        await db.execute(sql(db, INSERT_TEAM), [1, object()])
    assert db.pool_metrics()["checked_out"] == 0
    assert await count(db, "teams") == 0


async def test_other_mistakes_carry_the_databases_words(team_database: Database) -> None:
    with pytest.raises(DatabaseError, match=r"(?i)syntax") as caught:
        await team_database.fetch_all("SELEC 1")
    assert type(caught.value) is DatabaseError


async def test_echo_logs_statements_without_their_values(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    db = open_database(database_url, DatabaseOptions(echo=True))
    with caplog.at_level(logging.INFO, "dataflow.sql"):
        await db.execute("CREATE TABLE notes (body VARCHAR(50))")
        await db.execute(sql(db, "INSERT INTO notes (body) VALUES (?)"), ["private"])
        async with db.transaction() as transaction:
            await transaction.execute_many(sql(db, "INSERT INTO notes (body) VALUES (?)"), [["private"]])
    await db.close()
    said = [record.getMessage() for record in caplog.records if record.name == "dataflow.sql"]
    assert len(said) == 3
    assert "INSERT INTO notes" in said[2]
    assert "private" not in caplog.text


async def test_capabilities_name_the_server(empty_database: Database) -> None:
    capabilities = await empty_database.capabilities()
    words = {Dialect.POSTGRESQL: ("PostgreSQL",), Dialect.MYSQL: ("MariaDB", "MySQL"), Dialect.SQLITE: ("SQLite",)}
    assert capabilities.server.split()[0] in words[empty_database.dialect]
    assert capabilities is await empty_database.capabilities()


async def test_the_text_collation_compares_by_code_point(empty_database: Database) -> None:
    db = empty_database
    collation = (await db.capabilities()).text_collation
    kind = "VARCHAR(20) CHARACTER SET utf8mb4" if db.dialect is Dialect.MYSQL else "TEXT"
    await db.execute(
        f'CREATE TABLE words (word {kind} COLLATE "{collation}")'.replace(
            '"', "" if db.dialect is Dialect.MYSQL else '"'
        )
    )
    words = ["a", "a ", "B", "é", "z", "ａ", "😀"]
    await db.copy_rows("words", ["word"], [[word] for word in words])
    rows = await db.fetch_all("SELECT word FROM words ORDER BY word")
    assert [row[0] for row in rows] == sorted(words)
    found = await db.fetch_all(sql(db, "SELECT word FROM words WHERE word = ?"), ["a"])
    assert [row[0] for row in found] == ["a"]


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
async def test_an_unreachable_server_is_named_without_its_password(scheme: str) -> None:
    db = open_database(f"{scheme}://app:s3cret@127.0.0.1:1/shop")
    with pytest.raises(DatabaseUnavailableError) as caught:
        await db.fetch_one("SELECT 1")
    assert f"Cannot reach {scheme}://app:***@127.0.0.1:1/shop: connection refused." in str(caught.value)
    assert "database 'shop' exists" in str(caught.value)
    assert "s3cret" not in repr(caught.value) + str(caught.value.context)
    assert db.pool_metrics()["total"] == 0
    await db.close()


async def test_a_database_that_does_not_exist_cannot_be_reached(database_url: str) -> None:
    db = open_database(f"{database_url}/nowhere" if database_url.startswith("sqlite") else f"{database_url}_nowhere")
    with pytest.raises(DatabaseUnavailableError, match="Check that"):
        await db.capabilities()
    await db.close()
