"""PooledDatabase: a database on a server, with a pool of connections for each event loop that uses it."""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Generic, NoReturn, TypeVar

import sqlalchemy as sa

from dataflow.databases import ddl, failures
from dataflow.databases.guarded import GuardedDatabase
from dataflow.databases.interface import Capabilities, Dialect, PoolMetrics, Transaction
from dataflow.databases.options import DatabaseOptions
from dataflow.databases.pool import CLOSE_SECONDS, Pool, PoolLimits, Slot
from dataflow.databases.sessions import SQL_LOG, PooledSession, SessionTransaction, raise_translated
from dataflow.databases.url import DatabaseURL
from dataflow.errors import DatabaseUnavailableError

LOG = logging.getLogger("dataflow.databases")

S = TypeVar("S", bound=PooledSession)


class Connector(ABC, Generic[S]):
    """Opens connections to one database, and knows its driver's errors."""

    def __init__(self, url: DatabaseURL, options: DatabaseOptions) -> None:
        self.url = url
        self.options = options
        self.masked_url = url.masked

    @abstractmethod
    async def connect(self) -> S:
        """Open a connection.

        Raises:
            DatabaseUnavailableError: The server cannot be reached, or refuses us.
        """

    @abstractmethod
    def translate(self, error: Exception) -> Exception:
        """Our error for one of the driver's; any other exception comes back as it is."""


class PooledDatabase(GuardedDatabase, Generic[S]):
    """A database on a server."""

    def __init__(self, dialect: Dialect, connector: Connector[S]) -> None:
        options = connector.options
        keep = options.enable_connection_pooling
        self.dialect = dialect
        self.masked_url = connector.masked_url
        self.options = options
        self._connector = connector
        self._limits = PoolLimits(
            size=options.pool_size if keep else 0,
            max_overflow=options.max_overflow if keep else options.pool_size + options.max_overflow,
            timeout=options.pool_timeout,
            recycle=options.pool_recycle,
            pre_ping=options.pool_pre_ping,
        )
        self._pools: dict[asyncio.AbstractEventLoop, Pool[S]] = {}
        self._recent: Pool[S] | None = None
        self._changing = threading.Lock()
        self._capabilities: Capabilities | None = None
        # The pools do not hold this object, so who forgets to close it, or ends, leaves no connection behind.
        self._finalizer = weakref.finalize(self, _let_go, self._pools)

    async def _call(self, name: str, *args: Any) -> Any:
        pool = self._recent
        if pool is None or pool.loop is not asyncio.get_running_loop():
            pool = self._pool()
        if self.options.echo and args:
            SQL_LOG.info("%s", args[0])
        slot = pool.take() or await pool.acquire()
        try:
            result = await getattr(slot.session, name)(*args)
        except BaseException as error:
            if not (args and slot.session and slot.session.is_outdated(args[0], error)):
                await self._fail(pool, slot, error)
            try:
                result = await getattr(slot.session, name)(*args)
            except BaseException as failure:
                await self._fail(pool, slot, failure)
        if slot.session is not None and slot.session.is_in_transaction():
            # Whoever got the connection next would write into a transaction that nobody commits.
            pool.abandon(slot)
            raise failures.left_open()
        pool.release(slot)
        return result

    async def _fail(self, pool: Pool[S], slot: Slot[S], error: BaseException) -> NoReturn:
        """Give back the slot of a statement that failed, and raise what the caller gets."""
        if isinstance(error, asyncio.CancelledError):
            await pool.release_unsettled(slot)
            raise error
        if not isinstance(error, Exception):
            pool.abandon(slot)
            raise error
        ours = self._connector.translate(error)
        if isinstance(ours, DatabaseUnavailableError):
            # Whatever the driver thinks of it, this connection is not used again.
            pool.abandon(slot)
        else:
            pool.release(slot)
        if ours is error:
            raise error
        raise ours from error

    def _scope(self, settings: Mapping[str, str] | None) -> AbstractAsyncContextManager[Transaction]:
        return _TransactionScope(self, settings)

    async def capabilities(self) -> Capabilities:
        if self._capabilities is None:
            self._capabilities = await self._run("capabilities")
        return self._capabilities

    async def existing_columns(self, tables: Sequence[str]) -> dict[str, set[str]]:
        return await ddl.existing_columns(self, self.dialect, tables)

    async def create_tables(self, tables: Sequence[sa.Table]) -> list[str]:
        return await ddl.create_tables(self, tables)

    def pool_metrics(self) -> PoolMetrics:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            pools = list(self._pools.values())
        else:
            pools = [pool for key, pool in list(self._pools.items()) if key is loop]
        return _sum_metrics([pool.metrics() for pool in pools], self._limits)

    async def close(self) -> None:
        with self._changing:
            pools = list(self._pools.values())
            self._pools.clear()
            self._recent = None
        for pool in pools:
            if pool.loop is asyncio.get_running_loop():
                await pool.close()
            elif pool.loop.is_running():
                closing = asyncio.run_coroutine_threadsafe(pool.close(), pool.loop)
                try:
                    await asyncio.wait_for(asyncio.wrap_future(closing), 2 * CLOSE_SECONDS)
                except TimeoutError:
                    LOG.warning("%s: a pool's event loop did not answer; its connections stay open.", self.masked_url)
            else:
                pool.terminate()

    def _pool(self) -> Pool[S]:
        """The running loop's pool. Pools whose loop was closed are dropped on the way."""
        loop = asyncio.get_running_loop()
        with self._changing:
            pool = self._pools.get(loop)
            if pool is None:
                for dead in [key for key in self._pools if key.is_closed()]:
                    self._pools.pop(dead).terminate()
                pool = self._pools[loop] = Pool(self._connector.connect, self._limits, self.masked_url)
            self._recent = pool
        return pool


class _TransactionScope(Generic[S]):
    """``async with database.transaction()``."""

    def __init__(self, database: PooledDatabase[S], settings: Mapping[str, str] | None) -> None:
        self._database = database
        self._settings = settings

    async def __aenter__(self) -> SessionTransaction:
        database = self._database
        self._pool: Pool[S] = database._pool()
        self._slot: Slot[S] = self._pool.take() or await self._pool.acquire()
        assert self._slot.session is not None
        self._session = self._slot.session
        try:
            await self._session.begin(self._settings)
        except BaseException as error:
            await self._fail(error)
        options, translate = database.options, database._connector.translate
        self._transaction = SessionTransaction(self._session, translate, echo=options.echo, renew=self._renew)
        return self._transaction

    async def _renew(self, statement: str, error: Exception, is_first: bool) -> bool:
        if not self._session.is_outdated(statement, error):
            return False
        if is_first:
            await self._session.settle()
            await self._session.begin(self._settings)
        elif self._session.reached_server(error):
            # It has ended the transaction.
            raise failures.altered(str(error)) from error
        return True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._transaction.end()
        if error is not None:
            await self._undo(error)
            return
        try:
            await self._session.commit()
        except BaseException as failure:
            await self._fail(failure)
        self._pool.release(self._slot)

    async def _undo(self, error: BaseException) -> None:
        if isinstance(error, Exception | asyncio.CancelledError):
            await self._pool.release_unsettled(self._slot)
        else:
            self._pool.abandon(self._slot)

    async def _fail(self, error: BaseException) -> NoReturn:
        """BEGIN or COMMIT did not work."""
        await self._undo(error)
        if isinstance(error, Exception):
            raise_translated(error, self._database._connector.translate)
        raise error


def _let_go(pools: dict[asyncio.AbstractEventLoop, Pool[Any]]) -> None:
    """Drop the connections of a database that nobody holds any more."""
    for pool in pools.values():
        if pool.loop.is_running():
            pool.loop.call_soon_threadsafe(pool.terminate)
        else:
            pool.terminate()


def _sum_metrics(all_metrics: Sequence[PoolMetrics], limits: PoolLimits) -> PoolMetrics:
    capacity = (limits.size + limits.max_overflow) * max(1, len(all_metrics))
    used = sum(metrics["checked_out"] for metrics in all_metrics)
    total = sum(metrics["total"] for metrics in all_metrics)
    return PoolMetrics(
        size=total,
        checked_out=used,
        overflow=sum(metrics["overflow"] for metrics in all_metrics),
        total=total,
        max_size=capacity,
        waiting=sum(metrics["waiting"] for metrics in all_metrics),
        utilization_percent=round(100 * used / capacity, 1),
        is_exhausted=used >= capacity,
    )
