"""Waker: tells an idle worker that a queue has jobs, without asking again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError

from dataflow.jobs import keys
from dataflow.jobs.broker import Broker
from dataflow.services.link import Link, passes, pause
from dataflow.services.service import Service

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
        #: By queue, whether its jobs are waited for.
        self._asked = {queue: asyncio.Event() for queue in queues}
        self._woken = asyncio.Event()

    async def wait(self, without: Collection[str] = ()) -> None:
        """Return when a queue has jobs; possibly when another worker has just taken them.

        Args:
            without: Queues that do not matter now.
        """
        self._woken.clear()
        for queue, asked in self._asked.items():
            if queue not in without:
                asked.set()
            else:
                asked.clear()
        await self._woken.wait()

    def wake(self) -> None:
        """End a wait."""
        for asked in self._asked.values():
            asked.clear()
        self._woken.set()

    async def run(self) -> None:
        client = await self._broker.open()
        try:
            await asyncio.gather(*(self._watch(client, queue) for queue in self._asked))
        finally:
            await client.aclose()

    async def _watch(self, client: Redis, queue: str) -> None:
        key, asked = keys.queue(queue), self._asked[queue]
        attempt = 0
        while True:
            await asked.wait()
            try:
                async with asyncio.timeout(_REPLY_TIMEOUT):
                    head = await client.blmove(key, key, WAIT, "LEFT", "LEFT")  # type: ignore[arg-type]
            except (RedisError, TimeoutError) as error:
                if not passes(error):
                    raise
                self._link.lost(error)
                await pause(attempt)
                attempt += 1
                continue
            attempt = 0
            if head is not None and asked.is_set():
                self.wake()
