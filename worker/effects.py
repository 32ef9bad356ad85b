"""Effects: which jobs have a run ledger, and clearing away its entries when they are no longer needed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from itertools import islice

from dataflow.errors import BreakerOpenError, DatabaseError
from dataflow.nodes.ledger import Entry, Ledger, RunRecord
from dataflow.runtime.ledger import CodecRecord
from dataflow.services.service import Service
from worker.deliveries import Delivery

logger = logging.getLogger("dataflow.worker")

#: Seconds between removals: finished jobs gather meanwhile, so that one statement serves many.
PAUSE = 0.2
#: Entries removed at once, at most.
MOST = 2_000
#: Seconds between sweeps of a ledger.
SWEEP_EVERY = 3_600.0
#: Seconds that the last removals may take when the worker ends; what is left then is swept later.
FLUSH_TIME = 2.0
#: What keeps entries where they are until they are swept.
UNANSWERED = (DatabaseError, BreakerOpenError)


def record_of(delivery: Delivery) -> RunRecord:
    """What a job remembers of its effects.

    The ledger knows a job by the token of the call that enqueued it, since a job id may be used again. A repeated job
    counts its runs down; each is a run of its own.
    """
    options = delivery.options
    run = options.get("x_token", b"").decode()
    if not run:  # enqueued by another program
        run = f"{delivery.job_id}@{options.get('created_at', b'').decode()}"
    if "repeats_left" in options:
        run = f"{run}.{options['repeats_left'].decode()}"
    return CodecRecord(run, again="x_claimed" in options)


class Effects(Service):
    """Removes the ledger entries of jobs that cannot be started again.

    Those of a job that finished when it was started for the first time go at once. A job that was started before may
    have another worker that only seems dead and is about to commit, and must find the entry then: such entries, and
    those of jobs that failed, stay until they are old.

    Args:
        kept: Seconds after which any entry is removed.
    """

    def __init__(self, kept: float) -> None:
        super().__init__()
        self._kept = kept
        self._waiting: deque[tuple[Ledger, Entry]] = deque()
        self._arrived = asyncio.Event()
        #: Ledger → when it is swept next, on the monotonic clock.
        self._sweeps: dict[Ledger, float] = {}

    def finished(self, delivery: Delivery) -> None:
        """The results of a job are recorded."""
        record = delivery.record
        if record is None or not record.written:
            return
        for ledger, _ in record.written:
            self._sweeps.setdefault(ledger, 0.0)
        if not record.again:
            self._waiting.extend(record.written)
        self._arrived.set()

    async def run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            await self._sweep()
            while self._waiting:
                if len(self._waiting) < MOST:
                    await asyncio.sleep(PAUSE)
                await self._remove()

    async def stop(self) -> None:
        await super().stop()
        try:
            async with asyncio.timeout(FLUSH_TIME):
                while self._waiting:
                    await self._remove()
        except TimeoutError:
            logger.warning("Left %d entries of the run ledger to be swept.", len(self._waiting))

    async def _remove(self) -> None:
        batch = list(islice(self._waiting, MOST))
        by_ledger: dict[Ledger, list[Entry]] = {}
        for ledger, entry in batch:
            by_ledger.setdefault(ledger, []).append(entry)
        for ledger, entries in by_ledger.items():
            try:
                await ledger.forget(entries)
            except UNANSWERED as error:
                logger.warning("Left %d entries of the run ledger to be swept: %s", len(entries), error)
        # Only now: a removal that stop() cancels is made up for there.
        for _ in batch:
            self._waiting.popleft()

    async def _sweep(self) -> None:
        now = time.monotonic()
        for ledger, due in self._sweeps.items():
            if now < due:
                continue
            self._sweeps[ledger] = now + SWEEP_EVERY
            try:
                removed = await ledger.sweep(self._kept)
            except UNANSWERED as error:
                logger.warning("Could not sweep the run ledger: %s", error)
                continue
            if removed:
                logger.info("Removed %d old entries of the run ledger.", removed)
