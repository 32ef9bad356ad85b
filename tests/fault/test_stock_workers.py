"""Stock ``rq worker`` processes on the same queues at the same time: nobody touches what the others run."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
from rq import Queue
from rq.job import Job as RQJob
from rq.results import Result
from rq.worker import Worker

from dataflow.jobs import JobStatus
from tests.acceptance.programs import environment
from tests.worker_process import App, node_runs

LEASE = 1.0

#: What stock workers run: a job that ends when the file is there.
HELD = """
import pathlib, time

def hold(file):
    while not pathlib.Path(file).exists():
        time.sleep(0.01)
"""


@contextmanager
def stock_worker(app: App, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    (app.folder / "held.py").write_text(HELD)
    command = [sys.executable, "-W", "ignore", "-m", "rq.cli", "worker", "default", "--url", app.redis_url, *options]
    with (app.folder / "stock.log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=app.folder, env={**environment(), "PYTHONWARNINGS": "ignore"}, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture
def stock(app: App) -> Iterator[Queue]:
    with redis.Redis.from_url(app.redis_url) as connection:
        yield Queue("default", connection=connection)


async def status(job: RQJob, wanted: str) -> None:
    async with asyncio.timeout(30):
        while job.get_status(refresh=True) != wanted:
            await asyncio.sleep(0.02)


async def our_recovery_has_run(app: App) -> None:
    """A worker of ours dies on another queue, and a peer on the shared one has noticed."""
    with app.worker("--lease", str(LEASE), "--name", "dies", "--queues", "other") as dies:
        await dies.said("serves")
        with redis.Redis.from_url(app.redis_url) as client:
            async with asyncio.timeout(20):
                while client.zscore("rq:dataflow:leases", "dies") is None:
                    await asyncio.sleep(0.02)
            dies.process.kill()
            async with asyncio.timeout(20):
                while client.zscore("rq:dataflow:leases", "dies") is not None:
                    await asyncio.sleep(0.02)


async def test_a_job_that_a_stock_worker_runs_is_left_to_it(app: App, stock: Queue) -> None:
    with stock_worker(app) as theirs:
        job = stock.enqueue("held.hold", str(app.gate))
        await status(job, "started")
        owner = Worker.all(connection=stock.connection)[0].name
        with app.worker("--lease", str(LEASE)):
            await our_recovery_has_run(app)
            assert job.get_status() == "started"
            app.open_gate()
            await status(job, "finished")
        (result,) = job.results()
        assert (result.type, result.worker_name) == (Result.Type.SUCCESSFUL, owner)
        assert theirs.poll() is None


async def test_a_job_of_a_stock_worker_that_was_killed_is_left_to_rq(app: App, stock: Queue) -> None:
    with stock_worker(app, "-w", "rq.worker.SimpleWorker") as theirs:
        job = stock.enqueue("time.sleep", 3_600)
        await status(job, "started")
        theirs.send_signal(signal.SIGKILL)
        theirs.wait()
        with app.worker("--lease", str(LEASE)):
            await our_recovery_has_run(app)
            assert job.get_status() == "started", "RQ's own maintenance decides what becomes of it"


async def test_maintenance_of_a_stock_worker_does_not_abandon_our_running_job(app: App, stock: Queue) -> None:
    job = await app.queue.enqueue_async(app.held("ours"))
    with app.worker("--lease", str(LEASE)) as ours:
        await node_runs(job, "hold")
        with stock_worker(app, "--burst") as theirs:  # looks after all registries when it starts
            await asyncio.to_thread(theirs.wait, 30)
        assert "cleaning registries for queue: default" in (app.folder / "stock.log").read_text()
        stock.started_job_registry.cleanup()
        assert (await job.refresh_async()).status is JobStatus.STARTED
        app.open_gate()
        await job.wait_async(20)
        assert "no longer" not in ours.output()
    assert await app.effects() == ["ours"]
