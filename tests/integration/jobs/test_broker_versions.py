"""Producers and workers of different releases: what one does not know is kept for the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import redis
from rq import Queue
from rq.job import Job as RQJob
from rq.registry import FailedJobRegistry

from dataflow.jobs import Broker, JobQueue, JobStatus, wire
from dataflow.jobs.serializer import RQSerializer
from dataflow.jobs.signatures import SigningKeys
from tests.toys import ToyApp, chain
from worker.admission import Admission
from worker.options import WorkerOptions
from worker.worker import Worker

KEYS = SigningKeys({"k": "a secret of the test's own"})


@pytest.fixture
async def broker(broker_url: str) -> AsyncIterator[Broker]:
    """Real servers only: RQ needs a connection of its own."""
    made = Broker(broker_url)
    yield made
    await made.close()


@pytest.fixture
def connection(broker_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(broker_url) as client:
        yield client


def release(monkeypatch: pytest.MonkeyPatch, writes: int, *reads: int) -> None:
    """Go on as another release."""
    monkeypatch.setattr(wire, "VERSION", writes)
    monkeypatch.setattr(wire, "READABLE", frozenset(reads))


async def work(broker: Broker, keys: SigningKeys | None = None) -> dict[str, int]:
    return dict(await Worker([ToyApp()], broker, WorkerOptions(burst=True), admission=Admission(keys)).run())


@pytest.mark.parametrize(("producer", "worker"), [(2, 1), (1, 2)], ids=["the producer first", "the worker first"])
@pytest.mark.parametrize("keys", [None, KEYS], ids=["unsigned", "signed"])
async def test_an_upgrade_loses_no_job(
    broker: Broker,
    connection: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    producer: int,
    worker: int,
    keys: SigningKeys | None,
) -> None:
    release(monkeypatch, producer, producer)
    job = await JobQueue("default", broker, signing_keys=keys).enqueue_async("hello", {"n0": {"a": 1}}, retry=2)
    release(monkeypatch, worker, worker)
    assert (await work(broker, keys))["failed"] == 1
    await job.refresh_async()
    assert (job.status, job.retries_left) == (JobStatus.FAILED, 2)
    assert job.error is not None
    assert f"version {producer}; this worker reads version {worker}" in job.error.message
    assert "requeue it when workers of the producer's release" in job.error.message

    FailedJobRegistry(queue=Queue("default", connection=connection, serializer=RQSerializer)).requeue(job.id)
    release(monkeypatch, 2, 1, 2)
    assert (await work(broker, keys))["done"] == 1
    assert await job.wait_async(1) == {"n0": {"a": 1}}


@pytest.mark.parametrize("serializer", [RQSerializer, None], ids=["told of ours", "pickle"])
@pytest.mark.parametrize("text", ["short", "long" * 1_000])
async def test_rq_requeues_a_signed_job_and_the_signature_holds(
    broker: Broker, connection: redis.Redis, serializer: type | None, text: str
) -> None:
    """RQ writes the whole hash anew, and compresses the payload its own way."""
    queue = JobQueue("default", broker, signing_keys=KEYS)
    parent = await queue.enqueue_async("hello")
    job = await queue.enqueue_async(
        chain("fail", message=text), retry={"max": 1, "interval": [0]}, depends_on=parent, meta={"k": "v"},
        result_ttl=60, failure_ttl=600, timeout=9, tenant_id="t", allow_dependency_failures=True,
    )  # fmt: skip
    for _ in range(2):
        counts = await work(broker, KEYS)
        assert counts["failed"] == 1
        await job.refresh_async()
        assert job.error is not None
        assert job.error.type == "ValueError", "its own failure"
        stored = RQJob.fetch(job.id, connection=connection, serializer=serializer)
        stored.save(include_meta=serializer is not None)
        FailedJobRegistry(queue=Queue("default", connection=connection, serializer=serializer)).requeue(job.id)
    assert (await job.refresh_async()).status is JobStatus.QUEUED


async def test_a_signature_of_another_release_is_kept_with_a_reason(broker: Broker, connection: redis.Redis) -> None:
    job = await JobQueue("default", broker, signing_keys=KEYS).enqueue_async("hello")
    signature = connection.hget(f"rq:job:{job.id}", "x_sig")
    assert isinstance(signature, bytes)
    connection.hset(f"rq:job:{job.id}", "x_sig", b"2" + signature[1:])
    assert (await work(broker, KEYS))["failed"] == 1
    await job.refresh_async()
    assert job.error is not None
    assert "signature has version '2'" in job.error.message
    assert "Upgrade the worker" in job.error.message
