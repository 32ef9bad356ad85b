"""Questions to SQLite about values that are in no table: it holds no data, and never waits for anybody."""

from __future__ import annotations

import sqlite3
import threading
from typing import Any

from dataflow.databases.interface import Arguments
from dataflow.databases.sqlite_functions import register

_connections = threading.local()


def fetch_value(sql: str, args: Arguments) -> Any:
    """The first value of the first row of a SELECT that names no table; None where it has no rows.

    Runs in the calling thread, in microseconds. It knows the functions of ``sqlite_functions``.

    Raises:
        sqlite3.Error: The SQL is wrong.

    Example:
        >>> fetch_value("SELECT dataflow_lower(?)", ["ÄÖ"])
        'äö'
    """
    connection = getattr(_connections, "connection", None)
    if connection is None:
        connection = _connections.connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=512)
        register(connection)
    row = connection.execute(sql, args).fetchone()
    return None if row is None else row[0]
