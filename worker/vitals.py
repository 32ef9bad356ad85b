"""Vitals: how a worker fares at this moment, published with its heartbeat."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec

from dataflow.databases.interface import PoolMetrics
from dataflow.services.service import Service
from worker.deliveries import Deliveries
from worker.options import WorkerOptions

#: Seconds between looks at the event loop.
INTERVAL = 0.2
#: Looks that the worst delay is taken of: ten seconds.
_LOOKS = 50

_STATM = Path("/proc/self/statm")


@runtime_checkable
class Pooled(Protocol):
    """An application with connections to a database."""

    name: str

    def pool_metrics(self) -> PoolMetrics:
        """State of its pool."""
        ...


class Vitals(Service):
    """Reads what the worker runs, its memory, the delay of its event loop, and what else is asked of ``probes``.

    Args:
        options: The worker's.
        deliveries: Those held.
        apps: The applications; the pools of those that have one are read.
    """

    def __init__(self, options: WorkerOptions, deliveries: Deliveries, apps: Sequence[object]) -> None:
        super().__init__()
        self._options = options
        self._deliveries = deliveries
        #: The state when it was last looked at, as JSON.
        self.latest = b"{}"
        self._lags: deque[float] = deque(maxlen=_LOOKS)
        pools = {app.name: app for app in apps if isinstance(app, Pooled)}
        #: Name → what gives its state, as plain values. ``pools``: database → PoolMetrics; ``breakers``: name → state.
        self.probes: dict[str, Callable[[], Mapping[str, Any]]] = {
            "pools": lambda: {name: app.pool_metrics() for name, app in pools.items()}
        }

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            asked = loop.time()
            await asyncio.sleep(INTERVAL)
            self._lags.append(loop.time() - asked - INTERVAL)
            self.look()

    def look(self) -> None:
        """Renew ``latest``. On the event loop: only there do pools tell their state, and the heartbeat has a thread."""
        self.latest = msgspec.json.encode(self.read())

    def read(self) -> dict[str, Any]:
        """The state now: jobs, seconds, bytes, and each probe's."""
        return {
            "running": self._deliveries.running,
            "waiting": self._deliveries.waiting,
            "concurrency": self._options.concurrency,
            "loop_lag": max(0.0, *self._lags) if self._lags else 0.0,
            "rss": resident_bytes(),
            **{name: probe() for name, probe in self.probes.items()},
        }


def resident_bytes() -> int:
    """Memory that this process holds; where the system does not tell, the most that it ever held."""
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
