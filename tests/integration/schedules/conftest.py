"""An instance with schedules, and schedulers that run beside the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Any

import pytest

from dataflow import DataFlow
from dataflow.jobs import Broker, keys
from scheduler.scheduler import Scheduler
from tests.integration.jobs.conftest import LIMIT, broker  # noqa: F401 - a fixture
from worker.admission import Admission
from worker.options import WorkerOptions
from worker.worker import Worker

Scheduling = Callable[..., AbstractAsyncContextManager[Scheduler]]
NewApp = Callable[..., DataFlow]


@pytest.fixture
async def new_app(broker: Broker) -> AsyncIterator[NewApp]:  # noqa: F811
    """Makes instances on the test's broker."""
    made: list[DataFlow] = []

    def new(name: str = "shop", **settings: Any) -> DataFlow:
        app = DataFlow(":memory:", name=name, **settings)
        app._broker = broker
        made.append(app)
        return app

    yield new
    for app in made:
        await app.close_async()


@pytest.fixture
def db(new_app: NewApp) -> DataFlow:
    """An instance with one actor, ``report``."""
    return with_report(new_app())


def with_report(app: DataFlow) -> DataFlow:
    @app.actor
    def report(days: int = 1) -> int:
        return days

    return app


@pytest.fixture
def scheduling(broker: Broker) -> Scheduling:  # noqa: F811
    """A scheduler that runs while the block does."""

    @asynccontextmanager
    async def run(*apps: DataFlow, **options: Any) -> AsyncIterator[Scheduler]:
        scheduler = Scheduler(apps, broker, **options)
        task = asyncio.create_task(scheduler.run())
        started = asyncio.create_task(scheduler.started.wait())
        await asyncio.wait([task, started], return_when=asyncio.FIRST_COMPLETED)
        try:
            yield scheduler
        finally:
            scheduler.stop()
            started.cancel()
            async with asyncio.timeout(LIMIT):
                await task

    return run


async def work(app: DataFlow, **options: Any) -> dict[str, int]:
    """Run a worker until the queues are empty."""
    admission = Admission(app.settings.signatures())
    async with asyncio.timeout(LIMIT):
        worker = Worker([app], app.broker, WorkerOptions(burst=True, **options), admission=admission)
        return dict(await worker.run())


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """Wait until this holds; returns what it gave."""
    async with asyncio.timeout(LIMIT):
        while not (found := await condition()):
            await asyncio.sleep(0.01)
    return found


async def put_back(app: DataFlow, name: str, seconds: float) -> datetime:
    """Make it so many seconds later for a schedule, as if no scheduler had run meanwhile; returns its next tick."""
    client = await app.broker.client()
    key = keys.schedule(app.name, name)
    for field in ("next_due", "since", "anchor"):
        value = float(await client.hget(key, field))  # type: ignore[arg-type, misc]
        await client.hset(key, field, f"{value - seconds:.6f}")  # type: ignore[misc]
    due = (await app.schedules.get_async(name)).next_due
    assert due is not None
    await client.zadd(keys.schedules(app.name), {name: due.timestamp()})
    return due


async def decided(app: DataFlow, name: str) -> Any:
    """Wait until nothing of the schedule is due any more; returns what is known of it then."""

    async def nothing_is_due() -> Any:
        entry = await app.schedules.store().read(name)
        info = await app.schedules.get_async(name)
        return info if info.next_due is None or info.next_due > entry.now else None

    return await until(nothing_is_due)


async def reached(app: DataFlow, name: str, **values: Any) -> Any:
    """Wait until the schedule's info has these values; returns it."""

    async def is_so() -> Any:
        info = await app.schedules.get_async(name)
        return info if all(getattr(info, field) == value for field, value in values.items()) else None

    return await until(is_so)
