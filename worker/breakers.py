"""BreakerWatch: learns what other workers found out about shared dependencies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from dataflow.resilience import CircuitBreaker
from dataflow.services.service import Service

#: Seconds between looks.
INTERVAL = 1.0


class BreakerWatch(Service):
    """Refreshes the circuit breakers that processes share.

    Args:
        breakers: Gives those there are; more may be made while the worker runs.
    """

    def __init__(self, breakers: Callable[[], Iterable[CircuitBreaker]]) -> None:
        super().__init__()
        self._breakers = breakers

    async def run(self) -> None:
        while True:
            shared = [breaker for breaker in self._breakers() if breaker.is_shared]
            await asyncio.gather(*(breaker.refresh() for breaker in shared))
            await asyncio.sleep(INTERVAL)
