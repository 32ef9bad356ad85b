"""Deadline: the time by which the current task must be done."""

from __future__ import annotations

import asyncio


class Deadline:
    """Cancels the current task when its time is over.

    The rules are those of ``asyncio.timeout``, https://docs.python.org/3/library/asyncio-task.html#timeouts. This one
    is no async context manager, which halves its price where every run has one.

    Args:
        seconds: From now.

    Example:
        >>> deadline = Deadline(5)
        >>> try:
        ...     await work()
        ... except BaseException as error:
        ...     if deadline.end() and isinstance(error, asyncio.CancelledError):
        ...         raise TimeoutError from None
        ...     raise
        >>> deadline.end()
    """

    __slots__ = ("_cancelling", "_passed", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None, "a deadline belongs to a task"
        self._task = task
        self._cancelling = task.cancelling()
        self._passed = False
        self._timer = loop.call_later(seconds, self._pass)

    def end(self) -> bool:
        """Stop the clock; to be called once. True if the time was over and nothing else cancelled the task."""
        self._timer.cancel()
        return self._passed and self._task.uncancel() <= self._cancelling

    def _pass(self) -> None:
        self._passed = True
        self._task.cancel()
