"""ProgressWriter: tells those who watch how far long jobs are. Reports: what running code says of that."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import msgspec

from dataflow.errors import BrokerUnavailableError
from dataflow.jobs.scripts import Argument
from dataflow.nodes.current import Report
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


class Reports:
    """Takes what the code of nodes says of its progress, on the event loop or in any thread.

    Args:
        noted: Told, on the loop, that a job has something new; once for all that is said before it looks.
    """

    def __init__(self, noted: Callable[[Delivery], None]) -> None:
        self._noted = noted
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._pending: set[Delivery] = set()

    def of(self, delivery: Delivery) -> Report:
        """What a job's code tells; asked for on the loop."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.get_ident()
        return partial(self._take, delivery)

    def _take(self, delivery: Delivery, node_id: str, done: float, total: float | None, note: str) -> None:
        # First what is said, then the look whether word of it is on its way: so the last word is never left behind.
        delivery.progress[node_id][3:] = (done, total, note, time.time())
        if threading.get_ident() == self._thread:
            self._noted(delivery)
        elif delivery not in self._pending:
            self._pending.add(delivery)
            assert self._loop is not None
            with suppress(RuntimeError):  # the worker has ended, and this thread not
                self._loop.call_soon_threadsafe(self._tell, delivery)

    def _tell(self, delivery: Delivery) -> None:
        self._pending.discard(delivery)
        self._noted(delivery)
