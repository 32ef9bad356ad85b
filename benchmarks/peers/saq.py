"""SAQ. Each of its slots waits for a job on a connection of its own. No bulk form: ``Queue.map`` gathers, so do we."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import uvloop
from saq import Queue

from benchmarks.peers import core_insert
from benchmarks.peers.contract import AT_ONCE, REDIS_URL, Kind, do_nothing

# Its worker takes the loop of the policy.
asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


async def nothing(context: dict[str, Any], *, text: str) -> None:
    """A job that does nothing."""
    do_nothing()


async def insert(context: dict[str, Any], *, text: str) -> int:
    """A job that inserts one row."""
    return await core_insert.insert_order(context["database"], text)


async def _startup(context: dict[str, Any]) -> None:
    if core_insert.DATABASE_URL:
        context["database"] = core_insert.engine()


settings = {
    "queue": Queue.from_url(REDIS_URL),
    "functions": [nothing, insert],
    "concurrency": 20,
    "startup": _startup,
}


class SAQProducer:
    """See contract.Producer."""

    async def open(self) -> None:
        self.queue = Queue.from_url(REDIS_URL, max_concurrent_ops=AT_ONCE)
        await self.queue.connect()

    async def enqueue(self, kind: Kind, payload: str) -> None:
        await self.queue.enqueue(kind, text=payload)

    async def enqueue_many(self, kind: Kind, payloads: Sequence[str]) -> None:
        for start in range(0, len(payloads), AT_ONCE):
            await asyncio.gather(*(self.enqueue(kind, payload) for payload in payloads[start : start + AT_ONCE]))


producer = SAQProducer()
