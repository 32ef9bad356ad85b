"""Turns: lets ordering keys go on whose job ended without a word to us."""

from __future__ import annotations

import asyncio
import logging
import random

from dataflow.errors import BrokerUnavailableError
from dataflow.jobs.times import now_text
from dataflow.services.link import Link, pause
from dataflow.services.service import Service
from worker.options import WorkerOptions
from worker.scripts import load_script

logger = logging.getLogger("dataflow.worker")

_TURNS = load_script("turns")

#: Keys looked at in one call, at most.
MOST = 1_000


class Turns(Service):
    """Looks at the first job of each ordering key once per heartbeat, however many workers there are.

    Our own workers give the turn on as they record an end; this is for ends that others made: RQ's workers and tools,
    a job's ttl, a worker that died after its job was canceled.

    Args:
        link: The connection.
        options: The worker's.
    """

    def __init__(self, link: Link, options: WorkerOptions) -> None:
        super().__init__()
        self._link = link
        self._interval = options.heartbeat_interval

    async def start(self) -> None:
        # What may go on must be in its queue before a burst finds the queues empty.
        await self._look(0)
        await super().start()

    async def run(self) -> None:
        attempt = 0
        while True:
            try:
                looked = await self._look(self._interval)
                attempt = 0
            except BrokerUnavailableError:
                await pause(attempt)
                attempt += 1
                continue
            if looked < MOST:
                await asyncio.sleep(self._interval * random.uniform(0.4, 0.6))

    async def _look(self, serves: float) -> int:
        """Look at keys that nobody has looked at for ``serves`` seconds; returns how many."""
        looked, passed = await self._link.call(_TURNS, [now_text(), serves, MOST])
        if passed:
            logger.info("%d job(s) with an ordering key had ended elsewhere; the next of their keys go on.", passed)
        return int(looked)
