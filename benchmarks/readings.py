"""The table whose changes are captured, on each database, and who writes to it: its plain driver, one connection."""

from __future__ import annotations

import sqlite3
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pymysql

from tests.servers import MariaDBServer, PostgreSQLServer

TABLE = "readings"
#: The model of the table, and what a new row starts: it writes the row's number, and when it began. A line of a file is
#: written as a whole.
APP = """
import os, time
from decimal import Decimal
from dataflow import DataFlow

db = DataFlow(name="bench")

@db.model
class Reading:
    __dataflow__ = {"timestamps": False}

    sensor: str
    status: str
    value: float
    amount: Decimal
    note: str

@db.on(Reading, "create", inputs={"number": "after.id"})
@db.actor
async def began(number: int) -> None:
    now = time.time()
    with open(os.environ["BENCH_FILE"], "a") as out:
        out.write(f"{number} {now}\\n")
"""
#: Where capture publishes the table's changes.
STREAM = f"rq:dataflow:events:bench:{TABLE}"
#: What the server must be told so that its log can be captured. Without durability, as PostgreSQL's fsync is off.
_LOGGED = {"log-bin": "binlog", "server-id": "7", "binlog-format": "ROW", "binlog-row-metadata": "FULL"}


def new_database(kind: str, folder: Path, stack: ExitStack) -> str:
    """URL of a database on a private server, which ends with the stack.

    Args:
        kind: ``postgresql``, ``mysql`` or ``sqlite``.
        folder: For a database that is a file.
    """
    if kind == "sqlite":
        return f"sqlite:///{folder / 'bench.db'}"
    server = PostgreSQLServer() if kind == "postgresql" else MariaDBServer(_LOGGED)
    stack.callback(server.remove)
    server.start()
    if kind == "postgresql":
        return server.url
    with pymysql.connect(host="127.0.0.1", port=server.port, user="root") as connection:
        connection.cursor().execute("CREATE DATABASE bench")
    return server.url.replace("/mysql", "/bench")


class Writer:
    """Writes rows, as some program does that knows nothing of DataFlow.

    Args:
        url: The database; the table must be there.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        host, port, user, name = parts.hostname, parts.port, parts.username, parts.path.removeprefix("/")
        self._mark = "%s"
        self._connection: Any
        match parts.scheme:
            case "postgresql":
                self._connection = psycopg.connect(url)
                # The server's own default is off, and then a commit is told only when the log is written next.
                self._execute("SET synchronous_commit = on")
            case "mysql":
                self._connection = pymysql.connect(host=host, port=port or 3306, user=user, database=name)
            case _:
                self._connection = sqlite3.connect(
                    f"/{name}".replace("//", "/"), timeout=30, isolation_level="DEFERRED"
                )
                self._mark = "?"
        self._connection.commit()
        self._written = 0

    def row(self) -> tuple[int, float]:
        """Insert a row in a transaction of its own; its id, and the moment before it was committed (Unix time, s)."""
        number = self._insert(1)
        before = time.time()
        self._connection.commit()
        return number, before

    def rows(self, count: int, *, each: int) -> None:
        """Insert rows in transactions of so many."""
        for _ in range(0, count, each):
            self._insert(each)
            self._connection.commit()

    def _insert(self, count: int) -> int:
        first, self._written = self._written + 1, self._written + count
        values = [
            (number, f"sensor {number % 50}", "open", number / 7, f"{number}.50", f"reading {number} of the morning")
            for number in range(first, first + count)
        ]
        row = f"({', '.join([self._mark] * 6)})"
        for start in range(0, count, 100):  # a statement of a hundred rows: SQLite has a limit of values
            some = values[start : start + 100]
            sql = f"INSERT INTO {TABLE} (id, sensor, status, value, amount, note) VALUES {', '.join([row] * len(some))}"
            self._execute(sql, [value for one in some for value in one])
        return self._written

    def _execute(self, sql: str, values: Any = ()) -> None:
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(sql, values)

    def close(self) -> None:
        self._connection.close()
