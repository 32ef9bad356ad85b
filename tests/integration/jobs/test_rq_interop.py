"""RQ's own package reads, steers and shares what we write."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import pytest
import redis
from rq import Queue, Worker
from rq.command import send_shutdown_command, send_stop_job_command
from rq.job import Job as RQJob
from rq.job import Retry
from rq.registry import (
    DeferredJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    ScheduledJobRegistry,
    StartedJobRegistry,
)
from rq.results import Result
from rq.worker import SimpleWorker

from dataflow.jobs import Broker, Job, JobQueue, JobStatus
from dataflow.jobs.serializer import RQSerializer
from tests.integration.jobs.conftest import Burst, Working, until
from tests.toys import ToyApp, chain, ids


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


@pytest.fixture
def stock(connection: redis.Redis) -> Queue:
    return Queue("default", connection=connection, serializer=RQSerializer)


def fetch(job: Job, connection: redis.Redis) -> RQJob:
    return RQJob.fetch(job.id, connection=connection, serializer=RQSerializer)


async def test_rq_reads_a_waiting_job(queue: JobQueue, connection: redis.Redis, stock: Queue) -> None:
    job = await queue.enqueue_async(
        chain("echo", name="greet"), {"n0": {"a": 1}}, timeout=90, retry=Retry(max=3, interval=[1, 2]), meta={"k": "v"}
    )
    await queue.enqueue_async("hello", delay=60)
    await queue.enqueue_async("hello", depends_on=job)

    seen = fetch(job, connection)
    assert (seen.func_name, seen.instance, list(seen.args)) == ("dataflow.jobs.entry.run", None, [])
    assert seen.kwargs["inputs"] == {"n0": {"a": 1}}
    assert seen.get_status() == "queued"
    assert (seen.origin, seen.timeout, seen.description) == ("default", 90, "workflow greet")
    assert (seen.retries_left, seen.retry_intervals, seen.meta) == (3, [1, 2], {"k": "v"})
    assert seen.enqueued_at == (await job.refresh_async()).enqueued_at
    assert stock.job_ids == [job.id]
    assert Queue.all(connection=connection) == [stock]
    assert ScheduledJobRegistry(queue=stock).count == 1
    assert DeferredJobRegistry(queue=stock).count == 1
    assert callable(seen.func)


async def test_rq_reads_results_and_failures(
    queue: JobQueue, connection: redis.Redis, stock: Queue, burst: Burst
) -> None:
    good = await queue.enqueue_async(chain("echo", a=1))
    bad = await queue.enqueue_async(chain("fail", message="no ink"))
    await burst(name="reader")

    finished = fetch(good, connection)
    assert finished.get_status() == "finished"
    assert finished.return_value() == {"n0": {"a": 1}}
    latest = finished.latest_result()
    assert latest is not None
    assert (latest.type, latest.worker_name) == (Result.Type.SUCCESSFUL, "reader")
    assert latest.execution_started_at is not None
    assert latest.execution_ended_at is not None
    assert finished.started_at is not None
    assert finished.ended_at is not None
    assert FinishedJobRegistry(queue=stock).get_job_ids() == [good.id]

    failed = fetch(bad, connection)
    result = failed.latest_result()
    assert result is not None
    assert result.type is Result.Type.FAILED
    assert result.exc_string is not None
    assert "no ink" in result.exc_string
    assert FailedJobRegistry(queue=stock).get_job_ids() == [bad.id]
    assert StartedJobRegistry(queue=stock).count == 0


async def test_rq_shows_our_jobs_also_where_it_reads_with_pickle(
    queue: JobQueue, connection: redis.Redis, burst: Burst
) -> None:
    """What rq-dashboard does, which nobody tells of our serializer."""
    job = await queue.enqueue_async(chain("echo", a=1), meta={"k": "v"})
    large = await queue.enqueue_async(chain("echo", a="x" * 5_000))
    await burst()
    plain = RQJob.fetch(job.id, connection=connection)
    assert plain.get_call_string() == "dataflow.jobs.entry.run()"
    assert plain.get_meta() == {}
    assert plain.return_value() == '{"n0":{"a":1}}'
    assert "bytes of results" in str(RQJob.fetch(large.id, connection=connection).return_value())
    assert await large.wait_async(1) == {"n0": {"a": "x" * 5_000}}


async def test_rq_requeues_our_failed_job(queue: JobQueue, stock: Queue, burst: Burst) -> None:
    job = await queue.enqueue_async(chain("fail", times=1))
    await burst()
    FailedJobRegistry(queue=stock).requeue(job.id)
    assert (await burst())["done"] == 1
    assert await job.wait_async(1) == {"n0": {"runs": 2}}


async def test_rq_cancels_and_deletes_ours(queue: JobQueue, connection: redis.Redis, burst: Burst) -> None:
    canceled, deleted = await queue.enqueue_async("hello"), await queue.enqueue_async("hello")
    fetch(canceled, connection).cancel()
    fetch(deleted, connection).delete()
    assert (await canceled.refresh_async()).status is JobStatus.CANCELED
    assert (await burst())["done"] == 0


async def test_rq_sees_our_worker_and_a_look_at_its_registries_does_no_harm(
    queue: JobQueue, connection: redis.Redis, stock: Queue, working: Working, app: ToyApp, broker_url: str
) -> None:
    job = await queue.enqueue_async(chain("gate"))
    async with working(name="seen", queues=("default", "low")):
        await app.gate.reached.get()
        (worker,) = Worker.all(connection=connection, serializer=RQSerializer)
        assert (worker.name, worker.queue_names(), worker.get_state()) == ("seen", ["default", "low"], "busy")
        assert worker.get_current_job_id() is None or worker.get_current_job_id() == job.id
        assert [execution.job_id for execution in worker.get_current_executions()] == [job.id]
        registry = StartedJobRegistry(queue=stock)
        assert registry.count == 1
        assert registry.get_job_ids() == [job.id]
        assert fetch(job, connection).worker_name == "seen"
        command = [sys.executable, "-m", "rq.cli", "info", "--url", broker_url, "--raw"]
        info = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
        assert "queue default 0" in info.stdout
        assert "seen" in info.stdout
        app.gate.opened.set()
        await job.wait_async(20)
    assert Worker.all(connection=connection) == []


async def test_rq_stops_our_job_and_shuts_our_worker_down(
    queue: JobQueue, connection: redis.Redis, working: Working, app: ToyApp
) -> None:
    job = await queue.enqueue_async(chain("gate"), retry=3)
    async with working(name="steered") as worker:
        await app.gate.reached.get()
        while not connection.pubsub_numsub("rq:pubsub:steered")[0][1]:
            await asyncio.sleep(0.01)
        send_stop_job_command(connection, job.id, serializer=RQSerializer)
        await until(job, JobStatus.STOPPED)
        assert app.gate.cancelled == [job.id]
        send_shutdown_command(connection, "steered")
        async with asyncio.timeout(20):
            await worker._stopping.wait()
    assert worker.counts["stopped"] == 1


async def test_a_stock_producer_wakes_us_and_gets_a_reason(stock: Queue, working: Working) -> None:
    async with working() as worker:
        theirs = stock.enqueue("os.getcwd")
        async with asyncio.timeout(20):
            while worker.counts["failed"] == 0:
                await asyncio.sleep(0.01)
    result = theirs.latest_result()
    assert result is not None
    assert result.exc_string is not None
    assert "imports nothing that a job names" in result.exc_string


async def test_a_stock_worker_refuses_our_job_with_a_reason_and_releases_nothing_wrong(
    queue: JobQueue, connection: redis.Redis, stock: Queue, burst: Burst
) -> None:
    job = await queue.enqueue_async("hello")
    await asyncio.to_thread(_stock_burst, connection)
    seen = fetch(job, connection)
    result = seen.latest_result()
    assert seen.get_status() == "failed"
    assert result is not None
    assert result.exc_string is not None
    assert "dataflow worker" in result.exc_string
    FailedJobRegistry(queue=stock).requeue(job.id)
    assert (await burst())["done"] == 1


def _stock_burst(connection: redis.Redis) -> None:
    worker = SimpleWorker(["default"], connection=connection, serializer=RQSerializer)
    worker._install_signal_handlers = lambda: None  # type: ignore[method-assign]
    worker.death_penalty_class = _NoPenalty  # type: ignore[assignment]
    worker.work(burst=True, logging_level="ERROR")


class _NoPenalty:
    """RQ's own works in the main thread only."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


async def test_our_end_releases_a_dependent_that_rq_wrote(queue: JobQueue, stock: Queue, burst: Burst) -> None:
    parent = await queue.enqueue_async("hello")
    child = stock.enqueue(
        "dataflow.jobs.entry.run", kwargs={"v": 1, "name": "hello", "inputs": {}}, depends_on=parent.id
    )
    assert child.get_status() == "deferred"
    assert (await burst())["done"] == 2
    assert child.get_status(refresh=True) == "finished"
    assert child.return_value(refresh=True) == {"n0": {}}


async def test_due_jobs_are_left_to_a_stock_scheduler_that_holds_the_lock(
    queue: JobQueue, connection: redis.Redis, burst: Burst
) -> None:
    await queue.enqueue_async("hello", delay=0)
    connection.set("rq:scheduler-lock:default", "theirs", ex=60)
    assert (await burst())["done"] == 0
    connection.delete("rq:scheduler-lock:default")
    assert (await burst())["done"] == 1


async def test_many_jobs_keep_their_order_for_rq(queue: JobQueue, stock: Queue) -> None:
    jobs = await queue.enqueue_many_async([{"workflow": "hello"}] * 20)
    assert stock.job_ids == ids(jobs)


async def test_what_a_stock_worker_ends_lets_the_next_of_its_ordering_key_go_on(
    queue: JobQueue, connection: redis.Redis, working: Working
) -> None:
    jobs = [await queue.enqueue_async("hello", ordering_key="k") for _ in range(3)]
    await asyncio.to_thread(_stock_burst, connection)
    assert [fetch(job, connection).get_status() for job in jobs] == ["failed", "deferred", "deferred"]
    async with working(lease=0.6):
        await jobs[2].wait_async(20)
    assert [fetch(job, connection).get_status() for job in jobs] == ["failed", "finished", "finished"]


async def test_rq_requeues_a_failed_job_that_has_an_ordering_key(
    queue: JobQueue, stock: Queue, connection: redis.Redis, burst: Burst
) -> None:
    failed = await queue.enqueue_async(chain("fail", times=1), ordering_key="k")
    assert (await burst())["failed"] == 1
    waiting = [await queue.enqueue_async("hello", ordering_key="k") for _ in range(2)]
    FailedJobRegistry(queue=stock).requeue(failed.id)
    assert (await burst(concurrency=1))["done"] == 3
    assert (await failed.refresh_async()).status is JobStatus.FINISHED
    assert [fetch(job, connection).get_status() for job in waiting] == ["finished"] * 2
    assert connection.keys("rq:dataflow:order*") == []
