"""StreamLink: a reader's own connection to Redis; it waits for events, and for a server that is away."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from dataflow.errors import BrokerUnavailableError
from dataflow.jobs import Broker
from dataflow.jobs.broker import REPLY_TIMEOUT, unavailable
from dataflow.jobs.scripts import Argument

if TYPE_CHECKING:
    from redis.asyncio import Redis

logger = logging.getLogger("dataflow.events")

Command = tuple[Argument, ...]


class StreamLink:
    """Args:
    broker: Where the streams are.

    Attributes:
        lost: How often the server went away.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._client: Redis | None = None
        self.lost = 0

    async def send(self, *commands: Command, blocks: float = 0.0) -> list[Any]:
        """Send commands as one message; their replies. They may be carried out though an error is raised.

        Args:
            commands: What to send; no transaction.
            blocks: Seconds that they may wait for something by themselves.

        Raises:
            BrokerUnavailableError: For now the server cannot be used.
            redis.RedisError: It refused a command for another reason.
        """
        from redis.exceptions import RedisError

        from dataflow.services.link import passes

        if self._client is None:
            self._client = await self._broker.open()
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            # redis-py reads a reply to XPENDING as one with details only if it is told so.
            options = {"parse_detail": True} if command[0] == "XPENDING" else {}
            pipeline.execute_command(*command, **options)
        try:
            async with asyncio.timeout(blocks + REPLY_TIMEOUT):
                replies = await pipeline.execute(raise_on_error=False)
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
        except (RedisError, TimeoutError, OSError) as error:
            if not passes(error):
                raise
            await self.close()
            raise unavailable(self._broker.masked_url, error) from error
        return list(replies)

    async def insist(self, *commands: Command, blocks: float = 0.0) -> list[Any]:
        """The same, again and again until the server can be used: for commands that may be sent twice."""
        from dataflow.services.link import pause

        attempt = 0
        while True:
            try:
                replies = await self.send(*commands, blocks=blocks)
            except BrokerUnavailableError as error:
                if not attempt:
                    self.lost += 1
                    logger.warning("A reader of events waits for Redis: %s", error)
                await pause(attempt)
                attempt += 1
                continue
            if attempt:
                logger.warning("A reader of events goes on: the broker at %s is back.", self._broker.masked_url)
            return replies

    async def close(self) -> None:
        """Disconnect; the next call connects again."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()
