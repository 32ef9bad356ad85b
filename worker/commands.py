"""Commands: what RQ's tools and ours tell a running worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec
from redis.exceptions import RedisError

from dataflow.jobs import keys
from dataflow.jobs.broker import REPLY_TIMEOUT, Broker
from dataflow.services.link import Link, passes, pause
from dataflow.services.service import Service
from worker.deliveries import Deliveries, Reason

logger = logging.getLogger("dataflow.worker")

#: Seconds to wait for a message before the connection is checked.
_CHECK = 5.0


class Commands(Service):
    """Carries out ``shutdown``, ``stop-job`` and ``stop-execution``, as RQ's ``send_…_command`` functions send them.
    ``drain`` is ours.

    Args:
        broker: Where the queues live.
        link: The worker's connection, told when the server does not answer.
        worker: The worker's name.
        deliveries: Those held.
        shut_down: Ends the worker.
        drain: Ends it when what runs has finished.
    """

    def __init__(
        self,
        broker: Broker,
        link: Link,
        worker: str,
        deliveries: Deliveries,
        shut_down: Callable[[], None],
        drain: Callable[[], None],
    ) -> None:
        super().__init__()
        self._broker = broker
        self._link = link
        self._channel = keys.pubsub(worker)
        self._deliveries = deliveries
        self._shut_down = shut_down
        self._drain = drain

    async def run(self) -> None:
        attempt = 0
        while True:
            try:
                await self._listen()
            except (RedisError, TimeoutError) as error:
                if not passes(error):
                    raise
                self._link.lost(error)
                await pause(attempt)
                attempt += 1

    async def _listen(self) -> None:
        client = await self._broker.open()
        try:
            async with client.pubsub(ignore_subscribe_messages=True) as channel:
                await channel.subscribe(self._channel)
                while True:
                    message = await channel.get_message(timeout=_CHECK)
                    if message is None:
                        async with asyncio.timeout(REPLY_TIMEOUT):
                            await channel.ping()
                    elif message["type"] == "message":
                        self._obey(message["data"])
        finally:
            await client.aclose()

    def _obey(self, data: bytes) -> None:
        try:
            command = msgspec.json.decode(data, type=dict[str, object])
        except msgspec.DecodeError:
            logger.warning("Ignored a command that cannot be read: %r", data[:100])
            return
        name = command.get("command")
        if name == "shutdown":
            self._shut_down()
        elif name == "drain":
            self._drain()
        elif name == "stop-job":
            self._stop(lambda job_id, _: job_id == command.get("job_id"))
        elif name == "stop-execution":
            self._stop(lambda _, execution_id: execution_id == command.get("execution_id"))
        else:
            logger.warning("Ignored the command %r.", name)

    def _stop(self, is_meant: Callable[[str, str], bool]) -> None:
        for delivery in self._deliveries:
            if is_meant(delivery.job_id, delivery.execution_id):
                delivery.interrupt(Reason.STOPPED)
