"""Jobs of one ordering key run one at a time, in the order of their enqueueing, whatever happens to them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pytest

from dataflow.errors import BrokerUnavailableError
from dataflow.jobs import Broker, Job, JobQueue, JobStatus, keys
from dataflow.jobs.record import read_record
from dataflow.jobs.waiting import why_waiting
from dataflow.nodes.interface import Node, NodeSpec, Parameter, RunContext
from dataflow.services.link import Link
from dataflow.workflows import Step, Workflow
from tests.integration.jobs.conftest import LIMIT, Burst, Working, until
from tests.toys import ToyApp, chain, ids
from worker.scripts import load_script


class TurnNode(Node):
    """Notes when runs of a key begin and end; each fails ``failures`` times before it succeeds."""

    spec = NodeSpec(
        "TurnNode", "Take a turn.", (Parameter("key", str), Parameter("number", int), Parameter("failures", int))
    )

    def __init__(self) -> None:
        self.done: dict[str, list[int]] = defaultdict(list)
        self.runs: dict[str, list[int]] = defaultdict(list)
        self.running: dict[str, int] = defaultdict(int)
        self.most_at_once = 0
        self.failed: dict[str, int] = defaultdict(int)

    async def run(self, inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        key, number = inputs["key"], inputs["number"]
        self.runs[key].append(number)
        self.running[key] += 1
        self.most_at_once = max(self.most_at_once, self.running[key])
        try:
            await asyncio.sleep(0)
            if self.failed[context.run_id] < inputs.get("failures", 0):
                self.failed[context.run_id] += 1
                raise ValueError("not yet")
        finally:
            self.running[key] -= 1
        self.done[key].append(number)
        return {}


@pytest.fixture
def app() -> ToyApp:
    made = ToyApp()
    made.nodes["TurnNode"] = TurnNode()
    return made


@pytest.fixture
def turns(app: ToyApp) -> TurnNode:
    node = app.nodes["TurnNode"]
    assert isinstance(node, TurnNode)
    return node


def turn(key: str, number: int, failures: int = 0, **options: Any) -> dict[str, Any]:
    """A request for a job that takes its turn."""
    step = Step("turn", "TurnNode", {"key": key, "number": number, "failures": failures})
    return {"workflow": Workflow("turn", (step,)), "ordering_key": key, **options}


async def statuses(jobs: list[Job]) -> list[str]:
    return [(await job.refresh_async()).status for job in jobs]


async def order_keys(broker: Broker) -> list[bytes]:
    return list(await (await broker.client()).keys("*:dataflow:order*"))


async def test_one_at_a_time_in_order_over_queues_workers_and_retries(
    broker: Broker, working: Working, turns: TurnNode
) -> None:
    jobs = []
    for number in range(20):
        for key in ("a", "b", "ü c"):
            queue = JobQueue(("high", "low")[number % 2], broker)
            request = turn(key, number, failures=number % 3, retry={"max": 2, "interval": [0]})
            jobs += await queue.enqueue_many_async([request])
    async with working(queues=("high", "low")), working(queues=("low", "high"), name="second"):
        for job in jobs:
            await job.wait_async(LIMIT)
    assert turns.most_at_once == 1
    assert turns.done == {key: list(range(20)) for key in ("a", "b", "ü c")}
    assert turns.runs["a"] == sorted(turns.runs["a"])
    assert await order_keys(broker) == []


async def test_only_the_first_is_in_its_queue(queue: JobQueue, broker: Broker, burst: Burst, turns: TurnNode) -> None:
    jobs = await queue.enqueue_many_async([turn("k", 0), turn("k", 1), turn("k", 2, at_front=True)])
    other = await queue.enqueue_async(chain("echo"))
    assert [job.status for job in jobs] == ["queued", "deferred", "deferred"]
    assert (await jobs[1].refresh_async()).ordering_key == "k"
    client = await broker.client()
    assert await client.lrange(keys.queue("default"), 0, -1) == [item.encode() for item in ids([jobs[0], other])]
    assert len(await client.zrange("rq:deferred:default", 0, -1)) == 2
    assert (await burst())["done"] == 4
    assert turns.done["k"] == [0, 1, 2]
    assert await client.zrange("rq:deferred:default", 0, -1) == []


async def test_the_next_goes_before_what_came_later(queue: JobQueue, broker: Broker) -> None:
    jobs = await queue.enqueue_many_async([turn("k", 0), turn("k", 1)])
    late = await queue.enqueue_async(chain("echo"))
    await jobs[0].cancel_async()
    waiting = await (await broker.client()).lrange(keys.queue("default"), 0, -1)
    assert waiting == [item.encode() for item in ids([jobs[1], late])]


async def test_a_final_failure_lets_the_next_go_on(queue: JobQueue, burst: Burst, turns: TurnNode) -> None:
    jobs = await queue.enqueue_many_async([turn("k", 0, failures=9, retry=1), turn("k", 1)])
    assert (await burst())["failed"] == 1
    assert await statuses(jobs) == ["failed", "finished"]
    assert turns.runs["k"] == [0, 0, 1]


async def test_a_delayed_job_and_a_later_try_keep_their_place(
    queue: JobQueue, burst: Burst, working: Working, turns: TurnNode
) -> None:
    requests = [turn("k", 0, delay=0.3), turn("k", 1, failures=1, retry={"max": 1, "interval": 1}), turn("k", 2)]
    jobs = await queue.enqueue_many_async(requests)
    assert [job.status for job in jobs] == ["scheduled", "deferred", "deferred"]
    async with working():
        await until(jobs[1], JobStatus.SCHEDULED)
        assert await statuses(jobs) == ["finished", "scheduled", "deferred"]
        await jobs[2].wait_async(LIMIT)
    assert turns.runs["k"] == [0, 1, 1, 2]


async def test_a_job_that_is_due_before_its_turn_waits_on(
    queue: JobQueue, working: Working, app: ToyApp, turns: TurnNode
) -> None:
    held = await queue.enqueue_async(chain("gate"), ordering_key="k")
    async with working():
        await app.gate.reached.get()
        due = (await queue.enqueue_many_async([turn("k", 1, delay=0.05)]))[0]
        await until(due, JobStatus.DEFERRED)
        app.gate.opened.set()
        await held.wait_async(LIMIT)
        await due.wait_async(LIMIT)


async def test_parents_and_turns_must_both_have_come(
    queue: JobQueue, broker: Broker, burst: Burst, turns: TurnNode
) -> None:
    parent = await queue.enqueue_async(chain("echo"), delay=3_600)
    first = (await queue.enqueue_many_async([turn("k", 0, depends_on=parent)]))[0]
    second = (await queue.enqueue_many_async([turn("k", 1)]))[0]
    child_of_first = (await queue.enqueue_many_async([turn("k", 2, depends_on=first)]))[0]
    assert (await burst())["done"] == 0
    await (await broker.client()).zadd("rq:scheduled:default", {parent.id: 0})
    assert (await burst())["done"] == 4
    assert await statuses([first, second, child_of_first]) == ["finished"] * 3
    assert turns.done["k"] == [0, 1, 2]


async def test_canceling_those_that_wait(queue: JobQueue, broker: Broker, burst: Burst, turns: TurnNode) -> None:
    jobs = await queue.enqueue_many_async([turn("k", number) for number in range(4)])
    assert await jobs[1].cancel_async() is True
    assert await jobs[0].cancel_async() is True
    assert await statuses(jobs) == ["canceled", "canceled", "queued", "deferred"]
    assert (await burst())["done"] == 2
    assert turns.done["k"] == [2, 3]
    assert await order_keys(broker) == []


async def test_a_canceled_run_keeps_the_turn_until_it_has_stopped(
    queue: JobQueue, working: Working, app: ToyApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping, stopped = asyncio.Event(), asyncio.Event()

    async def slow_to_stop(inputs: Mapping[str, Any], context: RunContext) -> dict[str, Any]:
        app.gate.reached.put_nowait(context.run_id)
        try:
            await asyncio.Event().wait()
        finally:
            stopping.set()
            await stopped.wait()
        return {}

    monkeypatch.setattr(app.gate, "run", slow_to_stop)
    held = await queue.enqueue_async(chain("gate"), ordering_key="k")
    following = await queue.enqueue_async(chain("echo"), ordering_key="k")
    async with working():
        await app.gate.reached.get()
        assert await held.cancel_async() is True
        async with asyncio.timeout(LIMIT):
            await stopping.wait()
        assert await statuses([held, following]) == ["canceled", "deferred"]
        stopped.set()
        await following.wait_async(LIMIT)


async def test_a_job_of_a_dead_worker_comes_before_those_that_wait(
    broker: Broker, queue: JobQueue, working: Working, turns: TurnNode
) -> None:
    jobs = await queue.enqueue_many_async([turn("k", number) for number in range(3)])
    await _die_with_a_job(broker, "dead")
    assert await statuses(jobs) == ["started", "deferred", "deferred"]
    async with working(lease=0.6):
        await jobs[2].wait_async(LIMIT)
    assert turns.done["k"] == [0, 1, 2]


async def test_a_poisonous_job_lets_the_next_go_on(broker: Broker, queue: JobQueue, working: Working) -> None:
    jobs = await queue.enqueue_many_async([turn("k", 0), turn("k", 1)])
    await _die_with_a_job(broker, "dead")
    async with working(lease=0.6, max_deliveries=1):
        await jobs[1].wait_async(LIMIT)
    assert await statuses(jobs) == ["failed", "finished"]


async def _die_with_a_job(broker: Broker, name: str) -> None:
    """What Redis knows of a worker that claimed a job and was killed."""
    at = "2026-01-01T00:00:00.0Z"
    await broker.run(load_script("heartbeat"), [name, at, -1, 480, 3600, 1, "default", 2, "queues", "default"])
    arguments = [name, 10, 3600, at, name, 1, "default", "data", "x_ordering_key"]
    assert len(await broker.run(load_script("claim"), arguments)) == 2


async def test_a_worker_that_cannot_renew_its_lease_interrupts_its_jobs_with_a_key(
    queue: JobQueue, working: Working, app: ToyApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    ordered = await queue.enqueue_async(chain("gate"), ordering_key="k", retry=1)
    await queue.enqueue_async(chain("gate"))
    async with working(lease=0.6):
        await app.gate.reached.get()
        await app.gate.reached.get()
        call = Link.call

        async def cut_off(link: Link, script: Any, args: Any) -> Any:
            if script.name == "heartbeat":
                raise BrokerUnavailableError("cut off")
            return await call(link, script, args)

        monkeypatch.setattr(Link, "call", cut_off)
        async with asyncio.timeout(LIMIT):
            assert await app.gate.reached.get() == ordered.id, "it goes back, and is claimed again"
        assert app.gate.cancelled == [ordered.id]
        assert (await ordered.refresh_async()).retries_left == 1
        monkeypatch.undo()


async def test_jobs_that_are_gone_hold_nobody_up(
    broker: Broker, queue: JobQueue, working: Working, turns: TurnNode
) -> None:
    jobs = await queue.enqueue_many_async([turn("k", number) for number in range(4)])
    client = await broker.client()
    async with working(queues=("other",), lease=0.6):
        # As a ttl that is over, and as RQ's own tools cancel a job.
        await client.delete(keys.job(jobs[0].id), keys.job(jobs[2].id))
        await until(jobs[1], JobStatus.QUEUED)
        await client.lrem(keys.queue("default"), 0, jobs[1].id)
        await client.hset(keys.job(jobs[1].id), "status", "canceled")
        await until(jobs[3], JobStatus.QUEUED)
    async with working():
        await jobs[3].wait_async(LIMIT)
    assert turns.runs["k"] == [3]


async def test_a_canceled_run_whose_worker_died_gives_the_turn_on_in_the_end(
    broker: Broker, queue: JobQueue, working: Working
) -> None:
    jobs = await queue.enqueue_many_async([turn("k", 0), turn("k", 1)])
    await _die_with_a_job(broker, "dead")
    await jobs[0].cancel_async()
    async with working(lease=0.6) as worker:
        assert (await worker._link.call(load_script("turns"), ["now", 0, 10]))[1] == 0
        assert (await jobs[1].refresh_async()).status is JobStatus.DEFERRED
        client = await broker.client()
        await client.zincrby("rq:canceled:default", -31, jobs[0].id)
        await jobs[1].wait_async(LIMIT)


async def test_what_is_queued_again_by_hand_takes_its_turn(
    broker: Broker, queue: JobQueue, working: Working, app: ToyApp, turns: TurnNode
) -> None:
    failed = (await queue.enqueue_many_async([turn("k", 0, failures=1)]))[0]
    client = await broker.client()
    async with working():
        await until(failed, JobStatus.FAILED)
        await queue.enqueue_async(chain("gate"), ordering_key="k")
        later = (await queue.enqueue_many_async([turn("k", 2, depends_on=failed)]))[0]
        await app.gate.reached.get()
        await client.zrem("rq:failed:default", failed.id)
        await client.hset(keys.job(failed.id), "status", "queued")
        await client.rpush(keys.queue("default"), failed.id)
        await until(failed, JobStatus.DEFERRED)
        app.gate.opened.set()
        await later.wait_async(LIMIT)
    assert turns.runs["k"] == [0, 0, 2]
    assert await order_keys(broker) == []


async def test_the_same_id_again_takes_the_last_place(queue: JobQueue, burst: Burst, turns: TurnNode) -> None:
    await queue.enqueue_many_async([turn("k", 0, job_id="again"), turn("k", 1), turn("k", 2, job_id="again")])
    assert (await burst())["done"] == 2
    assert turns.done["k"] == [1, 2]


async def test_a_call_sent_twice_takes_one_place(broker: Broker, queue: JobQueue, burst: Burst) -> None:
    sent: list[Any] = []
    run = broker.run

    async def twice(script: Any, args: Any) -> Any:
        sent.append(await run(script, args))
        return await run(script, args)

    broker.run = twice  # type: ignore[method-assign]
    jobs = await queue.enqueue_many_async([turn("k", 0), turn("k", 1)])
    broker.run = run  # type: ignore[method-assign]
    assert [job.status for job in jobs] == [status.decode() for status in sent[0]] == ["queued", "deferred"]
    assert await (await broker.client()).llen("rq:dataflow:order:k") == 2
    assert (await burst())["done"] == 2
    assert await order_keys(broker) == []


async def test_one_tells_whom_it_waits_for(broker: Broker, queue: JobQueue) -> None:
    first, second = await queue.enqueue_many_async([turn("k", number) for number in range(2)])
    record = await read_record(broker, second.id)
    assert await why_waiting(broker, second.id, record, {}) == f"It waits for job {first.id} of its ordering key k."


async def test_a_failed_one_that_is_requeued_waits_for_its_turn(
    broker: Broker, queue: JobQueue, working: Working, app: ToyApp
) -> None:
    failed = await queue.enqueue_async(chain("fail"), ordering_key="k")
    async with working():
        await until(failed, JobStatus.FAILED)
        await queue.enqueue_async(chain("gate"), ordering_key="k")
        await app.gate.reached.get()
        assert await failed.requeue_async()
        assert (await failed.refresh_async()).status is JobStatus.DEFERRED
        app.gate.opened.set()
        await until(failed, JobStatus.FAILED)
