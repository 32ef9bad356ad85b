"""ProgressWriter: tells those who watch how far long jobs are."""

from __future__ import annotations

import asyncio
import time

import msgspec

from dataflow.errors import BrokerUnavailableError
from dataflow.jobs.scripts import Argument
from worker.deliveries import Deliveries, Delivery
from worker.link import Link, load_script, pause
from worker.service import Service

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
        self._arrived = asyncio.Event()

    def note(self, delivery: Delivery) -> None:
        """A node of a job began or ended."""
        delivery.has_news = True
        self._arrived.set()

    async def run(self) -> None:
        while True:
            await self._arrived.wait()
            await asyncio.sleep(INTERVAL)
            self._arrived.clear()
            news = [item for item in self._deliveries if item.has_news and item.is_running]
            oldest = time.time() - INTERVAL / 2
            long_ones = [item for item in news if item.started < oldest]
            if len(long_ones) < len(news):
                # The others may still turn out to be long, and then nothing else would tell of what they have begun.
                self._arrived.set()
            if long_ones:
                await self._write(long_ones)

    async def _write(self, deliveries: list[Delivery]) -> None:
        arguments: list[Argument] = []
        for item in deliveries:
            item.has_news = False
            arguments += (item.job_id, item.execution_id, item.queue, msgspec.json.encode(item.progress))
        try:
            await self._link.call(_PROGRESS, arguments)
        except BrokerUnavailableError:
            await pause(0)  # the next change, or the end, tells the same and more
