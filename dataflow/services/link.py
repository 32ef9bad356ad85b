"""Link: the connection of a process to Redis, and what happens when it breaks."""

from __future__ import annotations

import asyncio
import builtins
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import (
    ClusterDownError,
    ConnectionError,  # noqa: A004
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004
    TryAgainError,
)

from dataflow.errors import BrokerUnavailableError
from dataflow.jobs.broker import REPLY_TIMEOUT, Broker, is_denied, unavailable
from dataflow.jobs.scripts import Argument, Script

logger = logging.getLogger("dataflow.services")

_PASSING = (
    ConnectionError,
    TimeoutError,
    builtins.TimeoutError,
    ReadOnlyError,
    OutOfMemoryError,
    MasterDownError,
    TryAgainError,
    ClusterDownError,
)
#: Codes without a class of their own, and those that Redis 6 hides within the error of a script.
_PASSING_CODES = re.compile(r"\b(UNBLOCKED|MISCONF|NOREPLICAS|BUSY|READONLY|OOM|MASTERDOWN)\b")


def passes(error: Exception) -> bool:
    """Whether an error passes by itself: the server is away, starts, fails over, or cannot store anything for now."""
    if isinstance(error, _PASSING):
        return True
    return isinstance(error, ResponseError) and _PASSING_CODES.search(str(error)) is not None


_FIRST_WAIT = 0.1
_LONGEST_WAIT = 2.0


class Link:
    """A process's connection to Redis. It is opened once, and reconnects by itself.

    Args:
        broker: Where the queues live.
        logs: Whether it says that the server is away, and that it is back; one of a process's connections does.
    """

    def __init__(self, broker: Broker, *, logs: bool = True) -> None:
        self._broker = broker
        self._logs = logs
        self._client: Redis | None = None
        #: Whether the last call failed.
        self.down = False
        #: When the connection was last known to be down, by the monotonic clock; None if it never was.
        self.down_at: float | None = None

    async def open(self) -> None:
        """Connect; a connection that is open stays so.

        Raises:
            BrokerUnavailableError: The broker cannot be reached.
        """
        if self._client is not None:
            return
        self._client = await self._broker.open()
        try:
            async with asyncio.timeout(REPLY_TIMEOUT):
                await self._client.ping()
        except (RedisError, builtins.TimeoutError) as error:
            if not passes(error):
                raise
            raise unavailable(self._broker.masked_url, error) from error

    async def close(self) -> None:
        """Disconnect."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def call(self, script: Script, args: Sequence[Argument]) -> Any:
        """Run a script once.

        Raises:
            BrokerUnavailableError: For now it cannot be; ``pause()`` before trying again. The server may have run it.
        """
        return await self._answer(lambda client: script.run(client, args), REPLY_TIMEOUT)

    async def command(self, *command: Argument, wait: float = 0.0) -> Any:
        """Send a command once; errors as of ``call``.

        Args:
            command: Its name and arguments.
            wait: Seconds that the server may wait with its answer, as it was asked to.
        """

        async def send(client: Redis) -> Any:
            return await client.execute_command(*command)  # type: ignore[no-untyped-call]

        return await self._answer(send, wait + REPLY_TIMEOUT)

    async def _answer(self, ask: Callable[[Redis], Awaitable[Any]], within: float) -> Any:
        assert self._client is not None
        try:
            async with asyncio.timeout(within):
                answer = await ask(self._client)
        except (RedisError, builtins.TimeoutError) as error:
            if not passes(error) and not is_denied(error):
                raise
            self.lost(error)
            raise unavailable(self._broker.masked_url, error) from error
        if self.down:
            self.down = False
            if self._logs:
                logger.warning("The broker at %s is back.", self._broker.masked_url)
        return answer

    async def insist(self, script: Script, args: Sequence[Argument]) -> Any:
        """Run a script that is safe to send twice, until the server answers."""
        attempt = 0
        while True:
            try:
                return await self.call(script, args)
            except BrokerUnavailableError:
                await pause(attempt)
                attempt += 1

    def lost(self, error: Exception) -> None:
        """Note that the server did not answer."""
        self.down_at = time.monotonic()
        if not self.down:
            self.down = True
            if self._logs:
                logger.warning("Lost the broker at %s (%s); trying again.", self._broker.masked_url, error)


async def pause(attempt: int) -> None:
    """Wait before trying again: a tenth of a second at first, up to two, with jitter."""
    await asyncio.sleep(min(_FIRST_WAIT * 2**attempt, _LONGEST_WAIT) * random.uniform(0.5, 1.0))
