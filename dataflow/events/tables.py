"""The tables that events need in the database: ``dataflow_outbox`` and ``dataflow_capture``.

``dataflow_outbox`` holds messages of the application and, where triggers capture, every change; each is written by the
transaction that caused it.

===========  =========================================================================================
column       value
===========  =========================================================================================
seq          the order of writing, which is not that of commits
place        the position that capture gave it; where one writer at a time makes both orders one, ``seq``
op           ``c`` ``u`` ``d`` ``t`` as in the envelope; ``m`` a message, ``k`` a watermark of capture
name         the table; the type of a message; the token of a watermark
row_before   JSON, see ``sources/triggers.py``; of a message, the tenant it is about, as plain text
row_after    the same; of a message, its payload
tx           the database's id of the transaction, where it has one
created_ms   Unix time, ms
===========  =========================================================================================

``dataflow_capture`` holds what capture must find with the data, whatever became of Redis (name → value).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateTable

from dataflow.databases.ddl import create_statements, existing_columns
from dataflow.databases.dialects import new_dialect
from dataflow.databases.interface import Database, Dialect, Executor
from dataflow.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    MissingTableError,
    PoolTimeoutError,
    TransientDatabaseError,
)

OUTBOX = "dataflow_outbox"
CAPTURE = "dataflow_capture"
#: Rows of the outbox that are read or deleted at a time.
ROWS_AT_ONCE = 1_000
#: Errors of a database that say nothing about what it allows.
PASSING = (DatabaseUnavailableError, TransientDatabaseError, PoolTimeoutError)

_METADATA = sa.MetaData()
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_LONG = sa.Text().with_variant(mysql.LONGTEXT(charset="utf8mb4"), "mysql", "mariadb")
_OPTIONS: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4"}

OUTBOX_TABLE = sa.Table(
    OUTBOX,
    _METADATA,
    sa.Column("seq", _NUMBER, sa.Identity(), primary_key=True),
    sa.Column("place", _NUMBER),
    sa.Column("op", sa.String(1), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("row_before", _LONG),
    sa.Column("row_after", _LONG),
    sa.Column("tx", sa.String(40)),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Index("ix_dataflow_outbox_place", "place"),
    sqlite_autoincrement=True,  # a number is never used twice
    **_OPTIONS,
)
_CAPTURE = sa.Table(
    CAPTURE,
    _METADATA,
    sa.Column("name", sa.String(150), primary_key=True),
    sa.Column("value", sa.String(255), nullable=False),
    **_OPTIONS,
)


async def ensure_tables(
    database: Database,
    *,
    may_create: bool,
    tables: Sequence[sa.Table] = (OUTBOX_TABLE, _CAPTURE),
    within: Executor | None = None,
) -> None:
    """Make sure that tables are there.

    Args:
        database: Where.
        may_create: Create them.
        tables: Which.
        within: A transaction that holds the one writer of SQLite: they are created in it, and undone with it.

    Raises:
        MissingTableError: One is missing and may not be created; the hint has the DDL.
    """
    names = [table.name for table in tables]
    if within is None:
        existing = await database.existing_columns(names)
    else:
        existing = await existing_columns(within, database.dialect, names)
    missing = [table for table in tables if table.name not in existing]
    if missing and not may_create:
        raise _not_there(database, missing, "none is created for this")
    if missing:
        try:
            if within is None:
                await database.create_tables(missing)
            else:
                for statement in create_statements(database.dialect, missing)[1]:
                    await within.execute(statement)
        except PASSING:
            raise
        except DatabaseError as error:
            raise _not_there(database, missing, error.message) from error


def _not_there(database: Database, missing: Sequence[sa.Table], reason: str) -> MissingTableError:
    ddl = ";\n".join(str(CreateTable(table).compile(dialect=new_dialect(database.dialect))) for table in missing)
    return MissingTableError(
        f"There is no table {', '.join(table.name for table in missing)} in {database.masked_url}, which change "
        f"events need: {reason.rstrip('.')}.",
        hint=f"Create it:\n{ddl.strip()}",
        tables=[table.name for table in missing],
    )


def marked(dialect: Dialect, sql: str) -> str:
    """A statement with ``?`` for its values, in the driver's style."""
    if dialect is Dialect.MYSQL:
        return sql.replace("?", "%s")
    if dialect is Dialect.POSTGRESQL:
        parts = sql.split("?")
        return parts[0] + "".join(f"${number}{part}" for number, part in enumerate(parts[1:], 1))
    return sql


async def read_note(executor: Executor, dialect: Dialect, name: str, *, lock: bool = False) -> str | None:
    """A value of ``dataflow_capture``; with ``lock``, no other transaction changes it until this one ends."""
    wait = " FOR UPDATE" if lock and dialect is not Dialect.SQLITE else ""
    row = await executor.fetch_one(marked(dialect, f"SELECT value FROM {CAPTURE} WHERE name = ?{wait}"), (name,))
    return None if row is None else str(row[0])


async def write_note(executor: Executor, dialect: Dialect, name: str, value: str) -> None:
    """Set a value of ``dataflow_capture``."""
    update = "ON DUPLICATE KEY UPDATE value = VALUES(value)"
    if dialect is not Dialect.MYSQL:
        update = "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    await executor.execute(
        marked(dialect, f"INSERT INTO {CAPTURE} (name, value) VALUES (?, ?) {update}"), (name, value)
    )


async def first_note(database: Database, name: str, value: str) -> str:
    """The value of ``dataflow_capture`` that was set first: ours, or that of another process."""
    insert = marked(
        database.dialect,
        {
            Dialect.MYSQL: f"INSERT IGNORE INTO {CAPTURE} (name, value) VALUES (?, ?)",
        }.get(database.dialect, f"INSERT INTO {CAPTURE} (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING"),
    )
    await database.execute(insert, (name, value))
    return await read_note(database, database.dialect, name) or value


async def remove_messages(database: Database, before_ms: int) -> None:
    """Delete messages from the outbox that were written before a moment: a log has them, and has no use for the rows.

    By their keys: a condition would wait for rows of transactions that are open, and make their writers wait.
    """
    sql = f"SELECT seq FROM {OUTBOX} WHERE op = 'm' AND created_ms < ? ORDER BY seq LIMIT {ROWS_AT_ONCE}"
    find = marked(database.dialect, sql)
    while numbers := [row[0] for row in await database.fetch_all(find, (before_ms,))]:
        await database.execute(*by_key(database.dialect, f"DELETE FROM {OUTBOX} WHERE", numbers))
        if len(numbers) < ROWS_AT_ONCE:
            return


def by_key(dialect: Dialect, statement: str, numbers: Sequence[int]) -> tuple[str, Sequence[Any]]:
    """A statement on rows of the outbox, which ends in ``WHERE``, and its arguments."""
    if dialect is Dialect.POSTGRESQL:
        return f"{statement} seq = ANY ($1::bigint[])", [list(numbers)]
    return f"{statement} seq IN ({', '.join(map(str, numbers))})", ()


async def remove_tables(database: Database, names: Sequence[str] = (OUTBOX, CAPTURE)) -> None:
    """Drop them."""
    for name in names:
        await database.execute(f"DROP TABLE IF EXISTS {name}")
