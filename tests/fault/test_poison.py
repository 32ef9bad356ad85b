"""A job that kills whoever runs it, beside jobs that do no harm."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from dataflow.errors import JobFailedError
from dataflow.jobs import Job, JobStatus
from dataflow.workflows import Step
from tests.fault.keyspace import running
from tests.worker_process import App, WorkerProcess, node_runs

LEASE = 1.0


async def test_a_job_that_kills_its_workers_fails_after_three_and_takes_no_other_with_it(app: App) -> None:
    innocent = await app.queue.enqueue_many_async([{"workflow": app.held(f"job-{i}")} for i in range(8)])
    # Every worker claims them all; all are suspects after the first death, and wait for their turn after the second.
    killer = await app.queue.enqueue_async(app.chain(Step("die", "Die", {})), job_id="killer", at_front=True, retry=5)
    deaths = 0
    with ExitStack() as workers:
        while (await killer.refresh_async()).status is not JobStatus.FAILED:
            worker: WorkerProcess = workers.enter_context(app.worker("--lease", str(LEASE)))
            while worker.process.poll() is None and (await killer.refresh_async()).status is not JobStatus.FAILED:
                await asyncio.sleep(0.02)
            deaths += worker.process.poll() is not None
            assert deaths <= 3
            if deaths == 2:
                app.open_gate()
        assert deaths == 3
        with pytest.raises(JobFailedError, match="delivered 3 times, and each time the worker that ran it died"):
            await killer.wait_async(1)
        for job in innocent:
            await job.wait_async(20)
    assert await app.effects() == [f"job-{i}" for i in range(8)]
    assert running(app.redis_url) == set()


async def test_a_job_survives_the_deaths_of_workers_that_had_not_begun_it(app: App) -> None:
    """Two suspects that both need their turn: the one that waits is not blamed."""
    jobs = await app.queue.enqueue_many_async(
        [{"workflow": app.held(name), "job_id": name} for name in ("one", "other")]
    )
    options = ("--lease", str(LEASE), "--max-deliveries", "2")
    with app.worker(*options) as worker:
        for job in jobs:
            await node_runs(job, "hold")
        worker.process.kill()
    with app.worker(*options, "--name", "second") as worker:
        begun = await first_to_run(jobs, "second")
        (waiting,) = (job for job in jobs if job is not begun)
        assert ((await waiting.refresh_async()).status, waiting.worker_name) == (JobStatus.STARTED, "second")
        worker.process.kill()
    with app.worker(*options):
        app.open_gate()
        await waiting.wait_async(20)
        with pytest.raises(JobFailedError, match="delivered 2 times"):
            await begun.wait_async(20)
    assert await app.effects() == [waiting.id]


async def first_to_run(jobs: list[Job], worker: str) -> Job:
    async with asyncio.timeout(20):
        while True:
            for job in jobs:
                progress = await job.progress_async()
                if job.worker_name == worker and progress["nodes"]["hold"]["state"] == "running":
                    return job
            await asyncio.sleep(0.02)
