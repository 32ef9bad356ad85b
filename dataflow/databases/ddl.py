"""Which tables exist, and creating those that do not.

A table and all that belongs to it appear together or not at all: PostgreSQL and SQLite create everything in one
transaction; MySQL commits every DDL statement, so there the indexes are part of the one ``CREATE TABLE``.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.mysql.base import MySQLDDLCompiler
from sqlalchemy.schema import AddConstraint, CreateIndex, CreateTable
from sqlalchemy.sql.ddl import sort_tables_and_constraints

from dataflow.databases.dialects import new_dialect
from dataflow.databases.interface import Database, Dialect, Executor
from dataflow.errors import TransientDatabaseError

#: Key of PostgreSQL's advisory lock under which tables are created.
_LOCK_KEY = 0x64617461666C6F77  # "dataflow"
#: Seconds to wait for another process that creates tables (MySQL; PostgreSQL and SQLite have their own limits).
_LOCK_SECONDS = 60

_COLUMNS_OF = {
    # Visible: the table that a statement without a schema name would use.
    Dialect.POSTGRESQL: """
        SELECT c.relname::text, a.attname::text
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relname = ANY ($1::text[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
          AND pg_catalog.pg_table_is_visible(c.oid)""",
    Dialect.MYSQL: """
        SELECT table_name, column_name FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name IN ({})""",
    Dialect.SQLITE: """
        SELECT wanted.value, found.name
        FROM json_each(?) wanted, sqlite_master item, pragma_table_xinfo(item.name) found
        WHERE item.type IN ('table', 'view') AND lower(item.name) = lower(wanted.value)""",
}


class _MySQLTables(MySQLDDLCompiler):
    """Writes a table's indexes into its CREATE TABLE."""

    def create_table_constraints(self, table: sa.Table, *args: Any, **kwargs: Any) -> str:
        constraints: str = super().create_table_constraints(table, *args, **kwargs)  # type: ignore[no-untyped-call]
        return ", \n\t".join(filter(None, [constraints, *map(self._inline, _indexes(table))]))

    def _inline(self, index: sa.Index) -> str:
        # CREATE UNIQUE INDEX name ON table (columns)  →  UNIQUE INDEX name (columns)
        statement = self.process(CreateIndex(index))
        assert index.table is not None
        on_table = f" ON {self.preparer.format_table(index.table)} "
        return statement.removeprefix("CREATE ").replace(on_table, " ", 1)


_DIALECTS = {dialect: new_dialect(dialect) for dialect in Dialect}
_DIALECTS[Dialect.MYSQL].ddl_compiler = _MySQLTables


async def existing_columns(executor: Executor, dialect: Dialect, tables: Sequence[str]) -> dict[str, set[str]]:
    """Names of the columns of those of ``tables`` that exist."""
    if not tables:
        return {}
    sql, args = _COLUMNS_OF[dialect], [json.dumps(list(tables))]
    if dialect is Dialect.POSTGRESQL:
        args = [list(tables)]  # type: ignore[list-item]
    elif dialect is Dialect.MYSQL:
        sql, args = sql.format(", ".join(["%s"] * len(tables))), list(tables)
    found: dict[str, set[str]] = {}
    for table, column in await executor.fetch_all(sql, args):
        found.setdefault(table, set()).add(column)
    return found


async def create_tables(database: Database, tables: Sequence[sa.Table]) -> list[str]:
    """Create those tables that do not exist; see Database.create_tables."""
    names = [table.name for table in tables]
    if len(await existing_columns(database, database.dialect, names)) == len(set(names)):
        return []
    async with database.transaction() as transaction, _lock(transaction, database.dialect):
        existing = await existing_columns(transaction, database.dialect, names)
        missing = [table for table in tables if table.name not in existing]
        ordered, statements = create_statements(database.dialect, missing)
        for statement in statements:
            await transaction.execute(statement)
    return ordered


def create_statements(dialect: Dialect, tables: Sequence[sa.Table]) -> tuple[list[str], list[str]]:
    """Names of ``tables`` in order of their foreign keys, and the statements that create them.

    ``table.info["postgresql_policy"]`` may hold further statements for PostgreSQL.
    """
    groups = sort_tables_and_constraints(tables)  # type: ignore[no-untyped-call]
    ordered = [table for table, _ in groups if table is not None]
    # Foreign keys of tables that point at each other: such tables have no order.
    cyclic = [key for table, keys in groups if table is None for key in keys]
    names = [table.name for table in ordered]
    statements = [_text(dialect, item) for item in _elements(dialect, ordered, cyclic)]
    if dialect is Dialect.POSTGRESQL:
        statements += [text for table in ordered for text in table.info.get("postgresql_policy", ())]
    return names, statements


def _elements(
    dialect: Dialect, tables: Sequence[sa.Table], cyclic: Sequence[sa.ForeignKeyConstraint]
) -> Iterator[sa.schema.ExecutableDDLElement]:
    if dialect is Dialect.MYSQL and cyclic:
        # With checks off a key may point to a table that comes later, so each table stays one statement.
        yield sa.DDL("SET foreign_key_checks = 0")  # type: ignore[no-untyped-call]
    for table in tables:
        inline = None
        if dialect is Dialect.POSTGRESQL:
            inline = [key for key in table.foreign_key_constraints if key not in cyclic]
        yield CreateTable(table, include_foreign_key_constraints=inline)
        if dialect is not Dialect.MYSQL:
            yield from map(CreateIndex, _indexes(table))
    if dialect is Dialect.POSTGRESQL:
        yield from map(AddConstraint, cyclic)


def _indexes(table: sa.Table) -> list[sa.Index]:
    return sorted(table.indexes, key=lambda index: str(index.name))


def _text(dialect: Dialect, element: sa.schema.ExecutableDDLElement) -> str:
    return str(element.compile(dialect=_DIALECTS[dialect])).strip()


@asynccontextmanager
async def _lock(transaction: Executor, dialect: Dialect) -> AsyncIterator[None]:
    """Only one process at a time creates tables. SQLite's transaction is such a lock by itself."""
    if dialect is Dialect.POSTGRESQL:
        await transaction.fetch_one("SELECT pg_advisory_xact_lock($1)", (_LOCK_KEY,))
    if dialect is not Dialect.MYSQL:
        yield
        return
    name = "CONCAT('dataflow.', MD5(DATABASE()))"
    row = await transaction.fetch_one(f"SELECT GET_LOCK({name}, {_LOCK_SECONDS})")
    if row is None or row[0] != 1:
        raise TransientDatabaseError(f"Another process has been creating tables for {_LOCK_SECONDS} s.")
    try:
        yield
    finally:
        await transaction.execute("SET foreign_key_checks = 1")
        await transaction.fetch_one(f"SELECT RELEASE_LOCK({name})")
