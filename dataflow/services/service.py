"""Service: the contract of everything that a process does in the background."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

#: Seconds that a cancelled task has to take notice.
_NOTICE = 0.5


class Service(ABC):
    """One task that runs from ``start()`` until ``stop()``. One that ends by itself with an error ends the process."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin. What must be there before others start is done before this returns."""
        self.task = asyncio.create_task(self.run(), name=type(self).__name__)

    async def stop(self) -> None:
        """End, and return when nothing of it runs any more. Stopping twice, or before the start, is harmless."""
        while self.task is not None and not self.task.done():
            # Again, where it took no notice: asyncio.wait_for may swallow a cancellation on Python 3.11.
            self.task.cancel()
            await asyncio.wait([self.task], timeout=_NOTICE)

    @abstractmethod
    async def run(self) -> None:
        """The work; cancelled by ``stop()``."""
