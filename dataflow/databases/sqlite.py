"""SQLite, in threads of its own: several connections that read, one that writes.

A file is shared by all event loops and threads of the process. A ``:memory:`` database is its one connection, and gone
when that is closed.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import lru_cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import quote

import sqlalchemy as sa

from dataflow.databases import ddl, failures
from dataflow.databases.guarded import GuardedDatabase
from dataflow.databases.interface import Arguments, Capabilities, Dialect, Outcome, PoolMetrics, Row, Transaction
from dataflow.databases.options import DatabaseOptions
from dataflow.databases.sessions import SQL_LOG, Session, SessionTransaction, raise_translated
from dataflow.databases.sqlite_errors import translate
from dataflow.databases.sqlite_functions import register
from dataflow.databases.sqlite_jobs import LOCK_SLICE, Work
from dataflow.databases.sqlite_threads import Threads
from dataflow.databases.url import MEMORY, DatabaseURL

_MMAP_BYTES = 256 * 1024 * 1024
_SAVEPOINT = "dataflow_many"

#: Statements that only read. One that may be something else goes to the writer, which can do everything.
_READ = re.compile(r"(?is)\s*(?:SELECT\b|VALUES\b|WITH\b(?!.*\b(?:INSERT|UPDATE|DELETE|REPLACE)\b))")


class SQLiteSession(Session):
    """Statements on a group of threads; with an owner, statements of that owner's transaction."""

    def __init__(self, threads: Threads, owner: object | None = None) -> None:
        self._threads = threads
        self._owner = owner

    async def fetch_all(self, sql: str, args: Arguments) -> list[Row]:
        rows: list[Row] = await self._do(partial(_fetch_all, sql, args))
        return rows

    async def fetch_one(self, sql: str, args: Arguments) -> Row | None:
        row: Row | None = await self._do(partial(_fetch_one, sql, args))
        return row

    async def fetch_one_then(
        self, sql: str, args: Arguments, then: str, make: Callable[[Row | None], Arguments]
    ) -> Row | None:
        """See PairExecutor."""
        row: Row | None = await self._do(partial(_fetch_one_then, sql, args, then, make))
        return row

    async def execute(self, sql: str, args: Arguments) -> Outcome:
        outcome: Outcome = await self._do(partial(_execute, sql, args))
        return outcome

    async def execute_many(self, sql: str, rows: Sequence[Arguments]) -> int:
        matched: int = await self._do(partial(_execute_many, sql, rows))
        return matched

    async def copy_rows(self, table: str, columns: Sequence[str], rows: Sequence[Arguments]) -> int:
        names = ", ".join(map(_quote, columns))
        marks = ", ".join("?" * len(columns))
        return await self.execute_many(f"INSERT INTO {_quote(table)} ({names}) VALUES ({marks})", rows)

    async def command(self, sql: str) -> None:
        await self._do(partial(_execute, sql, ()))

    def is_closed(self) -> bool:
        return False

    def _do(self, work: Work) -> Any:
        if self._owner is None:
            return self._threads.run(partial(_by_itself, work))
        return self._threads.run(partial(_inside, work), self._owner)


class _Open(NamedTuple):
    """What an open database consists of; a ``:memory:`` database reads where it writes."""

    writer: Threads
    readers: Threads


class SQLiteDatabase(GuardedDatabase):
    """A SQLite file, or a database in memory."""

    dialect = Dialect.SQLITE

    def __init__(self, url: DatabaseURL, options: DatabaseOptions) -> None:
        self.masked_url = url.masked
        self.options = options
        self._in_memory = url.database == MEMORY
        # Resolved now: the working directory may change before the file is opened.
        self._path = MEMORY if self._in_memory else str(Path(url.database).absolute())
        self._mode = url.options.get("mode")
        self._changing = threading.Lock()
        self._open: _Open | None = None
        self._capabilities: Capabilities | None = None

    async def _call(self, name: str, *args: Any) -> Any:
        if self.options.echo:
            SQL_LOG.info("%s", args[0])
        threads = self._open or self._start()
        reads = name.startswith("fetch") and _only_reads(args[0])
        session = SQLiteSession(threads.readers if reads else threads.writer)
        try:
            return await getattr(session, name)(*args)
        except Exception as error:
            raise_translated(error, self.translate)

    async def fetch_one_then(
        self, sql: str, args: Arguments, then: str, make: Callable[[Row | None], Arguments]
    ) -> Row | None:
        """See PairExecutor."""
        row: Row | None = await self._run("fetch_one_then", sql, args, then, make)
        return row

    def _scope(self, settings: Mapping[str, str] | None) -> AbstractAsyncContextManager[Transaction]:
        if settings:
            raise failures.no_transaction_settings("SQLite")
        return _TransactionScope(self, (self._open or self._start()).writer)

    async def capabilities(self) -> Capabilities:
        if self._capabilities is None:
            row = await self.fetch_one("SELECT sqlite_version()")
            assert row is not None
            returning = tuple(map(int, row[0].split("."))) >= (3, 35)
            self._capabilities = Capabilities(f"SQLite {row[0]}", returning, "BINARY")
        return self._capabilities

    async def existing_columns(self, tables: Sequence[str]) -> dict[str, set[str]]:
        return await ddl.existing_columns(self, self.dialect, tables)

    async def create_tables(self, tables: Sequence[sa.Table]) -> list[str]:
        return await ddl.create_tables(self, tables)

    def pool_metrics(self) -> PoolMetrics:
        groups = set(self._open or ())
        started, busy = sum(group.started for group in groups), sum(group.busy for group in groups)
        capacity = 1 if self._in_memory else self.options.pool_size + 1
        return PoolMetrics(
            size=started,
            checked_out=busy,
            overflow=0,
            total=started,
            max_size=capacity,
            waiting=sum(group.waiting for group in groups),
            utilization_percent=round(100 * busy / capacity, 1),
            is_exhausted=busy >= capacity,
        )

    async def close(self) -> None:
        with self._changing:
            groups, self._open = set(self._open or ()), None
        await asyncio.gather(*(group.close() for group in groups))

    def translate(self, error: Exception) -> Exception:
        """Our error for a driver's; any other exception comes back as it is."""
        return translate(error, self.masked_url)

    def _start(self) -> _Open:
        with self._changing:
            if self._open is None:
                writer = self._threads(1, writes=True)
                readers = writer if self._in_memory else self._threads(self.options.pool_size, writes=False)
                self._open = _Open(writer, readers)
            return self._open

    def _threads(self, size: int, *, writes: bool) -> Threads:
        options = self.options
        return Threads(
            partial(_connect, self._path, self._mode, options, writes),
            size=size,
            busy_timeout=options.busy_timeout,
            wait_timeout=options.pool_timeout,
            name=self.masked_url,
        )


class _TransactionScope:
    """``async with database.transaction()``: the writer is its own from ``BEGIN IMMEDIATE`` on."""

    def __init__(self, database: SQLiteDatabase, writer: Threads) -> None:
        self._database = database
        self._writer = writer

    async def __aenter__(self) -> SessionTransaction:
        try:
            await self._writer.begin(self, partial(_execute, "BEGIN IMMEDIATE", ()))
        except Exception as error:
            raise_translated(error, self._database.translate)
        session = SQLiteSession(self._writer, self)
        self._transaction = SessionTransaction(session, self._database.translate, echo=self._database.options.echo)
        return self._transaction

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._transaction.end()
        if error is not None:
            await self._writer.end(self, _roll_back)
            return
        try:
            await self._writer.end(self, partial(_inside, partial(_execute, "COMMIT", ())))
        except Exception as failure:
            await self._writer.end(self, _roll_back)
            raise_translated(failure, self._database.translate)


def _connect(path: str, mode: str | None, options: DatabaseOptions, writes: bool) -> sqlite3.Connection:
    """A connection, in the thread that will use it."""
    target = f"file:{quote(path)}?mode={mode}" if mode else path
    # Only interrupt() is called from another thread.
    connection = sqlite3.connect(
        target, uri=mode is not None, isolation_level=None, cached_statements=256, check_same_thread=False
    )
    try:
        register(connection)
        for pragma in (
            f"busy_timeout = {int(LOCK_SLICE * 1000)}",
            "foreign_keys = ON",
            "recursive_triggers = ON",
            f"cache_size = {-1024 * options.cache_size_mb}",
            f"mmap_size = {_MMAP_BYTES}",
        ):
            connection.execute(f"PRAGMA {pragma}")
        if path != MEMORY:
            _set_journal(connection, mode, options, writes)
    except BaseException:
        connection.close()
        raise
    return connection


def _set_journal(connection: sqlite3.Connection, mode: str | None, options: DatabaseOptions, writes: bool) -> None:
    if not writes:
        # A statement that was sent to the wrong place fails, instead of writing past the writer.
        connection.execute("PRAGMA query_only = ON")
    elif options.enable_wal and mode != "ro":
        deadline = time.monotonic() + options.busy_timeout
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                # SQLite does not wait by itself where another process changes the mode, too.
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(LOCK_SLICE / 10)
        # In WAL mode a crash of the process loses nothing, and a power cut at most the last commits.
        connection.execute("PRAGMA synchronous = NORMAL")


@lru_cache(maxsize=4096)
def _only_reads(sql: str) -> bool:
    return _READ.match(sql) is not None


def _quote(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def _fetch_all(sql: str, args: Arguments, connection: sqlite3.Connection) -> list[Row]:
    return connection.execute(sql, args).fetchall()


def _fetch_one(sql: str, args: Arguments, connection: sqlite3.Connection) -> Row | None:
    cursor = connection.execute(sql, args)
    row: Row | None = cursor.fetchone()
    # Ends the statement, which commits one that writes.
    cursor.close()
    return row


def _fetch_one_then(
    sql: str,
    args: Arguments,
    then: str,
    make: Callable[[Row | None], Arguments],
    connection: sqlite3.Connection,
) -> Row | None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        row = _fetch_one(sql, args, connection)
        connection.execute(then, make(row))
        connection.execute("COMMIT")
    except BaseException:
        _roll_back(connection)
        raise
    return row


def _execute(sql: str, args: Arguments, connection: sqlite3.Connection) -> Outcome:
    cursor = connection.execute(sql, args)
    outcome = Outcome(max(cursor.rowcount, 0), cursor.lastrowid)
    cursor.close()
    return outcome


def _execute_many(sql: str, rows: Sequence[Arguments], connection: sqlite3.Connection) -> int:
    nested = connection.in_transaction
    connection.execute(f"SAVEPOINT {_SAVEPOINT}" if nested else "BEGIN IMMEDIATE")
    try:
        matched = connection.executemany(sql, rows).rowcount
        connection.execute(f"RELEASE {_SAVEPOINT}" if nested else "COMMIT")
    except BaseException:
        # Some errors have ended the transaction already.
        if connection.in_transaction:
            connection.execute(f"ROLLBACK TO {_SAVEPOINT}" if nested else "ROLLBACK")
            if nested:
                connection.execute(f"RELEASE {_SAVEPOINT}")
        raise
    return max(matched, 0)


def _by_itself(work: Work, connection: sqlite3.Connection) -> Any:
    """Work that must leave no transaction open, into which others would write."""
    result = work(connection)
    if connection.in_transaction:
        connection.execute("ROLLBACK")
        raise failures.left_open()
    return result


def _inside(work: Work, connection: sqlite3.Connection) -> Any:
    """Work of a transaction, which an error may have ended without anybody looking."""
    if not connection.in_transaction:
        raise failures.aborted()
    return work(connection)


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")
