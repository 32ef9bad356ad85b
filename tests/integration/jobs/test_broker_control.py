"""Following, stopping, requeueing and listing jobs; draining workers; limits of queues and jobs claimed ahead."""

from __future__ import annotations

import asyncio

import pytest

from dataflow.errors import InputError, JobError, JobFailedError, JobNotFoundError
from dataflow.jobs import Broker, Job, JobEvent, JobQueue, JobStatus, control, keys
from dataflow.jobs.control import insist_on_command, requeue_failed, send_command
from dataflow.jobs.fleet import read_workers
from dataflow.jobs.listing import count_jobs, list_jobs
from tests.integration.jobs.conftest import LIMIT, Burst, Working, until
from tests.integration.jobs.test_broker_worker import leftovers
from tests.toys import ToyApp, chain, ids
from worker.scripts import load_script


def told(events: list[JobEvent]) -> list[str]:
    return [f"{event.node_id}:{event.state}" if event.node_id else event.status.value for event in events]


async def test_events_tell_each_node_until_the_end(
    queue: JobQueue, broker: Broker, working: Working, app: ToyApp
) -> None:
    job = await queue.enqueue_async(chain("echo", "gate", "echo"))
    events: list[JobEvent] = []
    running = asyncio.Event()

    async def follow() -> None:
        async for event in job.events_async(LIMIT):
            events.append(event)
            if (event.node_id, event.state) == ("n1", "running"):
                running.set()

    follower = asyncio.create_task(follow())
    async with working():
        async with asyncio.timeout(LIMIT):
            await running.wait()
        assert told(events)[-3:] == ["started", "n0:done", "n1:running"]
        app.gate.opened.set()
        await asyncio.wait_for(follower, LIMIT)
    assert told(events)[-3:] == ["n1:done", "n2:done", "finished"]
    times = [event.at for event in events if event.node_id]
    assert times == sorted(times, key=lambda at: at.timestamp() if at else 0)
    assert events[-1].at is not None
    assert 0 < await (await broker.client()).ttl(keys.progress(job.id)) <= 60


async def test_events_of_a_job_that_ended_tell_what_happened(queue: JobQueue, burst: Burst) -> None:
    job = await queue.enqueue_async(chain("fail", "echo"))
    await burst()
    assert told([event async for event in job.events_async()]) == ["n0:failed", "failed"]
    with pytest.raises(JobNotFoundError):
        await anext(Job("nobody", queue.broker).events_async())


async def test_events_end_when_time_is_up(queue: JobQueue) -> None:
    job = await queue.enqueue_async(chain("echo"))
    with pytest.raises(TimeoutError, match="it is queued"):
        _ = [event async for event in job.events_async(timeout=0.05)]


async def test_stop_ends_a_running_job_as_stopped(
    queue: JobQueue, broker: Broker, working: Working, app: ToyApp
) -> None:
    job = await queue.enqueue_async(chain("gate"))
    assert await job.stop_async() is False
    async with working():
        await app.gate.reached.get()
        assert await job.stop_async() is True
        with pytest.raises(JobFailedError, match="Stopped on request"):
            await job.wait_async(LIMIT)
    assert job.status is JobStatus.STOPPED
    assert app.gate.cancelled == [job.id]
    assert await leftovers(broker) == set()


async def test_what_does_not_listen_is_told_about(broker: Broker) -> None:
    assert await send_command(broker, "nobody", "drain") is False
    with pytest.raises(JobError, match="nobody does not listen"):
        await insist_on_command(broker, "nobody", "drain")


async def test_requeue_runs_a_failed_job_again(queue: JobQueue, broker: Broker, burst: Burst) -> None:
    job = await queue.enqueue_async(chain("fail", times=1))
    waiting = await queue.enqueue_async(chain("echo"), delay=3_600)
    await burst()
    assert await job.requeue_async() is True
    await job.refresh_async()
    assert (job.status, job.error) == (JobStatus.QUEUED, None)
    client = await broker.client()
    assert await client.ttl(keys.job(job.id)) == -1
    assert await client.zcard(keys.registry("failed", "default")) == 0
    assert (await burst())["done"] == 1
    assert await job.wait_async(1) == {"n0": {"runs": 2}}
    assert await job.requeue_async() is False
    assert await waiting.requeue_async() is False
    with pytest.raises(JobNotFoundError):
        await Job("nobody", broker).requeue_async()


async def test_requeue_of_all_that_failed(
    queue: JobQueue, broker: Broker, burst: Burst, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "CHUNK", 40)
    # So many that Redis lists them in pages, too.
    jobs = await queue.enqueue_many_async([{"workflow": chain("fail", times=1)}] * 150)
    canceled = await queue.enqueue_async(chain("echo"))
    await canceled.cancel_async()
    await burst()
    client = await broker.client()
    await client.zadd(keys.registry("failed", "default"), {"expired": 1.0})
    assert await requeue_failed(broker, "default") == 150
    assert await client.zcard(keys.registry("failed", "default")) == 0
    assert (await burst())["done"] == 150
    assert (await jobs[149].refresh_async()).status is JobStatus.FINISHED
    assert (await canceled.refresh_async()).status is JobStatus.CANCELED


async def test_lists_go_through_queues_and_statuses_page_by_page(
    broker: Broker, working: Working, app: ToyApp, burst: Burst
) -> None:
    high, low = JobQueue("high", broker), JobQueue("low", broker)
    failed = await low.enqueue_async(chain("fail", message="no ink"))
    await burst(queues=("low",))
    running = await high.enqueue_async(chain("gate"))
    async with working(queues=("high",), concurrency=1):
        await app.gate.reached.get()
        queued = await high.enqueue_many_async([{"workflow": chain("echo")}] * 5)
        later = await low.enqueue_async(chain("echo"), delay=3_600)
        everything = [running.id, *ids(queued), later.id, failed.id]

        page = await list_jobs(broker)
        assert [job.id for job in page.jobs] == everything
        assert (page.total, page.next_offset) == (8, None)
        assert [job.status for job in page.jobs] == ["started", *["queued"] * 5, "scheduled", "failed"]
        assert (page.jobs[7].error or "").endswith("no ink")

        seen: list[str] = []
        offset: int | None = 0
        while offset is not None:
            page = await list_jobs(broker, offset=offset, limit=3)
            assert page.total == 8
            seen += [job.id for job in page.jobs]
            offset = page.next_offset
        assert seen == everything

        only = await list_jobs(broker, queue="high", status="queued", offset=1, limit=2)
        assert [job.id for job in only.jobs] == ids(queued[1:3])
        assert (await count_jobs(broker, ["high"]))["high"]["queued"] == 5
        with pytest.raises(InputError, match="Did you mean 'queued'"):
            await list_jobs(broker, status="queud")


async def test_workers_tell_of_themselves(broker: Broker, queue: JobQueue, working: Working, app: ToyApp) -> None:
    await queue.enqueue_async(chain("gate"))
    async with working(queues=("high", "default"), concurrency=7, name="one") as worker:
        await app.gate.reached.get()
        await worker._heartbeat._beat_here()
        (info,) = await read_workers(broker)
        assert (info.name, info.queues, info.state, info.runner) == ("one", ["high", "default"], "busy", "dataflow")
        assert (info.held, info.vitals["running"], info.vitals["concurrency"]) == (1, 1, 7)
        assert info.vitals["rss"] > 1_000_000
        assert info.lease_left is not None
        assert 0 < info.lease_left <= 15
        await (await broker.client()).zadd(keys.LEASES, {"one": 1.0})
        assert [info.state for info in await read_workers(broker)] == ["lost"]
    assert await read_workers(broker) == []


async def test_drain_lets_all_that_runs_finish_whatever_the_grace(
    queue: JobQueue, broker: Broker, working: Working, app: ToyApp
) -> None:
    job = await queue.enqueue_async(chain("gate"))
    async with working(name="one", grace=0.0) as worker:
        await app.gate.reached.get()
        await insist_on_command(broker, "one", "drain")
        async with asyncio.timeout(LIMIT):
            while not worker._claimer.task.done():  # type: ignore[union-attr]
                await asyncio.sleep(0.01)
        late = await queue.enqueue_async(chain("echo"))
        app.gate.opened.set()
        await job.wait_async(LIMIT)
        async with asyncio.timeout(LIMIT):
            while await read_workers(broker):
                await asyncio.sleep(0.01)
    assert worker.counts["done"] == 1
    assert (await late.refresh_async()).status is JobStatus.QUEUED


async def test_a_late_job_of_the_first_queue_goes_before_all_that_wait(
    broker: Broker, working: Working, app: ToyApp
) -> None:
    high, low = JobQueue("high", broker), JobQueue("low", broker)
    first, *others = await low.enqueue_many_async([{"workflow": chain("gate")}] * 4)
    async with working(queues=("high", "low"), concurrency=1):
        assert await app.gate.reached.get() == first.id
        late = [await high.enqueue_async(chain("gate")) for _ in range(2)]
        app.gate.opened.set()
        for job in others:
            await job.wait_async(LIMIT)
        assert [await app.gate.reached.get() for _ in range(5)] == ids([*late, *others])


async def test_a_queue_with_a_limit_never_runs_more_and_holds_up_no_other(
    broker: Broker, working: Working, app: ToyApp
) -> None:
    high, low = JobQueue("high", broker), JobQueue("low", broker)
    slow = await low.enqueue_many_async([{"workflow": chain("gate")}] * 6)
    async with working(queues=("high", "low"), concurrency=4, limits={"low": 2}):
        await app.gate.reached.get()
        await app.gate.reached.get()
        for _ in range(3):
            await (await high.enqueue_async(chain("echo"))).wait_async(LIMIT)
        assert app.gate.reached.empty()
        assert await low.count_async() == 4
        app.gate.opened.set()
        for job in slow:
            await job.wait_async(LIMIT)


async def test_a_full_queue_does_not_keep_the_worker_busy(broker: Broker, working: Working, app: ToyApp) -> None:
    low = JobQueue("low", broker)
    await low.enqueue_many_async([{"workflow": chain("gate")}] * 3)
    async with working(queues=("high", "low"), limits={"low": 1}) as worker:
        await app.gate.reached.get()
        claims = 0
        claim = worker._claimer._claim

        async def counted(wanted: int) -> object:
            nonlocal claims
            claims += 1
            return await claim(wanted)

        worker._claimer._claim = counted  # type: ignore[method-assign]
        for _ in range(5):
            await (await JobQueue("high", broker).enqueue_async(chain("echo"))).wait_async(LIMIT)
        # Each job wakes it once, and its end may look at once again.
        assert claims <= 20


async def test_jobs_claimed_ahead_wait_their_turn_first_queue_first(
    broker: Broker, working: Working, app: ToyApp
) -> None:
    high, low = JobQueue("high", broker), JobQueue("low", broker)
    first = await low.enqueue_async(chain("gate"))
    async with working(queues=("high", "low"), concurrency=1, prefetch=2) as worker:
        assert await app.gate.reached.get() == first.id
        second = await low.enqueue_async(chain("gate"))
        await until(second, JobStatus.STARTED)
        third = await high.enqueue_async(chain("gate"))
        await until(third, JobStatus.STARTED)
        fourth = await high.enqueue_async(chain("gate"))
        assert (worker.vitals.read()["running"], worker.vitals.read()["waiting"]) == (1, 2)
        assert app.gate.reached.empty()
        app.gate.opened.set()
        for job in (first, second, third, fourth):
            await job.wait_async(LIMIT)
        assert await app.gate.reached.get() == third.id
    assert await leftovers(broker) == set()


async def test_jobs_claimed_ahead_can_be_stopped_and_go_back_unharmed(
    broker: Broker, queue: JobQueue, working: Working, app: ToyApp, burst: Burst
) -> None:
    running = await queue.enqueue_async(chain("gate"))
    async with working(concurrency=1, prefetch=5, grace=LIMIT) as worker:
        await app.gate.reached.get()
        ahead = await queue.enqueue_many_async([{"workflow": chain("echo")}] * 3)
        for job in ahead:
            await until(job, JobStatus.STARTED)
        assert await ahead[1].stop_async() is True
        await until(ahead[1], JobStatus.STOPPED)
        worker.stop()
        for job in (ahead[0], ahead[2]):
            await until(job, JobStatus.QUEUED)
        app.gate.opened.set()
        await running.wait_async(LIMIT)
    assert worker.counts == {"done": 1, "failed": 0, "stopped": 1, "retry": 0, "back": 2}
    assert (await burst())["done"] == 2
    assert await leftovers(broker) == set()


async def test_a_worker_restarted_under_its_name_runs_what_its_predecessor_left(
    broker: Broker, queue: JobQueue, burst: Burst
) -> None:
    job = await queue.enqueue_async(chain("echo"))
    at = "2026-01-01T00:00:00.0Z"
    await broker.run(load_script("heartbeat"), ["one", at, 3_600, 480, 3_600, 1, "default", 2, "queues", "default"])
    assert len(await broker.run(load_script("claim"), ["one", 10, 3_600, at, "t", 1, "default", "data"])) == 2
    assert (await burst(name="one"))["done"] == 1
    await job.wait_async(1)
    assert int(await (await broker.client()).hget(keys.job(job.id), "x_deliveries") or 0) == 1
    assert await leftovers(broker) == set()


async def test_a_suspect_that_is_claimed_ahead_has_not_begun_before_its_turn(
    broker: Broker, queue: JobQueue, working: Working, app: ToyApp
) -> None:
    await queue.enqueue_async(chain("gate"))
    suspect = await queue.enqueue_async(chain("gate"))
    client = await broker.client()
    await client.hset(keys.job(suspect.id), "x_deliveries", 1)
    async with working(concurrency=1, prefetch=1) as worker:
        await app.gate.reached.get()
        await until(suspect, JobStatus.STARTED)
        await worker._heartbeat._beat_here()  # a mark would have been sent before it
        (execution,) = await client.zrange(f"{keys.PREFIX}:executions:{suspect.id}", 0, -1)
        marks = f"{keys.PREFIX}:execution:{suspect.id}:{execution.decode()}"
        assert not await client.hexists(marks, "x_begun")
        app.gate.opened.set()
        assert await app.gate.reached.get() == suspect.id
        await suspect.wait_async(LIMIT)
