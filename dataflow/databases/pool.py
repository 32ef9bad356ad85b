"""Pool: the connections that one event loop keeps to one server.

A *slot* is the right to hold one connection; there are ``size + max_overflow``. It is idle, held by a caller, or on its
way to the caller that waited longest. A slot may be without a connection: whoever gets it opens one. So a connection
that breaks never costs the pool a place.

Taking an idle connection and giving it back are plain function calls, no awaits. All methods belong to the loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from dataflow.databases import failures
from dataflow.databases.interface import PoolMetrics
from dataflow.databases.sessions import PooledSession
from dataflow.errors import PoolTimeoutError

LOG = logging.getLogger("dataflow.databases")

#: Seconds of idleness after which a connection is asked whether it lives before it is used.
CHECK_AFTER = 30.0
#: Seconds that a connection beyond ``size`` stays open unused: load that comes in waves would else reconnect all day.
OVERFLOW_LINGER = 3.0
#: Seconds that a cancelled statement gets to stop, before its connection is given up.
SETTLE_SECONDS = 5.0
#: Seconds that a connection gets to say goodbye.
CLOSE_SECONDS = 2.0

S = TypeVar("S", bound=PooledSession)


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Sizes and times of a pool; see DatabaseOptions. ``size=0`` keeps no connection open."""

    size: int
    max_overflow: int
    timeout: float
    recycle: float
    pre_ping: bool


class Slot(Generic[S]):
    """The right to hold one connection."""

    __slots__ = ("idle_since", "opened_at", "session")

    def __init__(self) -> None:
        self.session: S | None = None
        self.opened_at = 0.0
        self.idle_since = 0.0


class Pool(Generic[S]):
    """Connections to one server, for one event loop.

    Args:
        connect: Opens a connection.
        limits: Sizes and times.
        name: The server's masked URL, for messages.
    """

    def __init__(self, connect: Callable[[], Awaitable[S]], limits: PoolLimits, name: str) -> None:
        self.loop = asyncio.get_running_loop()
        self._connect = connect
        self._limits = limits
        self._capacity = limits.size + limits.max_overflow
        self._name = name
        self._count = 0
        self._idle: deque[Slot[S]] = deque()
        #: Callers in order of asking, with the time at which they give up.
        self._waiters: deque[tuple[asyncio.Future[Slot[S]], float]] = deque()
        self._wait_timer: asyncio.TimerHandle | None = None
        self._side_tasks: set[asyncio.Task[None]] = set()
        self._trim_timer: asyncio.TimerHandle | None = None
        self._closed = False

    def take(self) -> Slot[S] | None:
        """A slot with a connection that can be used as it is, if there is one."""
        if not self._idle:
            return None
        slot = self._idle.pop()
        if self._is_fresh(slot):
            return slot
        self._idle.append(slot)
        return None

    async def acquire(self) -> Slot[S]:
        """A slot with a usable connection, opened or waited for where necessary.

        Raises:
            PoolTimeoutError: None became free in time.
            DatabaseUnavailableError: The server cannot be reached.
        """
        if self._idle:
            slot = self._idle.pop()
            if not self._is_fresh(slot):
                await self._refresh(slot)
            return slot
        if self._count < self._capacity:
            self._count += 1
            slot = Slot[S]()
        else:
            slot = await self._wait()
        # One that comes from another caller's hands was looked at when it was released.
        if slot.session is None:
            await self._refresh(slot)
        return slot

    def release(self, slot: Slot[S]) -> None:
        """Give a slot back. A connection that is closed or too old is forgotten."""
        session = slot.session
        now = self.loop.time()
        if session is not None:
            if session.is_closed():
                self._drop(slot)
            elif 0 < self._limits.recycle < now - slot.opened_at:
                slot.session = None
                self._aside(self._say_goodbye(session))
        while self._waiters:
            waiter, _ = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(slot)
                return
        if slot.session is None:
            self._count -= 1
        elif self._closed or not self._limits.size:
            self._close_aside(slot)
        else:
            slot.idle_since = now
            self._idle.append(slot)
            if self._count > self._limits.size and self._trim_timer is None:
                self._trim_timer = self.loop.call_later(OVERFLOW_LINGER, self._trim)

    async def release_unsettled(self, slot: Slot[S]) -> None:
        """Give back a slot whose call was cancelled, or whose transaction failed, once nothing of it runs or is open.

        The work goes on if the caller is cancelled meanwhile.
        """
        assert slot.session is not None
        await asyncio.shield(self._aside(self._settle(slot, slot.session)))

    def abandon(self, slot: Slot[S]) -> None:
        """Give back a slot whose connection must not be used again; awaits nothing."""
        self._drop(slot)
        self.release(slot)

    def metrics(self) -> PoolMetrics:
        """State of the pool."""
        used = self._count - len(self._idle)
        return PoolMetrics(
            size=self._count,
            checked_out=used,
            overflow=max(0, self._count - self._limits.size),
            total=self._count,
            max_size=self._capacity,
            waiting=sum(not waiter.done() for waiter, _ in self._waiters),
            utilization_percent=round(100 * used / self._capacity, 1),
            is_exhausted=used >= self._capacity,
        )

    async def close(self) -> None:
        """Close what is idle now and what is in use when it comes back. Waiting callers get an error."""
        self._closed = True
        for timer in (self._trim_timer, self._wait_timer):
            if timer is not None:
                timer.cancel()
        for waiter, _ in self._waiters:
            if not waiter.done():
                waiter.set_exception(failures.closed(self._name))
        while self._idle:
            self._close_aside(self._idle.pop())
        while self._side_tasks:
            await asyncio.wait(self._side_tasks)

    def terminate(self) -> None:
        """Drop every idle connection at once; the only thing to do when the loop is closed or stopped."""
        self._closed = True
        while self._idle:
            self._count -= 1
            self._drop(self._idle.pop())

    def _is_fresh(self, slot: Slot[S]) -> bool:
        """Whether an idle slot's connection can be used without more ado."""
        session = slot.session
        if session is None or self._is_spent(slot, session):
            return False
        return not self._limits.pre_ping or self.loop.time() - slot.idle_since < CHECK_AFTER

    def _is_spent(self, slot: Slot[S], session: S) -> bool:
        return session.is_closed() or 0 < self._limits.recycle < self.loop.time() - slot.opened_at

    async def _wait(self) -> Slot[S]:
        waiter: asyncio.Future[Slot[S]] = self.loop.create_future()
        self._waiters.append((waiter, self.loop.time() + self._limits.timeout))
        if self._wait_timer is None:
            self._wait_timer = self.loop.call_later(self._limits.timeout, self._expire)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release(waiter.result())
            raise

    def _expire(self) -> None:
        """End the waiting of those whose time is over. All wait equally long, so they are the first in the queue."""
        self._wait_timer = None
        now = self.loop.time()
        while self._waiters:
            waiter, deadline = self._waiters[0]
            if waiter.done():
                self._waiters.popleft()
            elif deadline <= now:
                self._waiters.popleft()
                waiter.set_exception(self._too_long())
            else:
                self._wait_timer = self.loop.call_at(deadline, self._expire)
                return

    def _too_long(self) -> PoolTimeoutError:
        limits = self._limits
        return PoolTimeoutError(
            f"All {self._capacity} connections to {self._name} were in use for {limits.timeout:g} s.",
            hint=f"Raise pool_size (now {limits.size}) or max_overflow (now {limits.max_overflow}), lower the "
            "number of concurrent runs, or look for transactions that stay open.",
            pool_size=limits.size,
            max_overflow=limits.max_overflow,
            pool_timeout=limits.timeout,
        )

    async def _refresh(self, slot: Slot[S]) -> None:
        """Make sure that a slot we hold has a living connection; gives the slot back when that fails."""
        try:
            if slot.session is not None and not await self._lives(slot, slot.session):
                self._drop(slot)
            if slot.session is None:
                slot.session = await self._connect()
                slot.opened_at = slot.idle_since = self.loop.time()
        except BaseException:
            self._drop(slot)
            self.release(slot)
            raise

    async def _lives(self, slot: Slot[S], session: S) -> bool:
        if self._is_spent(slot, session):
            return False
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                await session.ping()
        except Exception as error:
            LOG.debug("%s: an idle connection was dead: %s", self._name, error)
            return False
        return True

    async def _settle(self, slot: Slot[S], session: S) -> None:
        usable = False
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                usable = await session.settle()
        except Exception as error:
            LOG.debug("%s: a connection was given up: %s", self._name, error)
        finally:
            if not usable:
                self._drop(slot)
            self.release(slot)

    def _drop(self, slot: Slot[S]) -> None:
        if slot.session is not None:
            slot.session.terminate()
            slot.session = None

    def _trim(self) -> None:
        """Close connections beyond the pool's size that nobody used for a while."""
        self._trim_timer = None
        latest = self.loop.time() - OVERFLOW_LINGER
        while self._idle and self._count > self._limits.size and self._idle[0].idle_since <= latest:
            self._close_aside(self._idle.popleft())
        if self._idle and self._count > self._limits.size:
            self._trim_timer = self.loop.call_later(OVERFLOW_LINGER / 2, self._trim)

    def _close_aside(self, slot: Slot[S]) -> None:
        """Give up the place of a slot that is neither idle nor held, and close its connection in good order."""
        self._count -= 1
        session, slot.session = slot.session, None
        if session is not None:
            self._aside(self._say_goodbye(session))

    async def _say_goodbye(self, session: S) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await session.close()
        except Exception as error:
            LOG.debug("%s: closing a connection failed: %s", self._name, error)
        finally:
            session.terminate()

    def _aside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        self._side_tasks.add(task)
        task.add_done_callback(self._side_tasks.discard)
        return task
