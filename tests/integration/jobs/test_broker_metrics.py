"""What workers count adds up, across workers, lost replies and outages."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from dataflow.errors import BrokerUnavailableError
from dataflow.jobs import Broker, JobQueue, keys
from dataflow.jobs.metrics import Series, read_counts, since, total
from dataflow.jobs.prometheus import fleet_text
from dataflow.jobs.scripts import Script
from dataflow.services.link import Link
from tests.integration.jobs.conftest import Burst, Working
from tests.toys import ToyApp, chain


async def test_numbers_add_up_over_queues_workflows_and_workers(broker: Broker, burst: Burst) -> None:
    high, low = JobQueue("high", broker), JobQueue("low", broker)
    for _ in range(2):
        await high.enqueue_many_async([{"workflow": chain("echo", name="quick")}] * 30)
        await low.enqueue_many_async([{"workflow": "hello"}] * 10)
        await low.enqueue_many_async([{"workflow": chain("fail", name="bad"), "retry": 2}] * 5)
        await burst(queues=("high", "low"))
    counts = await read_counts(broker)
    assert set(counts) == {("high", "quick"), ("low", "hello"), ("low", "bad")}
    series = {workflow: Series(numbers) for (_, workflow), numbers in counts.items()}
    assert {name: one.ends("done") for name, one in series.items()} == {"quick": 60, "hello": 20, "bad": 0}
    assert (series["bad"].ends("retry"), series["bad"].ends("failed")) == (20, 10)
    everything = total(counts.values())
    for histogram in (everything.run_time, everything.queue_delay):
        assert histogram.count == 60 + 20 + 30
        assert histogram.sum > 0
        assert (histogram.quantile(0.5) or 0) <= (histogram.quantile(0.99) or 0)
    assert 0 < await (await broker.client()).ttl(keys.METRICS) <= 7 * 86_400


async def test_a_heartbeat_whose_reply_is_lost_counts_once(
    broker: Broker, queue: JobQueue, working: Working, monkeypatch: Any
) -> None:
    call = Link.call
    lost: list[str] = []

    async def lossy(link: Link, script: Script, args: Any) -> Any:
        answer = await call(link, script, args)
        if script.name == "heartbeat" and len(lost) < 3:
            lost.append(script.name)
            raise BrokerUnavailableError("the reply was lost")
        return answer

    async with working() as worker:
        monkeypatch.setattr(Link, "call", lossy)
        for job in await queue.enqueue_many_async([{"workflow": chain("echo")}] * 20):
            await job.wait_async(10)
        while len(lost) < 3:
            with contextlib.suppress(BrokerUnavailableError):
                await worker._heartbeat._beat_here()
    assert len(lost) == 3
    assert total((await read_counts(broker)).values()).ends("done") == 20


async def test_the_text_for_prometheus(broker: Broker, queue: JobQueue, working: Working, app: ToyApp) -> None:
    async with working(concurrency=9) as worker:
        worker.vitals.probes["breakers"] = lambda: {"orders": "open"}
        worker.vitals.probes["pools"] = lambda: {"main": {"checked_out": 2, "total": 5, "waiting": 1}}
        for job in await queue.enqueue_many_async([{"workflow": chain("echo", name='a "b"')}] * 3):
            await job.wait_async(10)
        await queue.enqueue_async(chain("echo"), delay=3_600)
        await worker._heartbeat._beat_here()
        lines = (await fleet_text(broker)).splitlines()
    for line in (
        'dataflow_jobs_total{queue="default",workflow="a \\"b\\"",outcome="done"} 3',
        'dataflow_job_run_seconds_bucket{queue="default",workflow="a \\"b\\"",le="+Inf"} 3',
        'dataflow_job_queue_delay_seconds_count{queue="default",workflow="a \\"b\\""} 3',
        'dataflow_queue_jobs{queue="default",status="scheduled"} 1.0',
        "dataflow_workers 1",
        "dataflow_job_slots 9",
        'dataflow_pool_connections{database="main",state="in_use"} 2',
        'dataflow_pool_connections{database="main",state="idle"} 3',
        'dataflow_breakers{breaker="orders",state="open"} 1',
    ):
        assert line in lines


async def test_growth_between_two_moments(broker: Broker, queue: JobQueue, burst: Burst) -> None:
    await queue.enqueue_async("hello")
    await burst()
    before = await read_counts(broker)
    assert since(before, before) == {}
    await queue.enqueue_async("hello")
    await burst()
    grown = since(await read_counts(broker), before)
    assert Series(grown["default", "hello"]).ends("done") == 1


async def test_a_worker_that_starts_again_under_its_name_counts_on(
    broker: Broker, queue: JobQueue, burst: Burst
) -> None:
    for _ in range(2):
        await queue.enqueue_async("hello")
        await burst(name="one")
    assert total((await read_counts(broker)).values()).ends("done") == 2


async def test_what_is_counted_while_a_beat_is_cut_short_is_published_at_the_end(
    broker: Broker, queue: JobQueue, working: Working, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Link.call

    async def cut_short(link: Link, script: Script, args: Any) -> Any:
        answer = await call(link, script, args)
        if script.name == "heartbeat":
            raise BrokerUnavailableError("the reply was lost")
        return answer

    async with working() as worker:
        await (await queue.enqueue_async("hello")).wait_async(10)
        with monkeypatch.context() as patch:
            patch.setattr(Link, "call", cut_short)
            with contextlib.suppress(BrokerUnavailableError):
                await worker._heartbeat._beat_here()
        await (await queue.enqueue_async("hello")).wait_async(10)
    assert total((await read_counts(broker)).values()).ends("done") == 2
