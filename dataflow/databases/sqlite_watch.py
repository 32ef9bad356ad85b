"""SQLiteWatch: a query of a file that is asked again when any process has committed.

SQLite tells nobody of a commit, but ``PRAGMA data_version`` of a connection that does not write changes with each, and
costs three microseconds. Asked in a thread of its own, it costs the event loop nothing.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dataflow.databases.sqlite_errors import translate
from dataflow.errors import DatabaseUnavailableError

#: Seconds between two looks at a file that changed within the last second, and at a quiet one.
_BUSY, _QUIET = 0.002, 0.01
#: Seconds that a statement waits for a writer's lock, which only files without a write-ahead log need.
_LOCK_WAIT = 5.0


class SQLiteWatch:
    """Reads a file that others write to.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._thread: ThreadPoolExecutor | None = None
        self._stop = threading.Event()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._version: int | None = None
        self._changed_at = 0.0

    async def rows(self, sql: str, args: Sequence[Any], wait: float) -> list[tuple[Any, ...]]:
        """The rows of a query as soon as there are any; none after ``wait`` seconds.

        Raises:
            DatabaseUnavailableError: The file cannot be read, or another one has taken its place.
        """
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="dataflow-sqlite-watch")
            self._stop = threading.Event()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._wait_for_rows, sql, tuple(args), wait, self._stop)

    async def close(self) -> None:
        """End the thread."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stop.set()
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(thread, self._disconnect))
        thread.shutdown(wait=False)

    def _wait_for_rows(
        self, sql: str, args: tuple[Any, ...], wait: float, stop: threading.Event
    ) -> list[tuple[Any, ...]]:
        deadline = time.monotonic() + wait
        try:
            connection = self._connect()
            fresh = True
            while not stop.is_set():
                (version,) = connection.execute("PRAGMA data_version").fetchone()
                now = time.monotonic()
                if fresh or version != self._version:
                    if version != self._version:
                        self._version, self._changed_at = version, now
                    fresh = False
                    if rows := connection.execute(sql, args).fetchall():
                        return rows
                if now > deadline:
                    self._check_file()
                    return []
                stop.wait(_BUSY if now < self._changed_at + 1 else _QUIET)
        except (sqlite3.Error, OSError) as error:
            self._disconnect()
            raise translate(error, f"sqlite:///{self._path}") from error
        return []

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            self._inode = Path(self._path).stat().st_ino
            self._connection = sqlite3.connect(
                self._path, isolation_level=None, timeout=_LOCK_WAIT, check_same_thread=False
            )
            self._connection.execute("PRAGMA query_only = ON")
        return self._connection

    def _check_file(self) -> None:
        if Path(self._path).stat().st_ino != self._inode:
            self._disconnect()
            raise DatabaseUnavailableError(f"Another file has taken the place of {self._path}.")

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._version = None
        if connection is not None:
            connection.close()
