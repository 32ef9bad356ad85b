"""Finisher: records how jobs ended, many at once."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable
from itertools import chain

from dataflow.jobs.times import now_text
from dataflow.services.link import Link
from dataflow.services.service import Service
from worker.deliveries import Deliveries, Delivery
from worker.outcome import Outcome
from worker.scripts import load_script
from worker.tally import Tally

logger = logging.getLogger("dataflow.worker")

_FINISH = load_script("finish")

#: Ends recorded in one call, at most.
BATCH = 200
#: Bytes of results in one call, about.
BATCH_BYTES = 4 * 1024 * 1024


class Finisher(Service):
    """Records outcomes. What ends while a call is under way goes into the next, so nothing waits for company.

    Args:
        link: The connection.
        worker: The worker's name.
        deliveries: Those held; confirmed here.
        finished: Told of each job whose results are recorded.
        tally: Counts what was recorded.
    """

    def __init__(
        self, link: Link, worker: str, deliveries: Deliveries, finished: Callable[[Delivery], None], tally: Tally
    ) -> None:
        super().__init__()
        self._link = link
        self._worker = worker
        self._deliveries = deliveries
        self._finished = finished
        self._tally = tally
        self._waiting: deque[Outcome] = deque()
        self._arrived = asyncio.Event()
        self._under_way = False
        #: Jobs recorded, by how they ended.
        self.counts = Counter({"done": 0, "failed": 0, "stopped": 0, "retry": 0, "back": 0})

    def report(self, outcome: Outcome) -> None:
        """Hand over how a job ended."""
        self._waiting.append(outcome)
        self._arrived.set()

    async def flush(self) -> None:
        """Return when everything handed over is recorded."""
        while self._waiting or self._under_way:
            await self._deliveries.wait_for_change()

    async def run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                self._under_way = True
                await self._record(self._next_batch())
                self._under_way = False

    def _next_batch(self) -> list[Outcome]:
        batch: list[Outcome] = []
        size = 0
        while self._waiting and len(batch) < BATCH and size < BATCH_BYTES:
            batch.append(self._waiting.popleft())
            size += len(batch[-1].value)
        return batch

    async def _record(self, batch: list[Outcome]) -> None:
        arguments = chain.from_iterable(outcome.arguments() for outcome in batch)
        recorded = await self._link.insist(_FINISH, [self._worker, now_text(), *arguments])
        for outcome, ok in zip(batch, recorded, strict=True):
            if ok:
                self.counts[outcome.kind] += 1
                self._tally.observe(outcome)
                if outcome.kind == "done":
                    self._finished(outcome.delivery)
            else:
                logger.warning(
                    "The end of job %s (%s) was not recorded: it is no longer this worker's.",
                    outcome.delivery.job_id,
                    outcome.kind,
                )
            self._deliveries.confirm(outcome.delivery)
