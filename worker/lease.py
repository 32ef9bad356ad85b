"""Heartbeat: proves that this worker lives, and learns which of its jobs are no longer its own.

It beats in a thread of its own: a job that blocks the event loop for longer than the lease does not make its worker
look dead, and its jobs are not run a second time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import socket
import sys
import threading
import time
import traceback
from importlib.metadata import version

from dataflow.errors import BrokerUnavailableError
from dataflow.jobs.broker import Broker
from dataflow.jobs.scripts import Argument
from dataflow.jobs.times import now_text
from dataflow.services.link import Link, pause
from dataflow.services.service import Service
from worker.beside import run_beside
from worker.deliveries import Deliveries, Reason
from worker.options import WorkerOptions
from worker.scripts import load_script
from worker.tally import Tally
from worker.vitals import Vitals

logger = logging.getLogger("dataflow.worker")

_HEARTBEAT = load_script("heartbeat")
_FAREWELL = load_script("farewell")

#: Seconds that RQ's tools show a worker without a sign of life.
HASH_KEPT = 480

#: Seconds between proofs, to the thread that beats, that the event loop turns.
TICK = 0.2
#: Seconds without one after which the log says where the loop is stuck.
SLOW = 2.0


class Heartbeat(Service):
    """Renews the worker's lease and the executions of its jobs, and registers it for RQ's tools.

    Args:
        broker: Where the queues live; the thread has a connection of its own.
        link: The worker's connection, for what is said outside the thread.
        options: The worker's.
        deliveries: Those held.
        tally: What it counted.
        vitals: How it fares.
    """

    def __init__(
        self,
        broker: Broker,
        link: Link,
        options: WorkerOptions,
        deliveries: Deliveries,
        tally: Tally,
        vitals: Vitals,
    ) -> None:
        super().__init__()
        self._broker = broker
        self._link = link
        self._options = options
        self._deliveries = deliveries
        self._tally = tally
        self._vitals = vitals
        self._identity: list[Argument] = _identity(options)
        self._end: asyncio.TimerHandle | None = None
        self._ticked = time.monotonic()
        self._warned_of = 0.0
        self._loop: asyncio.AbstractEventLoop
        self._thread = 0

    @property
    def stalled(self) -> float:
        """Seconds that the event loop has been blocked until now; below a tick where it is not."""
        return max(0.0, time.monotonic() - self._ticked - TICK)

    async def start(self) -> None:
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        sent = time.monotonic()
        self._renewed(sent, await self._beat_here())
        await super().start()

    async def run(self) -> None:
        ticking = asyncio.create_task(self._tick())
        try:
            await run_beside(self._keep_beating, "dataflow-heartbeat")
        finally:
            ticking.cancel()

    async def stop(self) -> None:
        await super().stop()
        if self._end is not None:
            self._end.cancel()

    async def _tick(self) -> None:
        while True:
            self._ticked = time.monotonic()
            await asyncio.sleep(TICK)

    async def _keep_beating(self) -> None:
        """In the thread."""
        link = Link(self._broker, logs=False)
        attempt = 0
        try:
            while True:
                await asyncio.sleep(self._options.heartbeat_interval if attempt == 0 else 0)
                if self._is_stuck():
                    attempt = 0
                    continue
                try:
                    await link.open()
                    sent = time.monotonic()
                    lost = await self._beat(link)
                except BrokerUnavailableError:
                    await pause(attempt)
                    attempt += 1
                else:
                    attempt = 0
                    self._loop.call_soon_threadsafe(self._renewed, sent, lost)
        finally:
            await link.close()

    def _is_stuck(self) -> bool:
        """Whether the loop has hung for so long that others had better take over; says so once, and where it hangs."""
        stalled = self.stalled
        if stalled > SLOW and self._ticked != self._warned_of:
            self._warned_of = self._ticked
            frame = sys._current_frames().get(self._thread)
            logger.warning(
                "The event loop has been blocked for %.1f s, and every job of this worker with it; after %g s others "
                "take over. Blocking code belongs into a thread (a node's sync execute runs in one). It is in:\n%s",
                stalled, self._options.max_stall, "".join(traceback.format_stack(frame, limit=3)) if frame else "?",
            )  # fmt: skip
        return stalled > self._options.max_stall

    async def _beat(self, link: Link) -> list[str]:
        """Renew everything held; returns what is no longer this worker's."""
        options = self._options
        held = list(self._deliveries)
        fields = [*self._identity, "state", "busy" if held else "idle", "x_vitals", self._vitals.latest]
        batch = self._tally.batch()
        arguments: list[Argument] = [
            options.name, now_text(), options.lease, HASH_KEPT, options.abandoned_after,
            len(options.queues), *options.queues, len(fields), *fields, *batch,
        ]  # fmt: skip
        for delivery in held:
            arguments += (delivery.job_id, delivery.execution_id, delivery.queue)
        lost = [member.decode() for member in await link.call(_HEARTBEAT, arguments)]
        self._tally.confirm(int(batch[0]))
        return lost

    async def _beat_here(self) -> list[str]:
        """The same from the event loop, while no thread does."""
        self._vitals.look()
        return await self._beat(self._link)

    def _renewed(self, sent: float, members: list[str]) -> None:
        self._renew(sent)
        for member in members:
            lost = self._deliveries.get(member)
            if lost is not None and lost.is_running:
                logger.warning("Job %s is no longer this worker's; it is interrupted.", lost.job_id)
                lost.interrupt(Reason.LOST)

    def _renew(self, sent: float) -> None:
        if self._end is not None:
            self._end.cancel()
        # Event loops go by the monotonic clock.
        self._end = self._loop.call_at(sent + self._options.lease, self._run_out)

    def _run_out(self) -> None:
        """The lease is over, and other workers may run its jobs now. Jobs with an ordering key must not run twice at
        once; the others' ends are fenced off, should it come to that.
        """
        for delivery in self._deliveries:
            if delivery.is_running and "x_ordering_key" in delivery.options:
                logger.warning("Job %s is interrupted: the lease could not be renewed.", delivery.job_id)
                delivery.interrupt(Reason.LOST)

    async def farewell(self) -> None:
        """Publish the last counts and unregister the worker, which runs nothing any more."""
        await self.stop()  # a beat after it would register the worker again
        if self._tally.is_under_way:
            await self._beat_here()  # the beat that the stop cut short; what was counted since goes with the next
        await self._beat_here()
        await self._link.call(_FAREWELL, [self._options.name, now_text(), *self._options.queues])


def _identity(options: WorkerOptions) -> list[Argument]:
    """What RQ's tools show of a worker."""
    host = socket.gethostname()
    try:
        address = socket.gethostbyname(host)
    except OSError:
        address = ""
    return [
        "birth", now_text(),
        "queues", ",".join(options.queues),
        "pid", os.getpid(),
        "hostname", host,
        "ip_address", address,
        "version", version("dataflow-jobs"),
        "python_version", platform.python_version(),
        "x_runner", "dataflow",
    ]  # fmt: skip
