"""Due: queues scheduled jobs when their time has come."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from dataflow.errors import BrokerUnavailableError
from dataflow.jobs.scripts import Script
from dataflow.jobs.times import now_text
from dataflow.services.link import Link, pause
from dataflow.services.service import Service

_DUE = Script(Path(__file__).parent / "lua" / "due.lua")

#: Jobs moved in one call and queue, at most.
MOST = 1_000
#: Seconds between looks, at most: a job may have been scheduled for sooner than the next that was known.
LONGEST_WAIT = 0.5
#: Seconds between looks, at least.
SHORTEST_WAIT = 0.005


class Due(Service):
    """Moves scheduled jobs (delayed ones, and retries with an interval) to their queues, by the clock of the server.

    Any number of processes may do so at once. Queues that RQ's own scheduler serves are left to it.

    Args:
        link: The connection.
        queues: Names of the queues; none for all that there are.
    """

    def __init__(self, link: Link, queues: Sequence[str] = ()) -> None:
        super().__init__()
        self._link = link
        self._queues = queues

    async def start(self) -> None:
        # What is due already must be in its queue before a burst finds the queues empty.
        await self._move()
        await super().start()

    async def run(self) -> None:
        attempt = 0
        while True:
            try:
                await asyncio.sleep(await self._move())
                attempt = 0
            except BrokerUnavailableError:
                await pause(attempt)
                attempt += 1

    async def _move(self) -> float:
        """Move what is due; returns seconds until the next look."""
        answer = await self._link.call(_DUE, [now_text(), MOST, *self._queues])
        next_due = float(answer[1])
        return LONGEST_WAIT if next_due < 0 else min(LONGEST_WAIT, max(SHORTEST_WAIT, next_due / 1000))
