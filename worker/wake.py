"""Waker: tells an idle worker that a queue has jobs, without asking again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from redis.asyncio import Redis

from dataflow.jobs import keys
from dataflow.jobs.broker import Broker
from worker.link import PASSING, Link, pause
from worker.service import Service

#: Seconds that one wait lasts before it is renewed.
WAIT = 5.0
#: Seconds to wait for its reply: longer than the wait, so that only a dead connection exceeds it.
_REPLY_TIMEOUT = 2 * WAIT


class Waker(Service):
    """Waits for the first job of any queue.

    It moves the head of a list onto the same place, blocking while the list is empty: nothing leaves the list, so
    nothing can be lost, whoever dies at whatever moment. RQ's own producers wake it too. There is one connection per
    queue, and it is silent while the worker is busy.

    Args:
        broker: Where the queues live.
        link: The worker's connection, told when the server does not answer.
        queues: Names of the queues.
    """

    def __init__(self, broker: Broker, link: Link, queues: Sequence[str]) -> None:
        super().__init__()
        self._broker = broker
        self._link = link
        self._queues = queues
        self._asked = asyncio.Event()
        self._woken = asyncio.Event()

    async def wait(self) -> None:
        """Return when a queue has jobs; possibly when another worker has just taken them."""
        self._woken.clear()
        self._asked.set()
        await self._woken.wait()

    def wake(self) -> None:
        """End a wait."""
        self._asked.clear()
        self._woken.set()

    async def run(self) -> None:
        client = await self._broker.open()
        try:
            await asyncio.gather(*(self._watch(client, keys.queue(queue)) for queue in self._queues))
        finally:
            await client.aclose()

    async def _watch(self, client: Redis, key: str) -> None:
        attempt = 0
        while True:
            await self._asked.wait()
            try:
                async with asyncio.timeout(_REPLY_TIMEOUT):
                    head = await client.blmove(key, key, WAIT, "LEFT", "LEFT")  # type: ignore[arg-type]
            except (*PASSING, TimeoutError) as error:
                self._link.lost(error)
                await pause(attempt)
                attempt += 1
                continue
            attempt = 0
            if head is not None:
                self.wake()
