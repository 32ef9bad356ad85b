"""Signed jobs on every broker: what is run, what is refused, and what stays of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from dataflow.errors import ConfigurationError
from dataflow.jobs import Broker, Job, JobQueue, JobStatus, keys
from dataflow.jobs.signatures import SigningKeys
from tests.integration.jobs.conftest import LIMIT, until
from tests.toys import ToyApp, chain
from worker.admission import Admission
from worker.options import WorkerOptions
from worker.worker import Worker

KEYS = SigningKeys({"2026-01": "a secret of the test's own"})
OTHERS = SigningKeys({"2026-01": "a secret of somebody else"})

Work = Callable[..., Coroutine[Any, Any, dict[str, int]]]


@pytest.fixture
def queue(broker: Broker) -> JobQueue:
    return JobQueue("default", broker, signing_keys=KEYS)


@pytest.fixture
def work(broker: Broker, app: ToyApp) -> Work:
    """A worker that has the keys, until the queues are empty."""

    async def run(admission: Admission | None = None, **options: Any) -> dict[str, int]:
        worker = Worker([app], broker, WorkerOptions(burst=True, **options), admission=admission or Admission(KEYS))
        async with asyncio.timeout(LIMIT):
            return dict(await worker.run())

    return run


async def refused(job: Job, reason: str) -> None:
    await job.refresh_async()
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert reason in job.error.message
    assert job.error.type == "SignatureError"


async def captured(broker: Broker, job: Job) -> dict[bytes, bytes]:
    return dict(await (await broker.client()).hgetall(keys.job(job.id)))


async def put_back(broker: Broker, job_id: str, fields: dict[bytes, bytes], queue: str = "default") -> Job:
    """What somebody does who can write to Redis: a job as it was once seen, perhaps under another id or elsewhere."""
    client = await broker.client()
    await client.delete(keys.job(job_id))
    await client.hset(keys.job(job_id), mapping={**fields, b"status": b"queued"})
    await client.rpush(keys.queue(queue), job_id)
    return Job(job_id, broker)


async def test_signed_jobs_run_and_others_do_not(queue: JobQueue, broker: Broker, work: Work) -> None:
    good = await queue.enqueue_async("hello", {"n0": {"text": "x" * 5_000}}, meta={"k": 1}, tenant_id="t", timeout=7)
    unsigned = await JobQueue("default", broker).enqueue_async("hello", retry=3)
    forged = await JobQueue("default", broker, signing_keys=OTHERS).enqueue_async("hello", retry=3)
    unknown = await JobQueue("default", broker, signing_keys=SigningKeys({"x": "y" * 16})).enqueue_async("hello")
    last = await queue.enqueue_async("hello")

    assert await work() == {"done": 2, "failed": 3, "stopped": 0, "retry": 0, "back": 0}
    assert await good.wait_async(1) == {"n0": {"text": "x" * 5_000}}
    assert await last.wait_async(1) == {"n0": {}}
    await refused(unsigned, "is not signed")
    await refused(forged, "does not match")
    await refused(unknown, "key 'x', which this worker does not have")
    client = await broker.client()
    assert set(await client.zrange("rq:failed:default", 0, -1)) == {
        job.id.encode() for job in (unsigned, forged, unknown)
    }


@pytest.mark.parametrize("field", ["timeout", "result_ttl", "retry_intervals", "data", "success_callback_name"])
async def test_a_job_that_was_changed_is_refused(queue: JobQueue, broker: Broker, work: Work, field: str) -> None:
    job = await queue.enqueue_async("hello", retry=2)
    other = await queue.enqueue_async("hello", {"n0": {"amount": 1_000_000}})
    client = await broker.client()
    value = await client.hget(keys.job(other.id), "data") if field == "data" else "[5]" if "retry" in field else "9"
    await client.hset(keys.job(job.id), field, value)
    assert await work() == {"done": 1, "failed": 1, "stopped": 0, "retry": 0, "back": 0}
    await refused(job, "does not match")


async def test_more_retries_cannot_be_given(queue: JobQueue, broker: Broker, work: Work) -> None:
    job = await queue.enqueue_async(chain("fail"), retry=1)
    await (await broker.client()).hset(keys.job(job.id), "retries_left", 50)
    assert (await work())["failed"] == 1
    await refused(job, "given 1 retries")


async def test_a_job_of_another_queue_or_id_is_refused(queue: JobQueue, broker: Broker, work: Work) -> None:
    job = await queue.enqueue_async("hello")
    fields = await captured(broker, job)
    copied = await put_back(broker, "another", fields)
    assert await work() == {"done": 1, "failed": 1, "stopped": 0, "retry": 0, "back": 0}
    await refused(copied, "moved to another queue or id")

    moved = await queue.enqueue_async("hello")
    client = await broker.client()
    await client.lrem(keys.queue("default"), 0, moved.id)
    await client.rpush(keys.queue("high"), moved.id)
    assert (await work(queues=("high",)))["failed"] == 1
    assert b"SignatureError" in await client.hget(keys.job(moved.id), "x_error")


async def test_a_finished_job_that_is_put_back_is_not_run_again(queue: JobQueue, broker: Broker, work: Work) -> None:
    for ttl in (None, 0):
        job = await queue.enqueue_async("hello", job_id="pay-7", result_ttl=ttl)
        fields = await captured(broker, job)
        assert (await work())["done"] == 1
        again = await put_back(broker, job.id, fields)
        assert await work() == {"done": 0, "failed": 1, "stopped": 0, "retry": 0, "back": 0}
        await refused(again, "a replay")
    assert (await queue.enqueue_async("hello", job_id="pay-7")).status is JobStatus.QUEUED
    assert (await work())["done"] == 1


async def test_a_canceled_or_replaced_job_that_is_put_back_is_not_run(
    queue: JobQueue, broker: Broker, work: Work
) -> None:
    canceled = await queue.enqueue_async("hello", job_id="canceled")
    replaced = await queue.enqueue_async("hello", {"n0": {"price": 1}}, job_id="replaced")
    seen = {job.id: await captured(broker, job) for job in (canceled, replaced)}
    await canceled.cancel_async()
    await queue.enqueue_async("hello", {"n0": {"price": 2}}, job_id="replaced")
    assert (await work())["done"] == 1
    for job_id, fields in seen.items():
        await refused_after_put_back(broker, job_id, fields, work)


async def refused_after_put_back(broker: Broker, job_id: str, fields: dict[bytes, bytes], work: Work) -> None:
    job = await put_back(broker, job_id, fields)
    assert await work() == {"done": 0, "failed": 1, "stopped": 0, "retry": 0, "back": 0}
    await refused(job, "a replay")


async def test_one_id_twice_in_one_call_leaves_the_second(queue: JobQueue, work: Work) -> None:
    jobs = await queue.enqueue_many_async([{"workflow": "hello", "job_id": "x", "inputs": {"n0": {}}}] * 2)
    assert (await work())["done"] == 1
    assert await jobs[1].wait_async(1) == {"n0": {}}


async def test_retries_do_not_break_it(queue: JobQueue, work: Work, app: ToyApp) -> None:
    job = await queue.enqueue_async(chain("fail", times=3), retry={"max": 3, "interval": [0, 0, 0]})
    assert await work() == {"done": 1, "failed": 0, "stopped": 0, "retry": 3, "back": 0}
    assert await job.wait_async(1) == {"n0": {"runs": 4}}


async def test_recovery_and_giving_back_do_not_break_it(
    queue: JobQueue, broker: Broker, app: ToyApp, work: Work
) -> None:
    job = await queue.enqueue_async(chain("gate"))
    silent = ToyApp()
    dead = Worker([silent], broker, WorkerOptions(lease=0.6, grace=0.0), admission=Admission(KEYS))
    heir = Worker([app], broker, WorkerOptions(lease=0.6, grace=0.0), admission=Admission(KEYS))
    async with asyncio.timeout(LIMIT):
        first = asyncio.create_task(dead.run())
        await silent.gate.reached.get()
        await dead._heartbeat.stop()
        second = asyncio.create_task(heir.run())
        await app.gate.reached.get()
        heir.stop()  # without grace: the job is given back
        await second
        silent.gate.opened.set()
        dead.stop()
        await first
    await until(job, JobStatus.QUEUED)
    app.gate.opened.set()
    assert (await work())["done"] == 1


async def test_dependents_and_delayed_jobs_are_run(queue: JobQueue, broker: Broker, app: ToyApp) -> None:
    parent = await queue.enqueue_async("hello", delay=0.2)
    child = await queue.enqueue_async("hello", depends_on=parent)
    worker = Worker([app], broker, WorkerOptions(grace=0.0), admission=Admission(KEYS))
    task = asyncio.create_task(worker.run())
    try:
        await child.wait_async(LIMIT)
    finally:
        worker.stop()
        await task
    assert worker.counts["done"] == 2


async def test_permissive_workers_take_unsigned_jobs_and_still_verify(
    queue: JobQueue, broker: Broker, work: Work
) -> None:
    unsigned = await JobQueue("default", broker).enqueue_async("hello")
    forged = await JobQueue("default", broker, signing_keys=OTHERS).enqueue_async("hello")
    await queue.enqueue_async("hello")
    assert (await work(Admission(KEYS, require_signature=False)))["done"] == 2
    assert (await unsigned.refresh_async()).status is JobStatus.FINISHED
    await refused(forged, "does not match")


async def test_workers_without_keys_run_signed_jobs_too(queue: JobQueue, work: Work) -> None:
    await queue.enqueue_async("hello")
    assert (await work(Admission()))["done"] == 1
    with pytest.raises(ConfigurationError, match="no keys"):
        Admission(require_signature=True)


async def test_an_old_signature_is_refused(broker: Broker, work: Work) -> None:
    brief = JobQueue("default", broker, signing_keys=SigningKeys({"2026-01": "a secret of the test's own"}, max_age=60))
    past = time.time() - 120
    job = await brief.enqueue_async("hello", job_id="late")
    client = await broker.client()
    fields = {name.decode(): value for name, value in (await client.hgetall(keys.job("late"))).items()}
    call = fields["data"]
    signature = SigningKeys({"2026-01": "a secret of the test's own"}, max_age=60).sign(
        "late", "default", call, fields, due=past
    )
    await client.hset(keys.job("late"), "x_sig", signature)
    assert (await work())["failed"] == 1
    await refused(job, "expired")


async def test_what_is_remembered_expires(queue: JobQueue, broker: Broker, work: Work) -> None:
    await queue.enqueue_many_async([{"workflow": "hello"}] * 30)
    assert (await work())["done"] == 30
    client = await broker.client()
    remembered = [key async for key in client.scan_iter("rq:dataflow:spent:*")]
    assert sum([await client.scard(key) for key in remembered]) == 30
    assert len(remembered) <= 2
    for key in remembered:
        assert 7 * 86_400 < await client.ttl(key) <= 7 * 86_400 + 3_600
