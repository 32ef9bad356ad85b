"""CodeThreads: a bounded pool of threads for users' synchronous code, which tells when code does not end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, TypeVar

Result = TypeVar("Result")

logger = logging.getLogger("dataflow.nodes")

#: What the names of its threads begin with.
THREAD_NAME = "dataflow-node"


class CodeThreads:
    """A pool of its own, so that code that never returns takes no thread from anything else (name look-ups, drivers).

    Python cannot stop a thread. Where a call is cancelled, or its time is over, the caller goes on at once and the
    thread stays taken until the code returns: until then it counts as ``stuck``.

    Args:
        size: Threads, at most; further calls wait for one.
        freed: Called on the event loop when a stuck thread is free again.
    """

    def __init__(self, size: int, freed: Callable[[], None]) -> None:
        self.size = size
        self._pool = ThreadPoolExecutor(size, THREAD_NAME)
        self._freed = freed
        self._stuck: set[Future[Any]] = set()

    @property
    def stuck(self) -> int:
        """Threads whose code goes on though nobody waits for it any more."""
        return len(self._stuck)

    async def run(self, call: Callable[[], Result], name: str) -> Result:
        """What ``call`` returns; ``name`` is what the log calls it.

        Raises:
            Exception: What it raised.
        """
        future = self._pool.submit(call)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if not (future.cancel() or future.done()):
                self._abandon(future, name)
            raise

    def _abandon(self, future: Future[Any], name: str) -> None:
        loop = asyncio.get_running_loop()

        def ended(future: Future[Any]) -> None:
            self._stuck.discard(future)
            logger.info("%s has returned; its thread is free again.", name)
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._freed)

        self._stuck.add(future)
        logger.warning(
            "%s goes on in its thread though its run is over: %d of %d threads are stuck.", name, self.stuck, self.size
        )
        future.add_done_callback(ended)

    def close(self) -> None:
        """Take no more calls. Code that runs goes on."""
        self._pool.shutdown(wait=False, cancel_futures=True)


#: The pool for code of the current context; without one, the event loop's own threads are used.
code_threads: ContextVar[CodeThreads | None] = ContextVar("dataflow_code_threads", default=None)
