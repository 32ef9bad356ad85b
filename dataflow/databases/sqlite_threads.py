"""The threads in which SQLite runs: a statement is one hop to a thread and one back.

::

    read  ──▶ queue ──▶ reader threads (up to pool_size), whichever is free
    write ──▶ queue ──▶ the one writer thread; while a transaction is open, the work of others is put aside

The queues do not belong to an event loop, so one set of threads serves every loop and thread of the process, in the
order of asking. (aiosqlite's thread cannot do this: it dies with the loop of a caller, and keeps a process from
ending.)
"""

from __future__ import annotations

import asyncio
import sqlite3
import weakref
from collections.abc import Callable
from typing import Any

from dataflow.databases.sqlite_jobs import Job, Work, Workshop
from dataflow.errors import PoolTimeoutError


class Threads:
    """Threads with a connection each, fed by one queue.

    Args:
        open_connection: Opens a connection, in the thread that will use it.
        size: Threads at most; they are started when they are needed.
        busy_timeout: Seconds that work waits for the lock of another process.
        wait_timeout: Seconds that work waits for a thread, or for the end of another's transaction.
        name: The database, for messages.
    """

    def __init__(
        self,
        open_connection: Callable[[], sqlite3.Connection],
        *,
        size: int,
        busy_timeout: float,
        wait_timeout: float,
        name: str,
    ) -> None:
        self._shop = Workshop(open_connection, busy_timeout, name)
        self._size = size
        self._wait_timeout = wait_timeout
        self._name = name
        # Threads hold the workshop, not this object: who forgets to close it still gets rid of them.
        self._finalizer = weakref.finalize(self, self._shop.stop)

    @property
    def started(self) -> int:
        """Threads, which is open connections."""
        return self._shop.started

    @property
    def busy(self) -> int:
        """Threads at work."""
        return self._shop.busy

    @property
    def waiting(self) -> int:
        """Work for which no thread is free."""
        return max(0, self._shop.pending - self._shop.busy)

    async def run(self, work: Work, owner: object | None = None) -> Any:
        """Do work in a thread; its result.

        Args:
            work: What to do.
            owner: The transaction that it belongs to.

        Raises:
            PoolTimeoutError: It could not start in time.
            DatabaseUnavailableError: The database was closed.
        """
        job = Job(work, asyncio.get_running_loop(), owner)
        return await self._result(job)

    async def _result(self, job: Job) -> Any:
        must_wait = self._shop.submit(job, self._size)
        timer = job.loop.call_later(self._wait_timeout, self._expire, job) if must_wait else None
        try:
            return await job.future
        except asyncio.CancelledError:
            await asyncio.shield(job.loop.create_task(self._shop.stop_job(job)))
            raise
        finally:
            if timer is not None:
                timer.cancel()

    async def begin(self, owner: object, work: Work) -> None:
        """Do work that opens a transaction; from its success until :meth:`end`, only work of ``owner`` runs."""
        begin = _Begin(self._shop, owner, work)
        try:
            await self.run(begin, owner)
        except BaseException:
            if begin.opened:
                await self.end(owner, _roll_back)
            raise

    async def end(self, owner: object, work: Work) -> None:
        """Do work that closes a transaction, unless that is closed or was never opened. Cannot be cancelled."""
        loop = asyncio.get_running_loop()
        job = Job(_End(self._shop, owner, work), loop, owner)
        self._shop.submit(job, self._size)
        await asyncio.shield(job.future)

    async def close(self) -> None:
        """Finish what was asked, close the connections and end the threads."""
        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        def notify() -> None:
            loop.call_soon_threadsafe(ended.set_result, None)

        self._shop.stop(notify)
        await asyncio.shield(ended)

    def _expire(self, job: Job) -> None:
        if job.future.done() or not self._shop.abandon(job):
            return
        job.future.set_exception(
            PoolTimeoutError(
                f"{self._name} was busy for {self._wait_timeout:g} s.",
                hint="Look for a transaction that stays open, or that waits for a statement outside of it; "
                "raise pool_size where many calls read at once.",
                pool_timeout=self._wait_timeout,
            )
        )


def _roll_back(connection: sqlite3.Connection) -> None:
    connection.execute("ROLLBACK")


class _Begin:
    """Opens a transaction and notes whose it is."""

    __slots__ = ("opened", "owner", "shop", "work")

    def __init__(self, shop: Workshop, owner: object, work: Work) -> None:
        self.shop, self.owner, self.work = shop, owner, work
        self.opened = False

    def __call__(self, connection: sqlite3.Connection) -> Any:
        result = self.work(connection)
        self.shop.holder = self.owner
        self.opened = True
        return result


class _End(_Begin):
    """Closes a transaction, and lets others go on whatever happens."""

    __slots__ = ()

    def __call__(self, connection: sqlite3.Connection) -> Any:
        if self.shop.holder is not self.owner:
            return None
        try:
            return self.work(connection)
        finally:
            if not connection.in_transaction:
                self.shop.holder = None
