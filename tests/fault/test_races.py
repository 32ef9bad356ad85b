"""Ends of jobs that race each other: exactly one wins, and nothing stays behind."""

from __future__ import annotations

import asyncio
import random
import signal
import time

from redis.asyncio import Redis

from dataflow.jobs import Job, JobStatus
from tests.fault.keyspace import running
from tests.toys import ToyApp, chain
from tests.worker_process import App, node_runs
from worker.options import WorkerOptions
from worker.worker import Worker

ENDED = (JobStatus.FINISHED, JobStatus.STOPPED, JobStatus.CANCELED)


async def test_stop_or_cancel_against_the_end_of_a_job_a_thousand_times(app: App) -> None:
    toys = ToyApp()
    worker = Worker([toys], app.broker, WorkerOptions(name="racer", concurrency=50))
    task = asyncio.create_task(worker.run())
    await worker.started.wait()
    client = await app.broker.client()
    while not (await client.pubsub_numsub("rq:pubsub:racer"))[0][1]:
        await asyncio.sleep(0.01)
    chance = random.Random(7)
    jobs: list[Job] = []
    for _ in range(20):
        some = await app.queue.enqueue_many_async([{"workflow": chain("gate", "echo")}] * 50)
        for _ in some:
            await toys.gate.reached.get()
        ends = [job.cancel_async() if n % 2 else stop(client, job) for n, job in enumerate(some)]
        open_at = chance.randrange(len(ends))
        tasks = []
        for number, end in enumerate(ends):
            tasks.append(asyncio.create_task(end))
            if number == open_at:
                toys.gate.opened.set()
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        async with asyncio.timeout(20):
            for job in some:
                while (await job.refresh_async()).status not in ENDED:
                    await asyncio.sleep(0.01)
        toys.gate.opened.clear()
        jobs += some
    worker.stop()
    counts = await task
    statuses = [job.status for job in jobs]
    assert set(statuses) == set(ENDED)
    assert counts["done"] == statuses.count(JobStatus.FINISHED)
    assert counts["stopped"] == statuses.count(JobStatus.STOPPED)
    assert running(app.redis_url) == set()
    assert await app.queue.count_async() == 0
    for name, status in (
        ("finished", JobStatus.FINISHED),
        ("failed", JobStatus.STOPPED),
        ("canceled", JobStatus.CANCELED),
    ):
        assert await client.zcard(f"rq:{name}:default") == statuses.count(status), name


async def stop(client: Redis, job: Job) -> None:
    """What RQ's ``send_stop_job_command`` sends."""
    await client.publish("rq:pubsub:racer", f'{{"command": "stop-job", "job_id": "{job.id}"}}')


async def test_sigterm_under_load_gives_back_what_does_not_end_and_spends_no_retry(app: App) -> None:
    held = await app.queue.enqueue_many_async(
        [{"workflow": app.held(f"held-{i:02}"), "job_id": f"held-{i:02}", "retry": 2} for i in range(10)]
    )
    jobs = await app.queue.enqueue_many_async(
        [{"workflow": app.workflow(f"job-{i:03}"), "job_id": f"job-{i:03}", "retry": 2} for i in range(300)]
    )
    with app.worker("--grace", "1", "--concurrency", "20") as worker:
        await node_runs(held[9], "hold")
        await jobs[0].wait_async(20)
        worker.signal(signal.SIGTERM)
        began = time.monotonic()
        assert await worker.ended(10) == 0
        assert time.monotonic() - began < 1 + 2
    client = await app.broker.client()
    front = await client.lrange("rq:queue:default", 0, 9)
    assert sorted(front) == [job.id.encode() for job in held], "at the front"
    assert running(app.redis_url) == set()
    app.open_gate()
    with app.worker("--burst") as worker:
        assert await worker.ended(60) == 0
    assert await app.effects() == [job.id for job in (*held, *jobs)], "each once"
    assert {(await job.refresh_async()).retries_left for job in (*held, *jobs)} == {2}
