"""The one event loop thread behind every synchronous call.

It starts with the first such call and ends with the process: pools that belong to its loop survive between calls, and
are closed before it stops. A forked child starts its own.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakSet

Result = TypeVar("Result")

#: Seconds that cleanup may take when the process ends.
_EXIT_GRACE = 5.0


class Closable(Protocol):
    """Something that holds connections."""

    async def close_async(self) -> None:
        """Close them."""
        ...


class LoopThread:
    """A daemon thread that runs an event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closables: WeakSet[Closable] = WeakSet()

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on the thread's loop and wait for its result.

        Raises:
            RuntimeError: Called from the loop thread itself, where waiting would never end.
        """
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("A synchronous DataFlow call was made from async code that DataFlow runs; await it.")
        loop, call = self._started(), _Call(coroutine)
        try:
            loop.call_soon_threadsafe(call.start, loop)
            return call.result()
        except BaseException:
            # KeyboardInterrupt arrives in the waiting thread: the work must not go on behind its back.
            loop.call_soon_threadsafe(call.cancel)
            raise

    def close_at_exit(self, closable: Closable) -> None:
        """Close it on the loop when the process ends, if it still exists and the loop was ever started."""
        self._closables.add(closable)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                ready: Future[asyncio.AbstractEventLoop] = Future()
                self._thread = threading.Thread(target=_serve, args=(ready,), name="dataflow-loop", daemon=True)
                self._thread.start()
                self._loop = ready.result()
                atexit.register(self._stop)
            return self._loop

    def _stop(self) -> None:
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or not thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(self._clean_up(), loop)
        thread.join(_EXIT_GRACE)
        self._loop = self._thread = None

    async def _clean_up(self) -> None:
        await asyncio.gather(*(item.close_async() for item in self._closables), return_exceptions=True)
        asyncio.get_running_loop().stop()

    def forget(self) -> None:
        """Start anew: in a forked child the parent's thread does not exist."""
        self._lock = threading.Lock()
        self._loop = self._thread = None
        self._closables = WeakSet()


class _Call(Generic[Result]):
    """A coroutine that another thread waits for: by a bare lock, which takes 10 µs less than a Future."""

    __slots__ = ("_coroutine", "_ended", "_task")

    def __init__(self, coroutine: Coroutine[Any, Any, Result]) -> None:
        self._coroutine = coroutine
        self._ended = threading.Lock()
        self._ended.acquire()
        self._task: asyncio.Task[Result] | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin; called in the loop."""
        self._task = loop.create_task(self._coroutine)
        self._task.add_done_callback(lambda _: self._ended.release())

    def cancel(self) -> None:
        """Give up; called in the loop."""
        if self._task is None:
            self._coroutine.close()
        else:
            self._task.cancel()

    def result(self) -> Result:
        """Wait for the result; called in the other thread."""
        self._ended.acquire()
        assert self._task is not None
        return self._task.result()


def _serve(ready: Future[asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        loop = runner.get_loop()
        loop.call_soon(ready.set_result, loop)
        loop.run_forever()


def new_event_loop() -> asyncio.AbstractEventLoop:
    """An event loop of the fastest kind installed: uvloop's (extra ``fast``), else asyncio's."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


_thread = LoopThread()
os.register_at_fork(after_in_child=_thread.forget)

#: Run a coroutine from synchronous code.
run_sync = _thread.run
#: Have something closed at the end of the process.
close_at_exit = _thread.close_at_exit
