"""Delivery: one claimed job. Deliveries: those that a worker holds, and how many more it may take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

#: Ended jobs, beyond those running, whose end Redis need not have confirmed before more are claimed.
UNCONFIRMED = 256


class Reason(Enum):
    """Why a running job was interrupted."""

    STOPPED = "stopped on request"
    GIVEN_BACK = "given back, the worker ends"
    LOST = "no longer this worker's"


@dataclass(slots=True, eq=False)
class Delivery:
    """One claimed job.

    Attributes:
        queue: The queue it came from.
        job_id: Its id.
        execution_id: Id of this execution of it.
        data: Its payload, as it was enqueued.
        options: Values of the other fields that the claim reads, by name; empty ones left out.
        progress: Node id → [state, started, ended], as Unix times.
        started: When it began to run, as a Unix time.
        task: What runs it.
        interrupted: Why it was interrupted, if it was.
    """

    queue: str
    job_id: str
    execution_id: str
    data: bytes
    options: dict[str, bytes]
    progress: dict[str, list[str | float | None]] = field(default_factory=dict)
    started: float = field(default_factory=time.time)
    task: asyncio.Task[Any] | None = None
    interrupted: Reason | None = None

    @property
    def member(self) -> str:
        """What registries call this execution."""
        return f"{self.job_id}:{self.execution_id}"

    @property
    def is_running(self) -> bool:
        """Whether it still runs."""
        return self.task is not None and not self.task.done()

    def number(self, name: str, default: int) -> int:
        """A field that holds a whole number."""
        value = self.options.get(name)
        return int(value) if value is not None else default

    def interrupt(self, reason: Reason) -> None:
        """Cancel it. The first reason counts."""
        if self.task is not None and self.interrupted is None:
            self.interrupted = reason
            self.task.cancel()


class Deliveries:
    """The deliveries of a worker: running, or ended and not yet confirmed.

    Args:
        concurrency: How many may run at once.
    """

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._held: dict[str, Delivery] = {}
        self._running = 0
        self._changed = asyncio.Event()

    def __iter__(self) -> Iterator[Delivery]:
        return iter(tuple(self._held.values()))

    def __len__(self) -> int:
        return len(self._held)

    @property
    def running(self) -> int:
        """How many run."""
        return self._running

    @property
    def free(self) -> int:
        """How many more may be claimed now."""
        return min(self._concurrency - self._running, self._concurrency + UNCONFIRMED - len(self._held))

    def get(self, member: str) -> Delivery | None:
        """The one that registries call ``member``."""
        return self._held.get(member)

    def add(self, delivery: Delivery) -> None:
        """A claimed one begins to run."""
        self._held[delivery.member] = delivery
        self._running += 1

    def ended(self) -> None:
        """One has ended; it is still held."""
        self._running -= 1
        self._changed.set()

    def confirm(self, delivery: Delivery) -> None:
        """Redis knows of its end."""
        self._held.pop(delivery.member, None)
        self._changed.set()

    async def wait_for_change(self) -> None:
        """Return when one ends or is confirmed."""
        self._changed.clear()
        await self._changed.wait()

    async def wait_until_free(self) -> None:
        """Return when more may be claimed."""
        while self.free <= 0:
            await self.wait_for_change()

    async def wait_until_idle(self) -> None:
        """Return when none runs."""
        while self._running:
            await self.wait_for_change()
