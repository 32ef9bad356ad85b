"""Creating tables, on each of the three databases."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from dataflow.databases import open_database
from dataflow.databases.ddl import create_statements
from dataflow.databases.interface import Database, Dialect
from dataflow.errors import DatabaseError, UniqueViolationError
from tests.integration.databases import PLAYERS, TEAMS, sql


def chain_of_tables(length: int) -> list[sa.Table]:
    """Tables that each point to the one before, given in an order that cannot work."""
    metadata = sa.MetaData()
    tables = []
    for number in range(length):
        columns: list[sa.Column[Any]] = [
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("note", sa.String(20), index=True),
        ]
        if number:
            columns.append(sa.Column("before_id", sa.ForeignKey(f"chain_{number - 1}.id")))
        tables.append(sa.Table(f"chain_{number}", metadata, *columns))
    return tables[::-1]


def cycle_of_tables() -> list[sa.Table]:
    metadata = sa.MetaData()
    return [
        sa.Table(
            name,
            metadata,
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("other_id", sa.ForeignKey(f"{other}.id", name=f"fk_{name}_other")),
            sa.Column("self_id", sa.ForeignKey(f"{name}.id", name=f"fk_{name}_self")),
        )
        for name, other in [("hens", "eggs"), ("eggs", "hens")]
    ]


async def index_names(database: Database, table: str) -> set[str]:
    query = {
        Dialect.POSTGRESQL: "SELECT indexname FROM pg_indexes WHERE tablename = ?",
        Dialect.MYSQL: "SELECT DISTINCT index_name FROM information_schema.statistics "
        "WHERE table_schema = DATABASE() AND table_name = ?",
        Dialect.SQLITE: "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = ?",
    }[database.dialect]
    return {row[0] for row in await database.fetch_all(sql(database, query), [table])}


async def test_tables_come_with_their_indexes_in_order_of_their_keys(empty_database: Database) -> None:
    db = empty_database
    assert await db.create_tables([PLAYERS, TEAMS]) == ["teams", "players"]
    assert {"ix_players_name", "ix_players_score_name"} <= await index_names(db, "players")
    assert await db.existing_columns(["players", "teams", "nowhere"]) == {
        "players": {"id", "name", "score", "team_id"},
        "teams": {"id", "name"},
    }


async def test_what_exists_is_not_touched(empty_database: Database) -> None:
    db = empty_database
    await db.execute("CREATE TABLE teams (id INTEGER PRIMARY KEY, colour VARCHAR(20))")
    await db.execute("INSERT INTO teams (id, colour) VALUES (1, 'red')")
    assert await db.create_tables([TEAMS, PLAYERS]) == ["players"]
    assert await db.create_tables([TEAMS, PLAYERS]) == []
    assert await db.existing_columns(["teams"]) == {"teams": {"id", "colour"}}
    assert await db.create_tables([]) == []
    assert await db.existing_columns([]) == {}


async def test_tables_that_point_at_each_other(empty_database: Database) -> None:
    db = empty_database
    tables = cycle_of_tables()
    assert sorted(await db.create_tables(tables)) == ["eggs", "hens"]
    await db.execute(sql(db, "INSERT INTO hens (id) VALUES (?)"), [1])
    await db.execute(sql(db, "INSERT INTO eggs (id, other_id, self_id) VALUES (?, ?, ?)"), [1, 1, 1])
    await db.execute(sql(db, "UPDATE hens SET other_id = ?"), [1])
    for table in ("hens", "eggs"):
        with pytest.raises(DatabaseError, match="foreign key"):
            await db.execute(sql(db, f"UPDATE {table} SET other_id = ?"), [99])
        with pytest.raises(DatabaseError, match="foreign key"):
            await db.execute(sql(db, f"UPDATE {table} SET self_id = ?"), [99])


async def test_many_callers_at_once_create_every_table_once(database_url: str) -> None:
    """Several databases (as several processes have), each used from two event loops."""
    created: list[str] = []
    databases = [open_database(database_url) for _ in range(3)]

    async def create(db: Database) -> None:
        created.extend(await db.create_tables(chain_of_tables(4)))

    def in_thread() -> None:
        async def main() -> None:
            await asyncio.gather(*(create(db) for db in databases))

        asyncio.run(main())

    thread = threading.Thread(target=in_thread)
    thread.start()
    await asyncio.gather(*(create(db) for db in databases), asyncio.to_thread(thread.join))
    assert created == ["chain_0", "chain_1", "chain_2", "chain_3"]
    assert "ix_chain_3_note" in await index_names(databases[0], "chain_3")
    for db in databases:
        await db.close()


async def test_a_failure_leaves_nothing_half_made(empty_database: Database) -> None:
    db = empty_database
    metadata = sa.MetaData()
    good = sa.Table("good", metadata, sa.Column("id", sa.Integer, primary_key=True))
    bad = sa.Table(
        "bad",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("good_id", sa.ForeignKey("good.id")),
        sa.Index("ix_bad", sa.text("nonsense(id")),
    )
    with pytest.raises(DatabaseError):
        await db.create_tables([good, bad])
    assert "bad" not in await db.existing_columns(["bad"])
    # The lock is free again, and connections are as before.
    assert await db.create_tables([TEAMS]) == ["teams"]
    assert db.pool_metrics()["checked_out"] == 0


async def test_names_that_need_quotes(empty_database: Database) -> None:
    db = empty_database
    table = sa.Table(
        'odd "name`%s',
        sa.MetaData(),
        sa.Column("order", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column('a"b`c %', sa.String(20), unique=True, index=True),
    )
    assert await db.create_tables([table]) == [table.name]
    assert await db.existing_columns([table.name]) == {table.name: {"order", 'a"b`c %'}}
    assert await db.copy_rows(table.name, ["order", 'a"b`c %'], [[1, "x"], [2, "y"]]) == 2
    with pytest.raises(UniqueViolationError):
        await db.copy_rows(table.name, ["order", 'a"b`c %'], [[3, "x"]])


def test_on_mysql_a_table_and_its_indexes_are_one_statement() -> None:
    _, statements = create_statements(Dialect.MYSQL, [PLAYERS])
    assert len(statements) == 1
    table = sa.Table(
        "t",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("body", mysql.LONGTEXT),
        sa.Index("ix_t_body", "body", mysql_length={"body": 255}),
        sa.Index("uq_t", "id", "body", unique=True, mysql_length={"body": 10}),
    )
    [statement] = create_statements(Dialect.MYSQL, [table])[1]
    assert "INDEX `ix_t_body` (`body`(255))" in statement
    assert "UNIQUE INDEX `uq_t` (`id`, `body`(10))" in statement


async def test_a_sqlite_file_is_the_one_of_the_folder_it_was_opened_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    db = open_database("sqlite:///here.db")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    await db.create_tables([TEAMS])
    await db.close()
    assert (tmp_path / "here.db").exists()
    assert list(elsewhere.iterdir()) == []
