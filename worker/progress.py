"""ProgressWriter: tells those who watch how far long jobs are."""

from __future__ import annotations

import asyncio
import time

import msgspec

from dataflow.errors import BrokerUnavailableError
from dataflow.jobs.scripts import Argument
from dataflow.services.link import Link, pause
from dataflow.services.service import Service
from worker.deliveries import Deliveries, Delivery
from worker.scripts import load_script

_PROGRESS = load_script("progress")

#: Seconds between writes. A job that ends sooner is written once, with its end.
INTERVAL = 0.1


class ProgressWriter(Service):
    """Writes the progress of running jobs, all that changed at once, at most ten times a second.

    Args:
        link: The connection.
        deliveries: Those held.
    """

    def __init__(self, link: Link, deliveries: Deliveries) -> None:
        super().__init__()
        self._link = link
        self._deliveries = deliveries
        self._changed: dict[str, Delivery] = {}
        self._arrived = asyncio.Event()

    def note(self, delivery: Delivery) -> None:
        """A node of a job began or ended."""
        self._changed[delivery.member] = delivery
        self._arrived.set()

    async def run(self) -> None:
        while True:
            await self._arrived.wait()
            await asyncio.sleep(INTERVAL)
            self._arrived.clear()
            changed, self._changed = self._changed, {}
            oldest = time.time() - INTERVAL / 2
            long_ones: list[Delivery] = []
            for member, item in changed.items():
                if not self._is_running(member):
                    continue
                if item.started < oldest:
                    long_ones.append(item)
                else:
                    # It may still turn out to be long, and then nothing else would tell of what it has begun.
                    self.note(item)
            if long_ones:
                await self._write(long_ones)

    def _is_running(self, member: str) -> bool:
        delivery = self._deliveries.get(member)
        return delivery is not None and delivery.is_running

    async def _write(self, deliveries: list[Delivery]) -> None:
        arguments: list[Argument] = []
        for item in deliveries:
            arguments += (item.job_id, item.execution_id, item.queue, msgspec.json.encode(item.progress))
        try:
            await self._link.call(_PROGRESS, arguments)
        except BrokerUnavailableError:
            await pause(0)  # the next change, or the end, tells the same and more
