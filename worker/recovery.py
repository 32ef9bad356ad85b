"""Recovery: gives the jobs of dead workers back to their queues."""

from __future__ import annotations

import asyncio
import logging
import random
import time

import msgspec

from dataflow.errors import BrokerUnavailableError
from dataflow.jobs.scripts import Argument
from dataflow.jobs.times import now_text
from dataflow.services.link import Link, pause
from dataflow.services.service import Service
from worker.options import WorkerOptions
from worker.outcome import FAILURE_TTL, pack_text
from worker.scripts import load_script

logger = logging.getLogger("dataflow.worker")

_RECOVER = load_script("recover")
_FORMER = load_script("former")


class Recovery(Service):
    """Looks for workers whose lease has run out. Any number of workers may look at once: each death is found once.

    Args:
        link: The connection.
        options: The worker's.
    """

    def __init__(self, link: Link, options: WorkerOptions) -> None:
        super().__init__()
        self._link = link
        self._options = options
        count = options.max_deliveries
        message = f"The job was delivered {count} times, and each time the worker that ran it died."
        facts = {"message": message, "type": "PoisonJob", "code": "poison", "node_id": None, "node_type": None}
        self._poison = (pack_text(message), msgspec.json.encode(facts))

    async def start(self) -> None:
        # A process of the same name may have been killed (--name, and a supervisor that restarts it): our signs of life
        # would keep its lease, so its jobs would never be missed.
        await self._link.call(_FORMER, [self._options.name])
        await self._recover()
        await super().start()

    async def run(self) -> None:
        while True:
            try:
                if self._may_judge():
                    await self._recover()
            except BrokerUnavailableError:
                await pause(0)
            await asyncio.sleep(self._options.heartbeat_interval * random.uniform(0.8, 1.2))

    def _may_judge(self) -> bool:
        """After an outage everybody's lease has run out; the living are given time to renew theirs."""
        down_at = self._link.down_at
        return not self._link.down and (down_at is None or time.monotonic() - down_at > self._options.lease)

    async def _recover(self) -> None:
        arguments: list[Argument] = [now_text(), self._options.max_deliveries, FAILURE_TTL, *self._poison]
        for worker, *job in await self._link.call(_RECOVER, arguments):
            if not job:
                logger.warning("Worker %s is dead: its lease has run out.", worker.decode())
            elif job[1] == b"queued":
                logger.warning("Job %s of dead worker %s is queued again.", job[0].decode(), worker.decode())
            else:
                logger.error("Job %s failed: too many workers died with it.", job[0].decode())
