"""Workers that are killed, and a broker that goes away, with real processes."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dataflow.jobs import Job, JobStatus
from tests.servers import RedisServer
from tests.worker_process import App, node_runs

LEASE = 1.5


@pytest.fixture
async def app(tmp_path: Path, broker_url: str) -> AsyncIterator[App]:
    made = App(tmp_path, broker_url)
    yield made
    await made.broker.close()


async def enqueue(app: App, count: int) -> list[Job]:
    requests = [{"workflow": app.held(f"job-{i:03}"), "job_id": f"job-{i:03}"} for i in range(count)]
    return await app.queue.enqueue_many_async(requests)


async def test_killed_with_a_peer_alive_nothing_is_lost(app: App) -> None:
    jobs = await enqueue(app, 40)
    options = ("--lease", str(LEASE), "--concurrency", "10")
    with app.worker(*options, "--name", "victim") as victim:
        await node_runs(jobs[0], "hold")
        with app.worker(*options, "--name", "peer"):
            await node_runs(jobs[10], "hold")
            victim.signal(signal.SIGKILL)
            killed = time.monotonic()
            app.open_gate()
            async with asyncio.timeout(LEASE + 15):
                for job in jobs:
                    await job.wait_async()
            assert time.monotonic() - killed < LEASE + 5
    effects = await app.effects()
    assert set(effects) == {job.id for job in jobs}
    assert len(effects) - len(jobs) <= 10, "only what ran when it was killed may have run twice"
    assert await app.queue.count_async() == 0


async def test_killed_without_a_peer_the_next_worker_recovers(app: App) -> None:
    jobs = await enqueue(app, 5)
    with app.worker("--lease", str(LEASE)) as victim:
        await node_runs(jobs[4], "hold")
        victim.signal(signal.SIGKILL)
        await victim.ended(5)
    app.open_gate()
    with app.worker("--lease", str(LEASE)):
        for job in jobs:
            await job.wait_async(LEASE + 15)
    assert set(await app.effects()) == {job.id for job in jobs}


async def test_killed_and_started_again_under_the_same_name_it_recovers_its_own_jobs_at_once(app: App) -> None:
    jobs = await enqueue(app, 5)
    options = ("--lease", "60", "--name", "fixed")
    with app.worker(*options) as victim:
        await node_runs(jobs[4], "hold")
        victim.signal(signal.SIGKILL)
        await victim.ended(5)
    app.open_gate()
    with app.worker(*options):
        for job in jobs:
            await job.wait_async(20)
    assert set(await app.effects()) == {job.id for job in jobs}


async def test_a_broker_that_restarts_costs_no_job(tmp_path: Path, durable_redis: RedisServer) -> None:
    app = App(tmp_path, durable_redis.url)
    try:
        running = await enqueue(app, 5)
        with app.worker("--lease", str(LEASE), "--concurrency", "5") as worker:
            await node_runs(running[4], "hold")
            await app.queue.enqueue_async(app.workflow("waiting"), job_id="waiting")
            await asyncio.to_thread(durable_redis.stop)
            while "Lost the broker" not in worker.output():
                await asyncio.sleep(0.02)
            app.open_gate()
            await asyncio.to_thread(durable_redis.start)
            for job in (*running, Job("waiting", app.broker)):
                await job.wait_async(20)
            late = await app.queue.enqueue_async(app.workflow("late"))
            await late.wait_async(20)
        assert sorted(await app.effects()) == sorted([*(job.id for job in running), "late", "waiting"])
        for job in running:
            assert (await job.refresh_async()).status is JobStatus.FINISHED
    finally:
        await app.broker.close()
