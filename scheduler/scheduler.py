"""Scheduler: its services wired together, from the first to the last."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from dataflow.errors import BrokerUnavailableError, ConfigurationError
from dataflow.events.triggers import Triggers
from dataflow.jobs.broker import Broker
from dataflow.jobs.control import send_command
from dataflow.schedules import Schedules
from dataflow.services.due import Due
from dataflow.services.link import Link, pause
from dataflow.services.service import Service
from scheduler.leader import Leader
from scheduler.sync import Sync
from scheduler.ticker import Ticker
from scheduler.trigger_sync import TriggerSync
from scheduler.triggers import Firing

logger = logging.getLogger("dataflow.scheduler")

#: Seconds after which the lead of a scheduler that is silent ends.
LOCK_TIME = 5.0


class App(Protocol):
    """A DataFlow instance, as far as a scheduler is concerned."""

    @property
    def schedules(self) -> Schedules:
        """Its schedules."""
        ...

    @property
    def triggers(self) -> Triggers:
        """Its triggers."""
        ...


class Scheduler:
    """Enqueues the jobs of schedules and triggers, and moves delayed jobs of all queues, until it is told to stop.

    Any number may run; for each instance one leads.

    Args:
        apps: The DataFlow instances whose schedules and triggers it keeps. They stay open; who made them closes them.
        broker: Where schedules and queues live.
        name: Its name, another than any other's; default host, process and a random number.
        lock_time: Seconds after which the lead of a scheduler that is silent ends, and another takes it; from 0.3.

    Raises:
        ConfigurationError: Two instances have the same name, or one has a name that schedules cannot belong to.

    Example:
        >>> scheduler = Scheduler([db], Broker("redis://localhost:6379/0"))
        >>> await scheduler.run()
    """

    def __init__(
        self, apps: Sequence[App], broker: Broker, *, name: str | None = None, lock_time: float = LOCK_TIME
    ) -> None:
        if not lock_time >= 0.3:
            raise ConfigurationError(f"lock_time is from 0.3 seconds, got {lock_time}.")
        owners = [app.schedules.owner for app in apps]
        if len(set(owners)) < len(owners):
            raise ConfigurationError(
                f"Schedules belong to instances by their names, which are {', '.join(owners)}.",
                hint="Give each instance another: DataFlow(url, name=…).",
            )
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._link = Link(broker)
        self._syncs: list[Sync | TriggerSync] = []
        leaders: list[Service] = []
        tickers: list[Service] = []
        firings: list[Service] = []
        for app in apps:
            store = app.schedules.store(broker)
            sync = Sync(app.schedules, store, lock_time)
            leader = Leader(self._link, app.schedules.owner, self.name, lock_time)

            async def stop_job(worker: str, job_id: str) -> None:
                # Where it does not listen, its next heartbeat tells it that the job is no longer its own.
                await send_command(broker, worker, "stop-job", job_id=job_id)

            kept = app.triggers.store(broker)
            trigger_sync = TriggerSync(app.triggers, kept)
            self._syncs += (sync, trigger_sync)
            leaders.append(leader)
            tickers.append(Ticker(self._link, app.schedules, store, leader, sync.run, stop_job))
            firings.append(Firing(self._link, app.triggers, kept, leader, trigger_sync.run))
        #: In the order of their start. The lead is left last: then another takes over what nobody does here any more.
        self._leaders, self._workers = leaders, [*tickers, *firings, Due(self._link)]
        self._stopping = asyncio.Event()
        self.started = asyncio.Event()

    def stop(self) -> None:
        """End: leave the lead to another. A second call does nothing more."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until stopped.

        Raises:
            BrokerUnavailableError: The broker cannot be reached at the start.
            Exception: A service failed, which is a bug.
        """
        try:
            await self._link.open()
            for leader in self._leaders:
                await _insist(leader.start)
            for sync in self._syncs:
                await _insist(sync.run)
            for service in self._workers:
                await service.start()
            self.started.set()
            await self._until_over()
        finally:
            for service in reversed([*self._leaders, *self._workers]):
                await service.stop()
            await self._link.close()

    async def _until_over(self) -> None:
        """Return when told to stop; raise when a service died."""
        end: asyncio.Task[Any] = asyncio.create_task(self._stopping.wait())
        services = {item.task for item in (*self._leaders, *self._workers) if item.task is not None}
        try:
            done, _ = await asyncio.wait({end, *services}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            end.cancel()
        for task in done & services:
            task.result()


async def _insist(work: Callable[[], Awaitable[None]]) -> None:
    """Do what may be done twice, until the broker answers."""
    attempt = 0
    while True:
        try:
            return await work()
        except BrokerUnavailableError as error:
            logger.warning("%s", error)
            await pause(attempt)
            attempt += 1


async def schedule(scheduler: Scheduler) -> None:
    """Run a scheduler that SIGTERM and SIGINT end in good order."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, scheduler, number)
    await scheduler.run()


def _on_signal(scheduler: Scheduler, number: signal.Signals) -> None:
    logger.info("Got %s.", number.name)
    scheduler.stop()
