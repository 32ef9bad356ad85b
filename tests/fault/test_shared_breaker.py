"""A circuit breaker that worker processes share: what one learns of the database, the other knows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from dataflow.jobs import Job, JobQueue, JobStatus, keys
from dataflow.jobs.breakers import BrokerStore
from dataflow.jobs.fleet import read_workers
from dataflow.workflows import Step, Workflow
from tests.servers import PostgreSQLServer, Server
from tests.worker_process import App

SOURCE = """
from dataflow import DataFlow

db = DataFlow(breaker_shared=True, breaker_failure_threshold=2, breaker_timeout=600.0)

@db.model
class Effect:
    job: str
"""

WRITE = Workflow("write", (Step("write", "EffectCreateNode", {"job": "x"}),))


async def test_what_one_process_learns_spares_the_jobs_of_another(
    tmp_path: Path, redis_url: str, new_server: Callable[[type[Server]], Server]
) -> None:
    server = new_server(PostgreSQLServer)
    app = App(tmp_path, redis_url, database_url=server.url, source=SOURCE)
    client = await app.broker.client()
    await client.flushdb()
    theirs, ours = JobQueue("theirs", app.broker), JobQueue("ours", app.broker)
    lease = ("--lease", "1.5")
    with (
        app.worker("--name", "one", "--queues", "theirs", *lease),
        app.worker("--name", "two", "--queues", "ours", *lease),
    ):
        for queue in (theirs, ours):
            await (await queue.enqueue_async(WRITE)).wait_async(20)
        await asyncio.to_thread(server.stop)
        for job in [await theirs.enqueue_async(WRITE) for _ in range(2)]:
            await until(job, JobStatus.SCHEDULED)
        await breakers_are(app, "open")
        spared = [await ours.enqueue_async(WRITE) for _ in range(5)]
        for job in spared:
            await until(job, JobStatus.SCHEDULED)
        assert [await client.hget(keys.job(job.id), "x_outages") for job in spared] == [None] * 5, "none has tried"

        await asyncio.to_thread(server.start)
        await BrokerStore(lambda: app.broker).close(server.url)  # as whoever's probe succeeds does
        await breakers_are(app, "closed")
        for queue in (theirs, ours):
            await (await queue.enqueue_async(WRITE)).wait_async(20)
    await app.broker.close()


async def until(job: Job, status: JobStatus) -> None:
    async with asyncio.timeout(20):
        while (await job.refresh_async()).status is not status:
            await asyncio.sleep(0.02)


async def breakers_are(app: App, state: str) -> None:
    """Return when both workers say so with their heartbeats."""
    async with asyncio.timeout(20):
        while [list(info.vitals["breakers"].values()) for info in await read_workers(app.broker)] != [[state]] * 2:
            await asyncio.sleep(0.05)
