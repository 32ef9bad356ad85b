"""What a worker does with jobs, on every broker."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dataflow.errors import JobCanceledError, JobFailedError, JobNotFoundError
from dataflow.jobs import Broker, Job, JobQueue, JobStatus, keys
from dataflow.jobs.scripts import Script
from dataflow.jobs.serializer import write_call
from dataflow.workflows import Step, Workflow
from tests.integration.jobs.conftest import LIMIT, Burst, Working, until
from tests.toys import ToyApp, chain, ids
from worker.options import WorkerOptions
from worker.recovery import Recovery
from worker.scripts import load_script
from worker.worker import Worker


async def raw_job(broker: Broker, job_id: str, data: bytes, **fields: Any) -> Job:
    """A job as another producer might write it."""
    client = await broker.client()
    await client.hset(keys.job(job_id), mapping={"data": data, "status": "queued", "origin": "default", **fields})
    await client.rpush(keys.queue("default"), job_id)
    return Job(job_id, broker)


async def leftovers(broker: Broker) -> set[bytes]:
    """Keys of running executions; none may be there when nothing runs."""
    client = await broker.client()
    return {key for key in await client.keys("*") if key.split(b":")[1] in (b"wip", b"execution", b"executions")} | set(
        await client.keys("*:executions")
    )


async def test_results_come_back(queue: JobQueue, broker: Broker, burst: Burst) -> None:
    job = await queue.enqueue_async(chain("echo", "echo", a=1), {"n0": {"b": [1, {"c": None}]}})
    named = await queue.enqueue_async("hello", {"n0": {"who": "world"}})
    assert (await burst())["done"] == 2

    expected = {"a": 1, "b": [1, {"c": None}]}
    assert await job.wait_async(1) == {"n0": expected, "n1": {"before": expected}}
    assert job.results == {"n0": expected, "n1": {"before": expected}}
    assert (job.status, job.error) == (JobStatus.FINISHED, None)
    assert job.started_at is not None
    assert job.ended_at is not None
    assert await named.wait_async(1) == {"n0": {"who": "world"}}
    assert await leftovers(broker) == set()


async def test_a_waiter_learns_of_the_end_at_once(queue: JobQueue, working: Working, app: ToyApp) -> None:
    job = await queue.enqueue_async(chain("gate"))
    async with working():
        waiter = asyncio.create_task(job.wait_async(LIMIT))
        await app.gate.reached.get()
        assert not waiter.done()
        app.gate.opened.set()
        assert await waiter == {"n0": {"run_id": job.id}}


async def test_an_idle_worker_is_woken_by_every_queue(broker: Broker, working: Working) -> None:
    async with working(queues=("high", "low")):
        for name in ("low", "high", "low"):
            job = await JobQueue(name, broker).enqueue_async(chain("echo"))
            await job.wait_async(LIMIT)


async def test_queues_are_served_in_their_order(broker: Broker, burst: Burst) -> None:
    low = [await JobQueue("low", broker).enqueue_async(chain("echo")) for _ in range(2)]
    high = [await JobQueue("high", broker).enqueue_async(chain("echo")) for _ in range(2)]
    await burst(queues=("high", "low"), concurrency=1)
    jobs = [await job.refresh_async() for job in (*high, *low)]
    started = [job.started_at for job in jobs]
    assert started == sorted(started, key=lambda at: at.timestamp() if at else 0)


async def test_no_more_run_at_once_than_allowed(queue: JobQueue, working: Working, app: ToyApp) -> None:
    jobs = await queue.enqueue_many_async([{"workflow": chain("gate")}] * 5)
    async with working(concurrency=2):
        await app.gate.reached.get()
        await app.gate.reached.get()
        assert await queue.count_async() == 3
        assert app.gate.reached.empty()
        app.gate.opened.set()
        for job in jobs:
            await job.wait_async(LIMIT)


async def test_progress_node_by_node(queue: JobQueue, working: Working, app: ToyApp, broker: Broker) -> None:
    job = await queue.enqueue_async(chain("echo", "gate", "echo"))
    waiting = await job.progress_async()
    assert {name: node["state"] for name, node in waiting["nodes"].items()} == dict.fromkeys(
        ("n0", "n1", "n2"), "pending"
    )
    assert (waiting["done"], waiting["total"], waiting["status"]) == (0, 3, "queued")

    async with working():
        await app.gate.reached.get()
        async with asyncio.timeout(LIMIT):
            while (running := await job.progress_async())["done"] == 0:
                await asyncio.sleep(0.02)
        assert [node["state"] for node in running["nodes"].values()] == ["done", "running", "pending"]
        assert running["nodes"]["n1"]["started_at"] is not None
        app.gate.opened.set()
        await job.wait_async(LIMIT)
    ended = await job.progress_async()
    assert [node["state"] for node in ended["nodes"].values()] == ["done"] * 3
    assert (ended["done"], ended["total"]) == (3, 3)


async def test_a_failure_says_where_and_why(queue: JobQueue, broker: Broker, burst: Burst) -> None:
    job = await queue.enqueue_async(chain("fail", message="out of paper"))
    assert (await burst())["failed"] == 1

    with pytest.raises(JobFailedError, match="out of paper") as caught:
        await job.wait_async(1)
    assert caught.value.context["node_id"] == "n0"
    assert caught.value.context["node_type"] == "FailNode"
    assert caught.value.context["error_code"] == "ValueError"
    assert job.error is not None
    assert 'raise ValueError(bound["message"])' in job.error.traceback
    client = await broker.client()
    assert await client.zrange("rq:failed:default", 0, -1) == [job.id.encode()]
    assert [node["state"] for node in (await job.progress_async())["nodes"].values()] == ["failed"]
    assert await leftovers(broker) == set()


async def test_failures_are_tried_again_as_often_as_told(queue: JobQueue, burst: Burst, app: ToyApp) -> None:
    lucky = await queue.enqueue_async(chain("fail", times=2), retry=2)
    unlucky = await queue.enqueue_async(chain("fail", times=3), retry=2)
    assert await burst() == {"done": 1, "failed": 1, "stopped": 0, "retry": 4, "back": 0}

    assert await lucky.wait_async(1) == {"n0": {"runs": 3}}
    assert app.fail.runs[unlucky.id] == 3
    assert (await unlucky.refresh_async()).retries_left == 0


async def test_a_retry_waits_for_its_interval(queue: JobQueue, broker: Broker, burst: Burst, working: Working) -> None:
    later = await queue.enqueue_async(chain("fail", times=1), retry={"max": 2, "interval": [60, 1]})
    assert (await burst())["retry"] == 1
    assert (await later.refresh_async()).status is JobStatus.SCHEDULED
    assert later.error is not None
    assert later.error.node_id == "n0"
    soon = await queue.enqueue_async(chain("fail", times=1), retry={"max": 2, "interval": [1, 60]})
    async with working():
        assert await soon.wait_async(LIMIT) == {"n0": {"runs": 2}}
    assert (await later.refresh_async()).status is JobStatus.SCHEDULED


async def test_delayed_jobs_run_when_due(queue: JobQueue, working: Working) -> None:
    async with working():
        job = await queue.enqueue_async(chain("echo"), delay=0.3)
        await job.wait_async(LIMIT)
    assert job.created_at is not None
    assert job.started_at is not None
    assert (job.started_at - job.created_at).total_seconds() >= 0.29


async def test_a_timeout_interrupts_the_run(queue: JobQueue, working: Working, app: ToyApp) -> None:
    job = await queue.enqueue_async(chain("gate"), timeout=0.2)
    async with working():
        with pytest.raises(JobFailedError, match="exceeded its 1 s"):
            await job.wait_async(LIMIT)
    assert app.gate.cancelled == [job.id]
    assert job.error is not None
    assert job.error.type == "TimeoutError"


async def test_what_cannot_be_run_fails_with_a_reason_and_the_worker_goes_on(
    queue: JobQueue, broker: Broker, burst: Burst
) -> None:
    entry = "dataflow.jobs.entry.run"
    workflow = {"v": 1, "name": "x", "inputs": {}}
    bad = {
        "pickle": (b"\x80\x04N.", "not DataFlow's"),
        "empty": (b"", "not DataFlow's"),
        "format": (write_call(()).replace(b"t.\x01", b"t.\x09"), "format version"),
        "bomb": (b"\x78\x9cnonsense", "decompressed"),
        "import": (write_call(("os.getenv", None, ("HOME",), {})), "os.getenv"),
        "newer": (write_call((entry, None, (), {**workflow, "v": 9})), "version 9"),
        "unknown": (write_call((entry, None, (), {**workflow, "name": "helo"})), "Did you mean 'hello'"),
        "shape": (write_call((entry, None, (), {"v": 1})), "needs a workflow"),
        "callback": (write_call((entry, None, (), {**workflow, "name": "hello"})), "callbacks"),
    }
    jobs = {}
    for name, (data, _) in bad.items():
        extra = {"success_callback_name": "os.getcwd"} if name == "callback" else {}
        jobs[name] = await raw_job(broker, name, data, retries_left=3, **extra)
    strange = await queue.enqueue_async(_with_type("NoSuchNode"), retry=3)
    good = await queue.enqueue_async(chain("echo"))

    assert await burst() == {"done": 1, "failed": len(bad) + 1, "stopped": 0, "retry": 0, "back": 0}
    for name, job in jobs.items():
        assert (await job.refresh_async()).status is JobStatus.FAILED
        assert job.error is not None
        assert bad[name][1] in job.error.message
    await strange.refresh_async()
    assert strange.error is not None
    assert "NoSuchNode" in strange.error.message
    assert await good.wait_async(1)


def _with_type(kind: str) -> Any:
    return Workflow("strange", (Step("n0", kind),))


async def test_results_that_cannot_be_stored_fail_the_job(queue: JobQueue, burst: Burst, app: ToyApp) -> None:
    async def run(inputs: Any, context: Any) -> dict[str, Any]:
        return {"x": object()}

    app.echo.run = run  # type: ignore[method-assign]
    job = await queue.enqueue_async(chain("echo"), retry=5)
    assert (await burst())["failed"] == 1
    with pytest.raises(JobFailedError, match=r"results cannot be stored: n0\.x"):
        await job.wait_async(1)


async def test_results_live_as_long_as_told(queue: JobQueue, broker: Broker, burst: Burst) -> None:
    usual, forever, never = [await queue.enqueue_async(chain("echo"), result_ttl=ttl) for ttl in (None, -1, 0)]
    failed = await queue.enqueue_async(chain("fail"), failure_ttl=100)
    forgotten = await queue.enqueue_async(chain("fail"), failure_ttl=0)
    await burst()

    client = await broker.client()
    assert 490 <= await client.ttl(keys.job(usual.id)) <= 500
    assert 490 <= await client.ttl(keys.results(usual.id)) <= 500
    assert await client.ttl(keys.job(forever.id)) == -1
    assert 90 <= await client.ttl(keys.results(failed.id)) <= 100
    assert await client.zscore("rq:finished:default", forever.id) == float("inf")
    for gone in (never, forgotten):
        assert await client.exists(keys.job(gone.id), keys.results(gone.id)) == 0
        with pytest.raises(JobNotFoundError, match="result_ttl=0"):
            await gone.wait_async(1)


async def test_cancel_interrupts_a_running_job(queue: JobQueue, broker: Broker, working: Working, app: ToyApp) -> None:
    job = await queue.enqueue_async(chain("gate"))
    async with working(lease=0.6) as worker:
        await app.gate.reached.get()
        waiter = asyncio.create_task(job.wait_async(LIMIT))
        assert await job.cancel_async() is True
        with pytest.raises(JobCanceledError):
            await waiter
        async with asyncio.timeout(LIMIT):
            while not app.gate.cancelled:
                await asyncio.sleep(0.01)
        follower = await queue.enqueue_async(chain("echo"))
        await follower.wait_async(LIMIT)
    assert (await job.refresh_async()).status is JobStatus.CANCELED
    assert worker.counts["done"] == 1
    assert await leftovers(broker) == set()


async def test_an_ending_worker_lets_jobs_finish(queue: JobQueue, working: Working, app: ToyApp) -> None:
    job = await queue.enqueue_async(chain("gate"))
    async with working(grace=LIMIT) as worker:
        await app.gate.reached.get()
        worker.stop()
        async with asyncio.timeout(LIMIT):
            while not worker._claimer.task.done():  # type: ignore[union-attr]
                await asyncio.sleep(0.01)
        late = await queue.enqueue_async(chain("echo"))
        app.gate.opened.set()
        await job.wait_async(LIMIT)
    assert (await late.refresh_async()).status is JobStatus.QUEUED


async def test_an_ending_worker_gives_back_what_does_not_finish(
    queue: JobQueue, broker: Broker, working: Working, app: ToyApp, burst: Burst
) -> None:
    job = await queue.enqueue_async(chain("gate"), retry=1)
    async with working(grace=0.0, concurrency=1) as worker:
        await app.gate.reached.get()
        later = await queue.enqueue_async(chain("echo"))
    assert worker.counts["back"] == 1
    await job.refresh_async()
    assert (job.status, job.retries_left, job.worker_name) == (JobStatus.QUEUED, 1, None)
    assert await (await broker.client()).lrange(keys.queue("default"), 0, -1) == [job.id.encode(), later.id.encode()]
    assert await leftovers(broker) == set()
    app.gate.opened.set()
    assert (await burst())["done"] == 2


async def test_a_second_stop_does_not_wait_for_the_grace(queue: JobQueue, working: Working, app: ToyApp) -> None:
    job = await queue.enqueue_async(chain("gate"))
    async with working(grace=3_600.0) as worker:
        await app.gate.reached.get()
        worker.stop()
        worker.stop()
    assert (await job.refresh_async()).status is JobStatus.QUEUED


async def test_jobs_of_a_dead_worker_run_again_at_once_and_its_late_end_is_fenced_off(
    queue: JobQueue, broker: Broker, working: Working, app: ToyApp
) -> None:
    """Two workers of one process: the first stops giving signs of life while its job goes on."""
    job = await queue.enqueue_async(chain("gate"))
    silent = ToyApp()
    async with working(silent, lease=1.0, name="silent") as first:
        await silent.gate.reached.get()
        await first._heartbeat.stop()
        async with working(app, lease=1.0, name="peer") as second:
            await app.gate.reached.get()
            await job.refresh_async()
            assert (job.status, job.worker_name) == (JobStatus.STARTED, "peer")
            silent.gate.opened.set()
            async with asyncio.timeout(LIMIT):
                while len(first._deliveries):
                    await first._deliveries.wait_for_change()
            assert (await job.refresh_async()).status is JobStatus.STARTED
            app.gate.opened.set()
            await job.wait_async(LIMIT)
        assert second.counts["done"] == 1
        assert first.counts["done"] == 0
    assert await leftovers(broker) == set()


async def test_a_worker_that_lost_a_job_interrupts_it(
    queue: JobQueue, broker: Broker, working: Working, app: ToyApp
) -> None:
    job = await queue.enqueue_async(chain("gate"))
    async with working(lease=0.6):
        await app.gate.reached.get()
        client = await broker.client()
        await client.delete("rq:wip:default")
        async with asyncio.timeout(LIMIT):
            while not app.gate.cancelled:
                await asyncio.sleep(0.01)
    assert app.gate.cancelled == [job.id]


async def test_a_job_that_kills_its_workers_fails_in_the_end(broker: Broker, queue: JobQueue, working: Working) -> None:
    job = await queue.enqueue_async(chain("echo"))
    client = await broker.client()
    for number in range(3):
        await until(job, JobStatus.QUEUED)
        await _die_with_a_job(broker, f"dead-{number}")
        async with working(queues=("other",), lease=0.6, max_deliveries=3):
            await until(job, JobStatus.QUEUED, JobStatus.FAILED)
        assert int(await client.hget(keys.job(job.id), "x_deliveries")) == number + 1
    with pytest.raises(JobFailedError, match="delivered 3 times"):
        await job.wait_async(1)
    assert await leftovers(broker) == set()


async def _die_with_a_job(broker: Broker, name: str) -> None:
    """What Redis knows of a worker that claimed a job and was killed."""
    heartbeat, claim = load_script("heartbeat"), load_script("claim")
    await broker.run(heartbeat, [name, "2026-01-01T00:00:00.0Z", -1, 480, 3600, 1, "default", 2, "queues", "default"])
    claimed = await broker.run(
        claim, [name, 10, 3600, "2026-01-01T00:00:00.0Z", name.replace("-", ""), 1, "default", "data"]
    )
    (_, (_, job_id, execution_id, _)) = claimed
    await broker.run(load_script("begun"), [job_id, execution_id])


async def test_orphans_of_a_lost_claim_go_back_to_the_front(broker: Broker, queue: JobQueue) -> None:
    jobs = [await queue.enqueue_async(chain("echo")) for _ in range(3)]
    at = "2026-01-01T00:00:00.0Z"
    claimed = await broker.run(load_script("claim"), ["w", 2, 3600, at, "t", 1, "default", "data"])
    held = f"{claimed[1][1].decode()}:{claimed[1][2].decode()}"

    release: Script = load_script("release")
    assert await broker.run(release, ["w", held]) == [jobs[1].id.encode()]
    assert await broker.run(release, ["w", held]) == []
    client = await broker.client()
    assert await client.lrange(keys.queue("default"), 0, -1) == [item.encode() for item in ids(jobs[1:])]
    assert await client.smembers(keys.worker_executions("w")) == {held.encode()}


async def test_suspended_workers_claim_nothing(queue: JobQueue, broker: Broker, burst: Burst) -> None:
    job = await queue.enqueue_async(chain("echo"))
    client = await broker.client()
    await client.set("rq:suspended", 1)
    assert (await burst())["done"] == 0
    await client.delete("rq:suspended")
    assert (await burst())["done"] == 1
    assert await job.wait_async(1)


async def test_nothing_stays_that_does_not_expire(queue: JobQueue, broker: Broker, burst: Burst) -> None:
    parent = await queue.enqueue_async(chain("echo"))
    await queue.enqueue_many_async(
        [{"workflow": chain("echo")}] * 300 + [{"workflow": chain("echo"), "depends_on": parent}] * 5
    )
    await queue.enqueue_async(chain("fail"))
    assert (await burst())["done"] == 306
    client = await broker.client()
    lasting = {key async for key in client.scan_iter() if await client.ttl(key) == -1}
    assert lasting == {b"rq:queues", b"rq:finished:default", b"rq:failed:default"}


async def test_code_that_arrives_with_a_job_runs_only_where_allowed(
    queue: JobQueue, broker: Broker, app: ToyApp, burst: Burst
) -> None:
    code = Workflow("code", (Step("n0", "PythonCodeNode", {"code": "result = 6 * 7"}),))
    app.workflows["own"] = code
    refused, own = await queue.enqueue_async(code), await queue.enqueue_async("own")
    await burst()
    with pytest.raises(JobFailedError, match="--allow-code"):
        await refused.wait_async(1)
    assert await own.wait_async(1) == {"n0": {"result": 42}}

    allowed = await queue.enqueue_async(code)
    await Worker([app], broker, WorkerOptions(burst=True), allow_code=True).run()
    assert await allowed.wait_async(1) == {"n0": {"result": 42}}


async def test_a_service_that_dies_ends_the_worker_with_its_error_and_jobs_go_back(
    queue: JobQueue, broker: Broker, app: ToyApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(*_: object) -> None:
        await app.gate.reached.get()
        raise RuntimeError("a bug")

    monkeypatch.setattr(Recovery, "run", die)
    job = await queue.enqueue_async(chain("gate"))
    with pytest.raises(RuntimeError, match="a bug"):
        async with asyncio.timeout(LIMIT):
            await Worker([app], broker, WorkerOptions(grace=3_600.0)).run()
    assert (await job.refresh_async()).status is JobStatus.QUEUED
