"""Claimer: takes waiting jobs whenever slots are free."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

from dataflow.errors import BrokerUnavailableError
from dataflow.jobs.scripts import Argument
from dataflow.jobs.times import now_text
from dataflow.services.link import Link, pause
from dataflow.services.service import Service
from worker.admission import FIELDS
from worker.deliveries import Deliveries, Delivery
from worker.options import WorkerOptions
from worker.scripts import load_script
from worker.wake import Waker

_CLAIM = load_script("claim")
_RELEASE = load_script("release")

#: Jobs claimed in one call, at most.
MOST = 200
#: Seconds between looks whether a suspension (``rq suspend``) is over.
SUSPENDED_WAIT = 1.0


class Claimer(Service):
    """Takes jobs, as many as there are slots free, in one call over all queues in their order.

    Args:
        link: The connection.
        options: The worker's.
        deliveries: Those held.
        waker: Waits while there is nothing.
        begin: Starts a claimed job.
    """

    def __init__(
        self,
        link: Link,
        options: WorkerOptions,
        deliveries: Deliveries,
        waker: Waker,
        begin: Callable[[Delivery], None],
    ) -> None:
        super().__init__()
        self._link = link
        self._options = options
        self._deliveries = deliveries
        self._waker = waker
        self._begin = begin
        #: A claim was sent, and what it took is not known yet.
        self._unanswered = False
        #: Set when the queues are empty and nothing runs; in a burst that is the end.
        self.exhausted = asyncio.Event()

    async def run(self) -> None:
        attempt = 0
        while True:
            await self._deliveries.wait_until_free()
            # Looked at before the claim: what ends while it is under way may put dependents into the queues.
            held = len(self._deliveries)
            try:
                suspended, *jobs = await self._claim(min(self._deliveries.free, MOST))
            except BrokerUnavailableError:
                await pause(attempt)
                attempt += 1
                await self._return_orphans()
                continue
            attempt = 0
            for queue, job_id, execution_id, (data, *values) in jobs:
                options = {name: value for name, value in zip(FIELDS, values, strict=True) if value}
                # An id that is no text was not made by RQ or us; it must not end the worker.
                job = job_id.decode(errors="replace")
                self._begin(Delivery(queue.decode(), job, execution_id.decode(), data, options))
            if suspended and not self._options.burst:
                await asyncio.sleep(SUSPENDED_WAIT)
            elif not jobs:
                await self._idle(held)

    async def _claim(self, wanted: int) -> Any:
        options = self._options
        arguments: list[Argument] = [
            options.name,
            self._most(wanted),
            options.abandoned_after,
            now_text(),
            secrets.token_hex(14),
            len(options.queues),
            *options.queues,
            "data",
            *FIELDS,
        ]
        self._unanswered = True
        answer = await self._link.call(_CLAIM, arguments)
        self._unanswered = False
        return answer

    def _most(self, wanted: int) -> str | int:
        """How many jobs to take in all and, where queues have limits, of each."""
        if not self._options.limits:
            return wanted
        rooms = (self._deliveries.free_of(queue) for queue in self._options.queues)
        return ",".join(str(number) for number in (wanted, *(wanted if room is None else room for room in rooms)))

    async def _return_orphans(self) -> None:
        """Give back jobs whose claim succeeded without our learning of it."""
        held = [delivery.member for delivery in self._deliveries]
        await self._link.insist(_RELEASE, [self._options.name, *held])
        self._unanswered = False

    async def _idle(self, held: int) -> None:
        """Wait for jobs; ``held`` is how many were held when the queues were found empty."""
        if not self._options.burst or held == 0:
            self.exhausted.set()
            await self._wait()
        elif len(self._deliveries) == held:
            await self._deliveries.wait_for_change()

    async def _wait(self) -> None:
        """Return when there may be jobs to claim. A queue at its limit is looked at when a job of it ends."""
        full = {queue for queue in self._options.limits if self._deliveries.free_of(queue) == 0}
        if not full:
            await self._waker.wait()
            return
        ends = {
            asyncio.create_task(self._waker.wait(without=full)),
            asyncio.create_task(self._deliveries.wait_for_change()),
        }
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()

    async def stop(self) -> None:
        await super().stop()
        if self._unanswered:
            await self._return_orphans()
