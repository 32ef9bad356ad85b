"""The side of the threads: jobs, their queue, and the loop that does them one after another."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from dataflow.databases import failures
from dataflow.errors import DatabaseUnavailableError

#: What runs in a thread: a function of the thread's connection.
Work = Callable[[sqlite3.Connection], Any]

#: Seconds that SQLite itself waits for a lock of another process; then we look whether the caller still wants it.
LOCK_SLICE = 0.1
#: Seconds between two interrupts of a statement that is to stop: the first may come before the statement has begun.
INTERRUPT_EVERY = 0.02


class Job:
    """Work, and where its result goes."""

    __slots__ = ("abandoned", "connection", "done", "future", "loop", "owner", "started", "waiter", "work")

    def __init__(self, work: Work, loop: asyncio.AbstractEventLoop, owner: object | None) -> None:
        self.work = work
        self.loop = loop
        self.owner = owner
        self.future: asyncio.Future[Any] = loop.create_future()
        #: The connection while the work runs; changed under the threads' lock.
        self.connection: sqlite3.Connection | None = None
        self.abandoned = False
        self.started = False
        self.done = False
        self.waiter: asyncio.Future[None] | None = None

    def finish(self, result: Any, error: BaseException | None) -> None:
        """From the thread: hand the result to the caller's loop. A loop that is closed has nobody who waits."""
        try:
            self.loop.call_soon_threadsafe(self._arrive, result, error)
        except RuntimeError:
            self.done = True

    def _arrive(self, result: Any, error: BaseException | None) -> None:
        self.done = True
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class Workshop:
    """A queue of jobs, and the threads that serve it."""

    def __init__(self, open_connection: Callable[[], sqlite3.Connection], busy_timeout: float, name: str) -> None:
        self.open_connection = open_connection
        self.busy_timeout = busy_timeout
        self.name = name
        self.queue: SimpleQueue[Job | None] = SimpleQueue()
        #: Jobs put aside while another's transaction is open.
        self.parked: deque[Job] = deque()
        #: Whose transaction is open; changed in the writer's thread only.
        self.holder: object | None = None
        # Reentrant: a collector's run in a locked place may finalize the owner, which stops us.
        self.lock = threading.RLock()
        self.when_ended: list[Callable[[], None]] = []
        self.started = 0
        self.busy = 0
        self.pending = 0
        self.stopped = False

    def submit(self, job: Job, size: int) -> bool:
        """Queue a job, with a further thread where it helps. Returns whether it may have to wait for others."""
        with self.lock:
            if self.stopped:
                raise DatabaseUnavailableError(f"{self.name} is closed.")
            self.pending += 1
            if self.pending > self.started and self.started < size:
                self.started += 1
                thread = threading.Thread(target=self.serve, name=f"dataflow {self.name}", daemon=True)
                thread.start()
            self.queue.put(job)
            return self.pending > self.started or self.holder is not None

    def stop(self, when_ended: Callable[[], None] | None = None) -> None:
        """Let every thread end once it has done what was asked before; then call ``when_ended``."""
        with self.lock:
            self.stopped = True
            if when_ended is not None:
                self.when_ended.append(when_ended)
            for _ in range(self.started):
                self.queue.put(None)
            idle = not self.started
        if idle:
            self.ended()

    def ended(self) -> None:
        while self.when_ended:
            self.when_ended.pop()()

    def abandon(self, job: Job) -> bool:
        """Make sure that a job never starts; False if it has started."""
        with self.lock:
            if job.started:
                return False
            job.abandoned = True
            return True

    async def stop_job(self, job: Job) -> None:
        """See to it that a job does not run any more, and wait until that is so."""
        if self.abandon(job):
            return
        job.waiter = job.loop.create_future()
        while not job.done:
            with self.lock:
                job.abandoned = True
                if job.connection is not None:
                    job.connection.interrupt()
            await asyncio.wait([job.waiter], timeout=INTERRUPT_EVERY)

    def serve(self) -> None:
        """A thread's life."""
        connection: sqlite3.Connection | None = None
        try:
            while (job := self.take()) is not None:
                try:
                    if connection is None:
                        connection = self.open_connection()
                except BaseException as error:
                    self.settle(job, None, error)
                else:
                    self.perform(job, connection)
                del job  # else it, and what it holds, would live until the next one comes
        finally:
            if connection is not None:
                connection.close()
            while self.parked:
                self.settle(self.parked.popleft(), None, failures.closed(self.name))
            with self.lock:
                self.started -= 1
                last = not self.started
            if last:
                self.ended()

    def take(self) -> Job | None:
        """The next job that may run; None at the end."""
        if self.holder is None and self.parked:
            return self.parked.popleft()
        while True:
            job = self.queue.get()
            if job is None or self.holder is None or job.owner is self.holder:
                return job
            self.parked.append(job)

    def perform(self, job: Job, connection: sqlite3.Connection) -> None:
        with self.lock:
            if not job.abandoned:
                job.started = True
                job.connection = connection
                self.busy += 1
        if not job.started:
            self.settle(job, None, None)
            return
        result, failure = None, None
        try:
            result = self.patiently(job, connection)
        except BaseException as error:
            failure = error
        with self.lock:
            job.connection = None
            self.busy -= 1
        self.settle(job, result, failure)

    def patiently(self, job: Job, connection: sqlite3.Connection) -> Any:
        """Do the work; again and again while another process holds the lock, which is before it has any effect."""
        deadline = time.monotonic() + self.busy_timeout
        while True:
            try:
                return job.work(connection)
            except sqlite3.OperationalError as error:
                busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or job.abandoned or time.monotonic() > deadline:
                    raise

    def settle(self, job: Job, result: Any, error: BaseException | None) -> None:
        with self.lock:
            self.pending -= 1
        job.finish(result, error)
