"""Claimer: takes waiting jobs whenever slots are free."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

from dataflow.errors import BrokerUnavailableError
from dataflow.jobs.scripts import Argument
from dataflow.jobs.times import now_text
from worker.deliveries import Deliveries, Delivery
from worker.link import Link, load_script, pause
from worker.options import WorkerOptions
from worker.run import FIELDS
from worker.service import Service
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
            for queue, job_id, execution_id, data, *values in jobs:
                options = {name: value for name, value in zip(FIELDS, values, strict=True) if value}
                self._begin(Delivery(queue.decode(), job_id.decode(), execution_id.decode(), data, options))
            if suspended and not self._options.burst:
                await asyncio.sleep(SUSPENDED_WAIT)
            elif not jobs:
                await self._idle(held)

    async def _claim(self, wanted: int) -> Any:
        options = self._options
        arguments: list[Argument] = [
            options.name,
            wanted,
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

    async def _return_orphans(self) -> None:
        """Give back jobs whose claim succeeded without our learning of it."""
        held = [delivery.member for delivery in self._deliveries]
        await self._link.insist(_RELEASE, [self._options.name, *held])
        self._unanswered = False

    async def _idle(self, held: int) -> None:
        """Wait for jobs; ``held`` is how many were held when the queues were found empty."""
        if not self._options.burst or held == 0:
            self.exhausted.set()
            await self._waker.wait()
        elif len(self._deliveries) == held:
            await self._deliveries.wait_for_change()

    async def stop(self) -> None:
        await super().stop()
        if self._unanswered:
            await self._return_orphans()
