"""BrokerStore: circuit breakers that share their state through the broker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dataflow.jobs.broker import Broker
from dataflow.jobs.scripts import Script

_BREAKER = Script(Path(__file__).parent / "lua" / "breaker.lua")

#: Seconds after which an open breaker that nobody asks for is forgotten.
KEPT = 3_600


class BrokerStore:
    """What ``resilience.circuit.BreakerStore`` promises, on the clock of the Redis server.

    Args:
        broker: Gives the broker; asked when it is first needed.
    """

    def __init__(self, broker: Callable[[], Broker]) -> None:
        self._broker = broker

    async def open(self, name: str, seconds: float) -> None:
        await self._run("open", name, seconds)

    async def probe(self, name: str, seconds: float) -> float | None:
        return await self._run("probe", name, seconds)

    async def close(self, name: str) -> None:
        await self._run("close", name, 0)

    async def look(self, name: str) -> float | None:
        return await self._run("look", name, 0)

    async def _run(self, what: str, name: str, seconds: float) -> float | None:
        milliseconds = int(await self._broker().run(_BREAKER, [what, name, seconds, KEPT]))
        return None if milliseconds < 0 else milliseconds / 1000
