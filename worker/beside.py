"""Running a coroutine beside the event loop, where nothing that blocks the loop can hold it up."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any


async def run_beside(work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
    """Run ``work`` on an event loop of its own, in a thread of its own; return, raise and be cancelled as it is.

    What it shares with the caller's loop must bear two threads.

    Args:
        work: What to run.
        name: The thread's name.

    Raises:
        BaseException: Whatever ``work`` raised.
    """
    here = asyncio.get_running_loop()
    ended: asyncio.Future[None] = here.create_future()
    there = asyncio.new_event_loop()
    task = there.create_task(work())

    def settle(error: BaseException | None) -> None:
        if ended.done():
            return
        if error is None or isinstance(error, asyncio.CancelledError):
            ended.set_result(None)
        else:
            ended.set_exception(error)

    def main() -> None:
        error: BaseException | None = None
        try:
            there.run_until_complete(task)
        except BaseException as caught:
            error = caught
        there.close()
        with contextlib.suppress(RuntimeError):  # the caller's loop is closed: nobody waits any more
            here.call_soon_threadsafe(settle, error)

    # A daemon: a process whose loop hangs can still be ended.
    threading.Thread(target=main, name=name, daemon=True).start()
    try:
        await asyncio.shield(ended)
    finally:
        with contextlib.suppress(RuntimeError):  # it has ended, and its loop is closed
            there.call_soon_threadsafe(task.cancel)
        await asyncio.wait([ended])
