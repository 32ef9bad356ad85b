"""Workers of another version: what they cannot read is parked, whole, and runs after the upgrade."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
import redis
from rq import Queue

from dataflow.errors import JobFailedError
from dataflow.jobs import JobStatus, keys, wire
from dataflow.jobs.serializer import RQSerializer
from tests.toys import ToyApp, chain
from tests.worker_process import App
from worker.options import WorkerOptions
from worker.worker import Worker

#: The ``data`` field of a job as version 1 wrote it. It is not made anew: jobs that wait while a release is rolled out
#: are not either.
VERSION_1 = (
    b"(X\x17\x00\x00\x00dataflow.jobs.entry.runN)}t.\x01\x94\xb7dataflow.jobs.entry.run\xc0\x90\x84\xa1v\x01\xa8workflow"
    b"\xc4<\x01\x84\xa1v\x01\xa4name\xa3toy\xa5nodes\x91\x83\xa2id\xa2n0\xa4type\xa8EchoNode\xa6params\x81\xa1a\x01\xa5edges\x90"
    b"\xa6inputs\x81\xa2n0\x82\xa5price\xd6\x019.50\xa2at\xd7\xff\x00\x00]\xc0iW5\xa5\xa9tenant_id\xa2t1"
)


async def test_a_job_of_an_older_producer_runs_on_the_upgraded_worker(app: App) -> None:
    job = await app.queue.enqueue_async(chain("echo"))
    await (await app.broker.client()).hset(keys.job(job.id), "data", VERSION_1)
    await Worker([ToyApp()], app.broker, WorkerOptions(burst=True)).run()
    at = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)
    assert await job.wait_async(1) == {"n0": {"a": 1, "price": Decimal("9.50"), "at": at}}


async def test_a_job_of_a_newer_producer_is_parked_and_runs_after_the_upgrade(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(wire, "VERSION", 2)
        job = await app.queue.enqueue_async(chain("echo", a=1), retry=3)
    await Worker([ToyApp()], app.broker, WorkerOptions(burst=True)).run()
    with pytest.raises(JobFailedError, match=r"version 2; this worker reads version 1"):
        await job.wait_async(1)
    assert job.retries_left == 3
    with redis.Redis.from_url(app.redis_url) as connection:
        queue = Queue("default", connection=connection, serializer=RQSerializer)
        assert queue.failed_job_registry.get_job_ids() == [job.id]
        queue.failed_job_registry.requeue(job.id)
    with monkeypatch.context() as upgraded:
        upgraded.setattr(wire, "READABLE", frozenset({1, 2}))
        await Worker([ToyApp()], app.broker, WorkerOptions(burst=True)).run()
    assert await job.wait_async(1) == {"n0": {"a": 1}}
    assert job.status is JobStatus.FINISHED
