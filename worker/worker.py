"""Worker: its services wired together, from the first to the last."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from dataflow.errors import BrokerUnavailableError
from dataflow.jobs.broker import Broker
from dataflow.jobs.prometheus import render
from dataflow.nodes.threads import CodeThreads
from dataflow.services.due import Due
from dataflow.services.link import Link
from dataflow.services.service import Service
from worker.admission import Admission
from worker.breakers import BreakerWatch
from worker.catalog import App, Served
from worker.claim import Claimer
from worker.commands import Commands
from worker.deliveries import Deliveries
from worker.effects import Effects
from worker.finish import Finisher
from worker.gate import Gate
from worker.lease import Heartbeat
from worker.options import WorkerOptions
from worker.progress import ProgressWriter
from worker.recovery import Recovery
from worker.run import Runner
from worker.suspects import Suspects
from worker.sweep import Sweeper
from worker.tally import Tally
from worker.turns import Turns
from worker.vitals import Vitals
from worker.wake import Waker

logger = logging.getLogger("dataflow.worker")

#: Seconds that recording the last outcomes may take; jobs whose end is not recorded are run again by others.
FLUSH_TIME = 5.0


class Worker:
    """Claims jobs and runs them until it is told to stop.

    Args:
        apps: The DataFlow instances whose nodes and workflows it serves. They stay open; who made them closes them.
        broker: Where the queues live.
        options: What it is told.
        allow_code: Whether PythonCodeNodes that travel with jobs may run.
        admission: What jobs must prove before they are run; default: that they are whole.

    Example:
        >>> worker = Worker([db], Broker("redis://localhost:6379/0"), WorkerOptions(burst=True))
        >>> counts = await worker.run()
    """

    def __init__(
        self,
        apps: Sequence[App],
        broker: Broker,
        options: WorkerOptions | None = None,
        *,
        allow_code: bool = False,
        admission: Admission | None = None,
    ) -> None:
        self.options = options or WorkerOptions()
        self._link = Link(broker)
        self._threads = CodeThreads(self.options.concurrency, lambda: self._deliveries.slot_freed())
        self._deliveries = Deliveries(self.options, lambda: self._threads.stuck)
        self.tally = Tally()
        self.vitals = Vitals(self.options, self._deliveries, apps)
        name, queues = self.options.name, self.options.queues
        effects = Effects(self.options.effects_kept)
        self._finisher = Finisher(self._link, name, self._deliveries, effects.finished, self.tally)
        self._progress = ProgressWriter(self._link, self._deliveries)
        self._waker = Waker(broker, self._link, queues)
        served = Served(apps, allow_code=allow_code)
        self.vitals.probes["breakers"] = lambda: {item.name: item.state.value for item in served.breakers()}
        gate = Gate(self.options.database_limit(len(apps)))
        suspects = Suspects(self._link, self.options.max_deliveries)
        runner = Runner(
            admission or Admission(),
            served,
            self.options,
            gate,
            self._deliveries,
            suspects,
            self._finisher.report,
            self._progress.note,
            self._threads,
        )
        self._claimer = Claimer(self._link, self.options, self._deliveries, self._waker, runner.begin)
        self._heartbeat = Heartbeat(broker, self._link, self.options, self._deliveries, self.tally, self.vitals)
        #: In the order of their start. Recovery is first: it looks for an earlier process of the same name. The claimer
        #: is last, and stops first.
        self._services: tuple[Service, ...] = (
            Recovery(self._link, self.options),
            self.vitals,
            self._heartbeat,
            effects,
            self._finisher,
            self._progress,
            Turns(self._link, self.options),
            Due(self._link, queues),
            Sweeper(self._link, queues),
            BreakerWatch(served.breakers),
            Commands(broker, self._link, name, self._deliveries, self.stop, self.drain),
            self._waker,
            self._claimer,
        )
        self._draining = asyncio.Event()
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self.started = asyncio.Event()

    @property
    def counts(self) -> Mapping[str, int]:
        """Jobs recorded so far: ``done``, ``failed``, ``stopped``, ``retry``, ``back``, and what else occurred."""
        return MappingProxyType(self._finisher.counts)

    async def metrics_text(self) -> str:
        """What this worker counted and how it fares, for Prometheus."""
        return render(self.tally.counts, [self.vitals.read()])

    def drain(self) -> None:
        """Claim no more, and end when what runs has finished, however long it takes; ``stop()`` still works."""
        self._draining.set()

    def stop(self) -> None:
        """Claim no more, and end when running jobs have finished or ``grace`` is over; a second call ends at once."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    async def run(self) -> Mapping[str, int]:
        """Work until stopped, or in a burst until there is nothing left; returns ``counts``.

        Raises:
            BrokerUnavailableError: The broker cannot be reached at the start.
            Exception: A service failed, which is a bug; jobs were given back before.
        """
        try:
            await self._link.open()
            for service in self._services:
                await service.start()
            self.started.set()
            try:
                await self._until_over()
            except Exception:
                self._hurry.set()
                raise
            finally:
                await self._drain()
        finally:
            for service in reversed(self._services):
                await service.stop()
            await self._link.close()
            self._threads.close()
        return self.counts

    async def _until_over(self) -> None:
        """Return when told to stop, or when a burst is over; raise when a service died."""
        ends: set[asyncio.Task[Any]] = {
            asyncio.create_task(self._stopping.wait()),
            asyncio.create_task(self._draining.wait()),
        }
        if self.options.burst:
            ends.add(asyncio.create_task(self._claimer.exhausted.wait()))
        await self._first_of(ends)

    async def _drain(self) -> None:
        await self._claimer.stop()
        if given_back := self._deliveries.give_back(only_waiting=True):
            logger.info("%d job(s) that wait for their turn go back to their queues.", given_back)
        if self._draining.is_set() and not self._stopping.is_set():
            await self._finish_all()
        if self._deliveries.running and self.options.grace and not self._hurry.is_set():
            logger.info("%d job(s) have %g s to finish.", self._deliveries.running, self.options.grace)
            ends: set[asyncio.Task[Any]] = {
                asyncio.create_task(self._deliveries.wait_until_idle()),
                asyncio.create_task(self._hurry.wait()),
            }
            await self._first_of(ends, timeout=self.options.grace)
        if given_back := self._deliveries.give_back():
            logger.info("%d job(s) go back to their queues.", given_back)
        try:
            async with asyncio.timeout(FLUSH_TIME):
                await self._deliveries.wait_until_idle()
                await self._finisher.flush()
                await self._heartbeat.farewell()
        except (TimeoutError, BrokerUnavailableError) as error:
            logger.warning("Ended without telling the broker everything (%s); other workers take over.", error)

    async def _finish_all(self) -> None:
        """Return when nothing runs any more, or when told to stop."""
        logger.info("Drained: %d job(s) are finished before the end.", self._deliveries.running)
        ends: set[asyncio.Task[Any]] = {
            asyncio.create_task(self._deliveries.wait_until_idle()),
            asyncio.create_task(self._stopping.wait()),
        }
        await self._first_of(ends)

    async def _first_of(self, ends: set[asyncio.Task[Any]], timeout: float | None = None) -> None:
        """Return when one of these ends, or time is up; raise when a service died before."""
        tasks = (service.task for service in self._services)
        services = {task for task in tasks if task is not None and not task.cancelled()}
        try:
            done, _ = await asyncio.wait(ends | services, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
        for task in done & services:
            if not task.cancelled():
                task.result()


async def work(worker: Worker) -> Mapping[str, int]:
    """Run a worker that SIGTERM and SIGINT end: the first in good order, the second at once.

    The handlers stay as long as the event loop, so that a late signal does not cut off the end.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, worker, number)
    return await worker.run()


def _on_signal(worker: Worker, number: signal.Signals) -> None:
    logger.info("Got %s.", number.name)
    worker.stop()
