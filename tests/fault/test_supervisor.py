"""``dataflow worker --processes``: processes that are killed, signals, and a supervisor that is killed itself."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dataflow.jobs import JobStatus
from dataflow.jobs.fleet import WorkerInfo, read_workers
from tests.worker_process import App, WorkerProcess, node_runs


@pytest.fixture
async def app(tmp_path: Path, broker_url: str) -> AsyncIterator[App]:
    made = App(tmp_path, broker_url)
    yield made
    await made.broker.close()


async def workers(app: App, count: int, *, without: int | None = None) -> list[WorkerInfo]:
    """The living, when there are so many."""
    async with asyncio.timeout(30):
        while True:
            found = [one for one in await read_workers(app.broker) if one.state != "lost" and one.pid != without]
            if len(found) == count:
                return found
            await asyncio.sleep(0.02)


async def said(worker: WorkerProcess, words: str, times: int = 1) -> None:
    async with asyncio.timeout(20):
        while worker.output().count(words) < times:
            await asyncio.sleep(0.02)


async def test_a_killed_process_is_replaced_and_its_jobs_run(app: App) -> None:
    jobs = await app.queue.enqueue_many_async([{"workflow": app.held(str(i)), "job_id": str(i)} for i in range(4)])
    with app.worker("--processes", "2", "--concurrency", "2", "--lease", "1.5", "--name", "w") as supervisor:
        first = await workers(app, 2)
        assert {one.name for one in first} == {"w-1", "w-2"}
        for job in jobs:
            await node_runs(job, "hold")
        victim = first[0].pid
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        second = await workers(app, 2, without=victim)
        assert "w-3" in {one.name for one in second}
        app.open_gate()
        for job in jobs:
            await job.wait_async(20)
        supervisor.signal(signal.SIGTERM)
        assert await supervisor.ended(20) == 0
    assert "was killed by SIGKILL" in supervisor.output()
    assert await read_workers(app.broker) == []


async def test_the_first_signal_drains_all_and_the_second_ends_all_at_once(app: App) -> None:
    jobs = await app.queue.enqueue_many_async([{"workflow": app.held(str(i)), "job_id": str(i)} for i in range(2)])
    with app.worker("--processes", "2", "--concurrency", "1", "--grace", "600") as supervisor:
        for job in jobs:
            await node_runs(job, "hold")
        supervisor.signal(signal.SIGINT)
        await said(supervisor, "have 600 s to finish", 2)
        supervisor.signal(signal.SIGTERM)
        assert await supervisor.ended(10) == 0
    for job in jobs:
        assert (await job.refresh_async()).status is JobStatus.QUEUED


async def test_processes_end_when_their_supervisor_is_killed(app: App) -> None:
    with app.worker("--processes", "2") as supervisor:
        await workers(app, 2)
        supervisor.signal(signal.SIGKILL)
        await supervisor.ended(5)
        # They say farewell, long before their leases are over.
        async with asyncio.timeout(10):
            while await read_workers(app.broker):
                await asyncio.sleep(0.02)


async def test_a_burst_and_a_drain_end_the_supervisor(app: App) -> None:
    jobs = await app.queue.enqueue_many_async([{"workflow": app.workflow(str(i))} for i in range(20)])
    with app.worker("--processes", "2", "--burst") as supervisor:
        assert await supervisor.ended(60) == 0
    assert {(await job.refresh_async()).status for job in jobs} == {JobStatus.FINISHED}
    assert "replaced" not in supervisor.output()


async def test_what_cannot_start_is_not_tried_for_ever(app: App) -> None:
    (app.folder / "effects.py").write_text("db = 1\n")
    with app.worker("--processes", "2") as supervisor:
        assert await supervisor.ended(30) == 2
    assert "must name a DataFlow instance" in supervisor.output()
    assert "replaced" not in supervisor.output()
