"""Sweeper: keeps the registries of ended jobs from growing for ever."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from dataflow.errors import BrokerUnavailableError
from dataflow.services.link import Link, pause
from dataflow.services.service import Service
from worker.scripts import load_script

_SWEEP = load_script("sweep")

#: Entries taken out of a registry in one call, at most.
MOST = 5_000
#: Seconds between looks where little has expired.
INTERVAL = 15.0
#: Seconds between looks where much has.
BUSY_INTERVAL = 0.2


class Sweeper(Service):
    """Takes expired jobs out of the registries of the worker's queues. Any number of workers may do so at once.

    Args:
        link: The connection.
        queues: Names of the queues.
    """

    def __init__(self, link: Link, queues: Sequence[str]) -> None:
        super().__init__()
        self._link = link
        self._queues = queues

    async def run(self) -> None:
        while True:
            taken = 0
            try:
                taken = await self._link.call(_SWEEP, [MOST, *self._queues])
            except BrokerUnavailableError:
                await pause(0)
            await asyncio.sleep((BUSY_INTERVAL if taken >= MOST else INTERVAL) * random.uniform(0.8, 1.2))
