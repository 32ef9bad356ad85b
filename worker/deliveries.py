"""Delivery: one claimed job. Deliveries: those that a worker holds, and how many more it may take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from heapq import heappop, heappush
from itertools import count
from typing import Any

from dataflow.nodes.ledger import RunRecord
from worker.options import WorkerOptions

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
        progress: Node id → [state, started, ended], as Unix times; where its code has told how far it is, with
            [done, total, note, told] after them.
        has_news: Whether its progress changed since it was last written.
        started: When it began to run, as a Unix time.
        task: What runs it; None when it has ended.
        interrupted: Why it was interrupted, if it was.
        record: What the job remembers of its effects, where they must happen once.
        workflow: Name of the workflow that it runs; empty until it is read.
        turn: Done when it may run; None where it did not have to wait.
    """

    queue: str
    job_id: str
    execution_id: str
    data: bytes
    options: dict[str, bytes]
    progress: dict[str, list[str | float | None]] = field(default_factory=dict)
    has_news: bool = False
    started: float = field(default_factory=time.time)
    task: asyncio.Task[Any] | None = None
    interrupted: Reason | None = None
    record: RunRecord | None = None
    workflow: str = ""
    turn: asyncio.Future[None] | None = None

    @property
    def member(self) -> str:
        """What registries call this execution."""
        return f"{self.job_id}:{self.execution_id}"

    @property
    def is_running(self) -> bool:
        """Whether it still runs."""
        return self.task is not None and not self.task.done()

    def number(self, name: str, default: int) -> int:
        """A field that holds a whole number; ``default`` where there is none, or something else in its place."""
        text = self.options.get(name)
        if text is None:
            return default
        try:
            return int(text)
        except ValueError:
            return default

    def interrupt(self, reason: Reason) -> None:
        """Cancel it. The first reason counts."""
        if self.task is not None and self.interrupted is None:
            self.interrupted = reason
            self.task.cancel()


class Deliveries:
    """The deliveries of a worker: waiting for their turn, running, or ended and not yet confirmed.

    Args:
        options: How many may run at once, how many of each queue, and how many more may be claimed ahead.
        stuck: How many of the slots are taken by threads whose run is over.
    """

    def __init__(self, options: WorkerOptions, stuck: Callable[[], int] = lambda: 0) -> None:
        self._concurrency = options.concurrency
        self._stuck = stuck
        self._most = options.concurrency + options.prefetch
        self._limits = options.limits
        self._ranks = {queue: rank for rank, queue in enumerate(options.queues)}
        self._held: dict[str, Delivery] = {}
        self._unfinished = 0
        self._running = 0
        #: Unfinished ones of queues with a limit.
        self._of_queue = dict.fromkeys(options.limits, 0)
        #: Those that wait for their turn, by the order of their queues, then of their coming.
        self._line: list[tuple[int, int, Delivery]] = []
        self._number = count()
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
    def waiting(self) -> int:
        """How many are claimed and wait for their turn."""
        return self._unfinished - self._running

    @property
    def free(self) -> int:
        """How many more may be claimed now."""
        stuck = self._stuck()
        if stuck >= self._concurrency:
            return 0  # nothing that is claimed ahead would get its turn
        return min(self._most - self._unfinished - stuck, self._most + UNCONFIRMED - len(self._held))

    def free_of(self, queue: str) -> int | None:
        """How many more of a queue may be claimed now; None where it has no limit of its own."""
        limit = self._limits.get(queue)
        return None if limit is None else limit - self._of_queue[queue]

    @property
    def _has_slot(self) -> bool:
        return self._running + self._stuck() < self._concurrency

    def get(self, member: str) -> Delivery | None:
        """The one that registries call ``member``."""
        return self._held.get(member)

    def add(self, delivery: Delivery) -> None:
        """A claimed one begins to run, or to wait for its turn."""
        self._held[delivery.member] = delivery
        self._unfinished += 1
        if delivery.queue in self._of_queue:
            self._of_queue[delivery.queue] += 1
        if self._has_slot:
            self._running += 1
        else:
            delivery.turn = asyncio.get_running_loop().create_future()
            heappush(self._line, (self._ranks[delivery.queue], next(self._number), delivery))

    def ended(self, delivery: Delivery) -> None:
        """One has ended, or was interrupted before its turn; it is still held."""
        self._unfinished -= 1
        if delivery.queue in self._of_queue:
            self._of_queue[delivery.queue] -= 1
        turn = delivery.turn
        if turn is None or (turn.done() and not turn.cancelled()):
            self._running -= 1
            self._start_next()
        else:
            turn.cancel()  # a task that is cancelled before its first step leaves it open
        self._changed.set()

    def _start_next(self) -> None:
        while self._line and self._has_slot:
            turn = heappop(self._line)[2].turn
            if turn is not None and not turn.done():
                turn.set_result(None)
                self._running += 1

    def confirm(self, delivery: Delivery) -> None:
        """Redis knows of its end."""
        self._held.pop(delivery.member, None)
        self._changed.set()

    def slot_freed(self) -> None:
        """A thread that was stuck is free again."""
        self._start_next()
        self._changed.set()

    def give_back(self, *, only_waiting: bool = False) -> int:
        """Interrupt what runs or waits, or only what waits, to be given back; how many those are."""
        for delivery in self:
            if not only_waiting or (delivery.turn is not None and not delivery.turn.done()):
                delivery.interrupt(Reason.GIVEN_BACK)
        return self.waiting if only_waiting else self._unfinished

    async def wait_for_change(self) -> None:
        """Return when one ends or is confirmed, or a stuck slot is free again."""
        self._changed.clear()
        await self._changed.wait()

    async def wait_until_free(self) -> None:
        """Return when more may be claimed."""
        while self.free <= 0:
            await self.wait_for_change()

    async def wait_until_idle(self) -> None:
        """Return when none runs or waits."""
        while self._unfinished:
            await self.wait_for_change()
