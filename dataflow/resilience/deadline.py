"""Deadline: the time by which the current task must be done."""

from __future__ import annotations

import asyncio
import math
import threading


class Deadline:
    """Cancels the current task when its time is over.

    The rules are those of ``asyncio.timeout``, https://docs.python.org/3/library/asyncio-task.html#timeouts. This one
    is no async context manager and has no timer of its own, which makes it several times as cheap where every run has
    one.

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

    __slots__ = ("_cancelling", "_clock", "_passed", "_task", "at")

    def __init__(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None, "a deadline belongs to a task"
        self._task = task
        self._cancelling = task.cancelling()
        self._passed = False
        #: When, on the loop's clock.
        self.at = loop.time() + seconds
        self._clock = _clock_of(loop)
        self._clock.start(self)

    def end(self) -> bool:
        """Stop the clock; to be called once. True if the time was over and nothing else cancelled the task."""
        self._clock.running.discard(self)
        return self._passed and self._task.uncancel() <= self._cancelling

    def pass_(self) -> None:
        """The time is over."""
        self._passed = True
        self._task.cancel()


class _Clock:
    """The deadlines of one event loop, with one timer for them all.

    Nearly every deadline ends before its time. So the timer is not touched when one ends: it may find nothing to do,
    and is set anew only for one that is nearer than all before.
    """

    __slots__ = ("_rings_at", "_timer", "loop", "running")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.running: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf

    def start(self, deadline: Deadline) -> None:
        self.running.add(deadline)
        if deadline.at < self._rings_at:
            self._set(deadline.at)

    def _set(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(at, self._ring)
        self._rings_at = at

    def _ring(self) -> None:
        self._timer, self._rings_at = None, math.inf
        now = self.loop.time()
        for deadline in [item for item in self.running if item.at <= now]:
            self.running.discard(deadline)
            deadline.pass_()
        if self.running:
            self._set(min(item.at for item in self.running))


_here = threading.local()


def _clock_of(loop: asyncio.AbstractEventLoop) -> _Clock:
    """The clock of the loop that runs in this thread."""
    clock: _Clock | None = getattr(_here, "clock", None)
    if clock is None or clock.loop is not loop:
        clock = _here.clock = _Clock(loop)
    return clock
