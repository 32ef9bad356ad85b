"""Actors as jobs, on every broker."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dataflow import AsyncLocalRuntime, DataFlow, WorkflowBuilder, current_job, current_run
from dataflow.errors import InputError, JobFailedError
from dataflow.jobs import Broker, JobQueue, JobStatus
from tests.integration.jobs.conftest import LIMIT, Burst, Working, until
from tests.toys import chain


@pytest.fixture
def app(broker: Broker) -> Iterator[DataFlow]:
    """An application whose jobs are in the test's broker."""
    made = DataFlow(":memory:")
    made._broker = broker
    yield made
    made._broker = None
    made.close()


async def test_async_and_sync_ones_return_their_results(app: DataFlow, burst: Burst) -> None:
    loop_thread = threading.current_thread()

    @app.actor
    async def add(a: int, b: int = 1) -> int:
        assert threading.current_thread() is loop_thread
        return a + b

    @app.actor(queue="default", name="greet")
    def say_hello(who: str) -> dict[str, str]:
        assert threading.current_thread() is not loop_thread
        return {"text": f"Hello {who}"}

    jobs = [await add.send_async(1), await add.send_async(1, b=41), await say_hello.send_async(who="Ada")]
    assert (await burst())["done"] == 3
    assert await jobs[1].wait_async(1) == {"add": {"result": 42}}
    for job in jobs:
        await job.refresh_async()
    assert [job.result for job in jobs] == [2, 42, {"text": "Hello Ada"}]


async def test_result_is_for_actors_only(app: DataFlow, burst: Burst, queue: JobQueue) -> None:
    @app.actor
    async def nothing() -> None: ...

    app.register_workflow("two", _two(app))
    job, other = await nothing.send_async(), await app.queue().enqueue_async("two")
    await job.refresh_async()
    assert job.result is None
    assert (await burst())["done"] == 2
    for item in (job, other):
        await item.refresh_async()
    assert job.result is None
    with pytest.raises(InputError, match="The job ran no actor"):
        assert other.result


def _two(app: DataFlow) -> Any:
    workflow = WorkflowBuilder()
    workflow.add_node("nothing", "first")
    workflow.add_node("nothing", "second")
    workflow.add_connection("first", "result", "second", "input")
    return workflow


async def test_code_knows_its_job(app: DataFlow, burst: Burst) -> None:
    seen: list[Any] = []

    @app.actor(ordering_key="k:{number}", retry=1)
    async def look(number: int) -> None:
        seen.append((current_job(), current_run()))
        if len(seen) == 1:
            raise ValueError("once more")

    @app.actor
    def look_from_thread() -> None:
        seen.append((current_job(), current_run()))

    job, other = await look.send_async(7), await look_from_thread.send_async()
    await burst(concurrency=1)
    tries = [(found.id, found.queue, found.ordering_key, found.retries_left) for found, _ in seen if found]
    assert sorted(tries) == sorted(
        [(job.id, "default", "k:7", 1), (job.id, "default", "k:7", 0), (other.id, "default", None, 0)]
    )
    assert {(run.run_id, run.node_id) for _, run in seen} == {(job.id, "look"), (other.id, "look_from_thread")}
    assert current_job() is None


async def test_errors_and_retries(app: DataFlow, burst: Burst) -> None:
    tries: list[int] = []

    @app.actor(retry=2)
    def fail(number: int) -> None:
        tries.append(number)
        raise ValueError("out of paper")

    job = await fail.send_async(1)
    once = await fail.with_options(retry=None).send_async(2)
    counts = await burst()
    assert (counts["failed"], counts["retry"]) == (2, 2)
    assert sorted(tries) == [1, 1, 1, 2]
    with pytest.raises(JobFailedError, match="out of paper") as caught:
        await job.wait_async(1)
    assert caught.value.context["node_type"] == "fail"
    assert (await once.refresh_async()).error is not None


async def test_an_async_one_is_interrupted_when_its_time_is_up(app: DataFlow, burst: Burst) -> None:
    interrupted = asyncio.Event()

    @app.actor(timeout=0.1)
    async def sleep() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            interrupted.set()

    job = await sleep.send_async()
    assert (await burst())["failed"] == 1
    assert interrupted.is_set()
    with pytest.raises(JobFailedError, match="exceeded its 1 s"):
        await job.wait_async(1)


async def test_a_sync_one_whose_time_is_up_keeps_its_slot_and_the_worker_goes_on(
    app: DataFlow, working: Working, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()

    @app.actor(timeout=1)
    def block() -> None:
        release.wait(LIMIT)

    @app.actor
    def quick() -> int:
        return 1

    caplog.set_level(logging.INFO, "dataflow")
    async with working(app, concurrency=2, lease=0.6) as worker:
        blocked = await block.send_async()
        await until(blocked, JobStatus.FAILED)
        assert worker._threads.stuck == 1
        assert worker._deliveries.free == 1
        assert "1 of 2 threads are stuck" in caplog.text
        job = await quick.send_async()
        await job.wait_async(LIMIT)
        assert (await job.refresh_async()).worker_name == worker.options.name

        second = await block.send_async()
        await until(second, JobStatus.FAILED)
        waiting = await quick.send_async()
        assert (worker._threads.stuck, worker._deliveries.free) == (2, 0)
        assert (await waiting.refresh_async()).status is JobStatus.QUEUED
        release.set()
        await waiting.wait_async(LIMIT)
        async with asyncio.timeout(LIMIT):
            while worker._deliveries.free < 2:  # the other thread may return a moment later
                await worker._deliveries.wait_for_change()


async def test_blocked_threads_leave_the_loop_and_its_own_threads_alone(app: DataFlow, working: Working) -> None:
    release, began = threading.Event(), asyncio.Queue[None]()
    loop = asyncio.get_running_loop()

    @app.actor
    def block() -> None:
        loop.call_soon_threadsafe(began.put_nowait, None)
        release.wait(LIMIT)

    @app.actor
    async def alive() -> str:
        return await asyncio.to_thread(lambda: "yes")

    async with working(app, concurrency=40):
        jobs = [await block.send_async() for _ in range(39)]
        for _ in jobs:
            await began.get()
        answer = await alive.send_async()
        assert await answer.wait_async(LIMIT) == {"alive": {"result": "yes"}}
        release.set()
        for job in jobs:
            await job.wait_async(LIMIT)


async def test_a_worker_runs_actors_of_its_own_app_only(app: DataFlow, broker: Broker, burst: Burst) -> None:
    stranger = await JobQueue("default", broker).enqueue_async("os.getcwd")
    elsewhere = await JobQueue("default", broker).enqueue_async(chain("echo"))
    assert (await burst())["failed"] == 2
    with pytest.raises(JobFailedError, match="No workflow is registered"):
        await stranger.wait_async(1)
    with pytest.raises(JobFailedError, match="EchoNode"):
        await elsewhere.wait_async(1)


async def test_jobs_of_a_key_take_turns(app: DataFlow, working: Working) -> None:
    running, order = 0, []

    @app.actor(ordering_key=lambda customer: f"customer:{customer}", queue="orders")
    async def charge(customer: int, number: int) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0.001)
        running -= 1
        order.append(number)

    jobs = await app.queue("orders").enqueue_many_async(charge.request(7, number) for number in range(20))
    async with working(app, queues=("orders",)), working(app, queues=("orders",), name="second"):
        for job in jobs:
            await job.wait_async(LIMIT)
    assert order == list(range(20))


async def test_sends_from_sync_code(app: DataFlow, broker: Broker) -> None:
    if broker.masked_url.startswith("redis://fake"):
        pytest.skip("the stand-in lives on one event loop")

    @app.actor
    def quick(number: int) -> int:
        return number

    job = await asyncio.to_thread(quick.send, 3)
    assert job.status is JobStatus.QUEUED


async def test_what_code_tells_of_its_progress_is_seen_while_it_runs_and_after(app: DataFlow, working: Working) -> None:
    heard = asyncio.Event()
    heard_thread = threading.Event()

    @app.actor
    async def count(to: int) -> None:
        job = current_job()
        assert job is not None
        for number in range(to):
            job.progress(number + 1, to, note="march \udcff.csv")
        await heard.wait()
        job.progress(to, note="stored")

    @app.actor
    def count_in_thread(to: int) -> None:
        job = current_job()
        assert job is not None
        for number in range(to):
            job.progress(number + 1)
        assert heard_thread.wait(LIMIT)

    jobs = {"count": await count.send_async(5_000), "count_in_thread": await count_in_thread.send_async(5_000)}

    async def reports(node: str) -> list[tuple[str | None, float | None, float | None, str]]:
        told = []
        async for event in jobs[node].events_async(LIMIT):
            if event.node_id is not None:
                assert event.at is not None
                told.append((event.state, event.done, event.total, event.note))
                if event.done == 5_000:
                    heard.set() if node == "count" else heard_thread.set()
        return told

    async with working(), asyncio.timeout(LIMIT):
        loop, thread = await asyncio.gather(reports("count"), reports("count_in_thread"))
    assert ("running", 5_000, 5_000, "march ?.csv") in loop
    assert loop[-1] == ("done", 5_000, None, "stored")
    assert ("running", 5_000, None, "") in thread
    assert thread[-1] == ("done", 5_000, None, "")
    assert len(loop) < 100, "calls are not written one by one"
    node = (await jobs["count"].progress_async())["nodes"]["count"]
    assert (node["state"], node["done"], node["total"], node["note"]) == ("done", 5_000, None, "stored")
    assert node["told_at"] is not None


async def test_progress_is_a_number_of_a_running_node(app: DataFlow, burst: Burst) -> None:
    found: list[Any] = []

    @app.actor
    async def tell() -> None:
        job = current_job()
        assert job is not None
        found.append(job)
        for wrong in (float("inf"), float("nan"), None, "many"):
            with pytest.raises(InputError, match="finite numbers"):
                job.progress(wrong)  # type: ignore[arg-type]

    job = await tell.send_async()
    assert (await burst())["done"] == 1
    assert "done" not in (await job.progress_async())["nodes"]["tell"]
    with pytest.raises(InputError, match="none is running here"):
        found[0].progress(1)


async def test_a_run_within_a_job_tells_nothing_of_the_job(app: DataFlow, burst: Burst) -> None:
    @app.actor
    async def inner() -> None:
        job = current_job()
        assert job is not None
        job.progress(1, 2)

    @app.actor
    async def outer() -> None:
        workflow = WorkflowBuilder()
        workflow.add_node("inner", "outer")  # a node of the same id
        await AsyncLocalRuntime().execute_workflow_async(workflow.build())

    job = await outer.send_async()
    assert (await burst())["done"] == 1
    assert "done" not in (await job.progress_async())["nodes"]["outer"]
