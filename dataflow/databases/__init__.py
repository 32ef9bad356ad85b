"""Databases: driver connections, their pools, transactions, DDL. This room knows no model and writes no queries.

``open_database`` gives what ``interface.Database`` promises, on asyncpg (PostgreSQL), asyncmy or aiomysql (MySQL,
MariaDB), or sqlite3. A driver is imported when the first database of its kind is opened.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dataflow.databases.interface import Database, Dialect, Guard
from dataflow.databases.options import DatabaseOptions
from dataflow.databases.url import DatabaseURL, parse_url

if TYPE_CHECKING:
    from dataflow.databases.pooled import PooledDatabase
    from dataflow.databases.sqlite import SQLiteDatabase

__all__ = ["Database", "DatabaseOptions", "Dialect", "open_database"]


def open_database(url: str, options: DatabaseOptions | None = None, guard: Guard | None = None) -> Database:
    """The database at a URL. Connects when it is first used.

    Args:
        url: ``postgresql://…``, ``mysql://…``, ``sqlite:///path`` or ``":memory:"``; see ``url.parse_url``.
        options: Pool sizes, times and the like; what the URL says of them wins.
        guard: Decides whether it is called, and learns how calls ended; None lets everything through.

    Raises:
        ConfigurationError: The URL cannot be read.
    """
    parsed = parse_url(url)
    overrides: dict[str, Any] = parsed.overrides
    database = _database(parsed, replace(options or DatabaseOptions(), **overrides))
    if guard is not None:
        database.guard = guard
    return database


def _database(parsed: DatabaseURL, options: DatabaseOptions) -> SQLiteDatabase | PooledDatabase[Any]:
    if parsed.dialect is Dialect.SQLITE:
        from dataflow.databases.sqlite import SQLiteDatabase

        return SQLiteDatabase(parsed, options)
    from dataflow.databases.pooled import PooledDatabase

    if parsed.dialect is Dialect.POSTGRESQL:
        from dataflow.databases.postgresql import PostgreSQLConnector

        return PooledDatabase(Dialect.POSTGRESQL, PostgreSQLConnector(parsed, options))
    from dataflow.databases.mysql import MySQLConnector

    return PooledDatabase(Dialect.MYSQL, MySQLConnector(parsed, options))
