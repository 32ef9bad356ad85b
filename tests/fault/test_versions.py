"""Workers of another version: what they cannot read is parked, whole, and runs after the upgrade."""

from __future__ import annotations

import pytest
import redis
from rq import Queue

from dataflow.errors import JobFailedError
from dataflow.jobs import JobStatus, wire
from dataflow.jobs.serializer import RQSerializer
from tests.toys import ToyApp, chain
from tests.worker_process import App
from worker.options import WorkerOptions
from worker.worker import Worker


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
