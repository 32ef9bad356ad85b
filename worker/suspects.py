"""Suspects: jobs that a worker died with run so that it shows which of them kills."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dataflow.services.link import Link
from worker.deliveries import Delivery
from worker.scripts import load_script

_BEGUN = load_script("begun")


class Suspects:
    """A worker that dies takes all its running jobs with it, and one of them may be the reason.

    Those that are delivered again are marked when they really begin, so that ``recover.lua`` counts the next death
    only against jobs that ran; and those whose next death would be the last allowed run one after the other, so that
    it can only be the culprit that reaches the limit. All other jobs know nothing of this.

    Args:
        link: The connection.
        allowed: Workers that may die with a job before the job fails.
    """

    def __init__(self, link: Link, allowed: int) -> None:
        self._link = link
        self._allowed = allowed
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def watched(self, delivery: Delivery) -> AsyncIterator[None]:
        """Around the run of a job that a worker died with; waits for its turn where it must be alone."""
        if delivery.number("x_deliveries", 0) + 1 < self._allowed:
            await self._mark(delivery)
            yield
            return
        async with self._turn:
            await self._mark(delivery)
            yield

    async def _mark(self, delivery: Delivery) -> None:
        await self._link.insist(_BEGUN, [delivery.job_id, delivery.execution_id])
