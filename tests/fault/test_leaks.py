"""Many jobs leave nothing behind: no key that does not expire, no entry of a registry, no memory of the worker."""

from __future__ import annotations

import asyncio

from dataflow.jobs import JobQueue
from tests.fault.leak import measure_leak
from tests.toys import ToyApp, chain
from tests.worker_process import App
from worker.options import WorkerOptions
from worker.sweep import MOST
from worker.worker import Worker

JOBS = 20_000
#: MB that a worker may grow by in the second half of its jobs; in the first it fills its pools and caches.
GROWTH = 4.0


async def test_twenty_thousand_jobs_leave_no_lasting_key_and_a_flat_worker(app: App) -> None:
    leak = await measure_leak(app, JOBS)
    assert leak.lasting == []
    assert leak.sizes[-1] - leak.sizes[4] < GROWTH, leak.sizes


async def test_registries_forget_what_has_expired(app: App) -> None:
    queue: JobQueue = app.queue
    await queue.enqueue_many_async([{"workflow": chain("echo"), "result_ttl": 1}] * (MOST + 500))
    await queue.enqueue_many_async([{"workflow": chain("fail"), "failure_ttl": 1}] * 20)
    kept = await queue.enqueue_many_async([{"workflow": chain("fail"), "failure_ttl": ttl} for ttl in (-1, 100)])
    canceled = await queue.enqueue_many_async([{"workflow": chain("echo"), "failure_ttl": 1}] * 20)
    for job in canceled:
        await job.cancel_async()
    await Worker([ToyApp()], app.broker, WorkerOptions(burst=True, concurrency=200)).run()
    client = await app.broker.client()
    assert await client.zcard("rq:finished:default") == MOST + 500
    assert await client.zcard("rq:failed:default") == 22
    assert await client.zcard("rq:canceled:default") == 20
    async with asyncio.timeout(20):
        while await client.keys("rq:job:*") and len(await client.keys("rq:job:*")) > len(kept):
            await asyncio.sleep(0.05)

    worker = Worker([ToyApp()], app.broker, WorkerOptions())
    task = asyncio.create_task(worker.run())
    async with asyncio.timeout(20):
        while await client.zcard("rq:finished:default") or await client.zcard("rq:canceled:default"):
            await asyncio.sleep(0.05)
    assert set(await client.zrange("rq:failed:default", 0, -1)) == {job.id.encode() for job in kept}
    worker.stop()
    await task
