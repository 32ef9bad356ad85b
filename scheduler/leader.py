"""Leader: one of several schedulers does the work, the others stand by."""

from __future__ import annotations

import asyncio
import logging

from dataflow.errors import BrokerUnavailableError
from dataflow.services.link import Link, pause
from dataflow.services.service import Service
from scheduler.scripts import LEAD

logger = logging.getLogger("dataflow.scheduler")


class Leader(Service):
    """Holds the lead, or waits for it.

    A scheduler that starts takes the lead from the one that has it, so that of a rolling deployment the new code leads.
    The lead only saves work: two that lead at once, as after a lost connection, do no harm (``tick.lua``).

    Args:
        link: The connection.
        owner: Name of the instance whose schedules are led.
        name: The scheduler's.
        lock_time: Seconds after which the lead of one that is silent ends.
    """

    def __init__(self, link: Link, owner: str, name: str, lock_time: float) -> None:
        super().__init__()
        self._link = link
        self._owner = owner
        self._name = name
        self._lock_time = lock_time
        #: Set while this scheduler leads.
        self.leads = asyncio.Event()

    async def start(self) -> None:
        await self._ask("take")
        await super().start()

    async def run(self) -> None:
        attempt = 0
        while True:
            try:
                left = await self._ask("keep")
                attempt = 0
            except BrokerUnavailableError:
                await pause(attempt)
                attempt += 1
                continue
            # One that ends in good order leaves its lead, which nobody announces.
            await asyncio.sleep(self._lock_time / 3 if self.leads.is_set() else min(left, self._lock_time / 5))

    async def stop(self) -> None:
        await super().stop()
        if self.leads.is_set():
            self.leads.clear()
            try:
                await self._ask("leave")
            except BrokerUnavailableError:
                logger.warning("Ended without leaving the lead; another takes it within %g s.", self._lock_time)

    async def _ask(self, what: str) -> float:
        """Take, keep or leave the lead; returns seconds until it ends."""
        leads, milliseconds = await self._link.call(LEAD, [self._owner, self._name, int(self._lock_time * 1000), what])
        if leads and not self.leads.is_set():
            logger.info("Leads the schedules of %s.", self._owner)
            self.leads.set()
        elif not leads and self.leads.is_set():
            logger.info("Another scheduler leads the schedules of %s; this one stands by.", self._owner)
            self.leads.clear()
        return max(0.0, float(milliseconds) / 1000) + 0.001
