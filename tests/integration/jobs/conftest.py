"""The broker suite runs on a stand-in without a server, on Valkey and on Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from dataflow.jobs import Broker, Job, JobQueue, JobStatus
from tests.toys import ToyApp, fake_broker
from worker.options import WorkerOptions
from worker.worker import Worker

Working = Callable[..., AbstractAsyncContextManager[Worker]]
Burst = Callable[..., Coroutine[Any, Any, dict[str, int]]]

#: Seconds after which a test that waits for an event fails.
LIMIT = 20.0


@pytest.fixture(params=["fakeredis", "valkey", "redis"])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    if request.param == "fakeredis":
        made = fake_broker()
    else:
        made = Broker(request.getfixturevalue(f"{request.param}_url"))
        await (await made.client()).flushdb()
    yield made
    await made.close()


@pytest.fixture
def app() -> ToyApp:
    return ToyApp()


@pytest.fixture
def queue(broker: Broker) -> JobQueue:
    return JobQueue("default", broker)


@pytest.fixture
def burst(broker: Broker, app: ToyApp) -> Burst:
    """Runs a worker until the queues are empty."""

    async def run(**options: Any) -> dict[str, int]:
        async with asyncio.timeout(LIMIT):
            return dict(await Worker([app], broker, WorkerOptions(burst=True, **options)).run())

    return run


@pytest.fixture
def working(broker: Broker, app: ToyApp) -> Working:
    """A worker that runs while the block does; it is given back what it has not finished at the end."""

    @asynccontextmanager
    async def run(served: ToyApp = app, **options: Any) -> AsyncIterator[Worker]:
        worker = Worker([served], broker, WorkerOptions(**{"grace": 0.0, **options}))
        task = asyncio.create_task(worker.run())
        started = asyncio.create_task(worker.started.wait())
        await asyncio.wait([task, started], return_when=asyncio.FIRST_COMPLETED)
        try:
            yield worker
        finally:
            worker.stop()
            started.cancel()
            async with asyncio.timeout(LIMIT):
                await task

    return run


async def until(job: Job, *statuses: JobStatus) -> None:
    """Wait until the job has one of these statuses."""
    async with asyncio.timeout(LIMIT):
        while (await job.refresh_async()).status not in statuses:
            await asyncio.sleep(0.01)
