"""Several schedulers, changes while it ticks, and the jobs that Due moves."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
import redis
from rq import Queue

from dataflow import DataFlow
from dataflow.jobs import Broker, JobStatus
from dataflow.jobs.serializer import RQSerializer
from scheduler.scheduler import Scheduler
from tests.integration.schedules.conftest import Scheduling, put_back, reached, until

HOUR = 3600


async def test_schedulers_that_all_lead_let_each_tick_happen_once(db: DataFlow, scheduling: Scheduling) -> None:
    """The lead saves work; it is not what a tick's being one rests on."""
    names = [f"s{n}" for n in range(10)]
    for name in names:
        await db.schedules.add_async(name, "report", every=60, misfire="run_all", overlap="allow")
    async with AsyncExitStack() as stack:
        schedulers = [await stack.enter_async_context(scheduling(db, lock_time=60)) for _ in range(4)]
        for scheduler in schedulers:
            scheduler._leaders[0].leads.set()  # type: ignore[attr-defined]
        firsts = {name: await put_back(db, name, 60 * 120) for name in names}
        for name in names:
            info = await reached(db, name, queued=120)
            assert (info.missed, info.skipped) == (0, 0)
    client = await db.broker.client()
    queued = Counter(item.decode() for item in await client.lrange("rq:queue:default", 0, -1))  # type: ignore[misc]
    expected = {
        f"shop-{name}-{first + timedelta(minutes=n):%Y%m%dT%H%M%S}Z"
        for name, first in firsts.items()
        for n in range(120)
    }
    assert queued.keys() == expected
    assert queued.total() == len(expected)
    assert sum(_ticker(scheduler).enqueued for scheduler in schedulers) == len(expected)


def _ticker(scheduler: Scheduler) -> object:
    return scheduler._workers[0]


async def test_another_takes_over_when_the_leader_says_nothing_more(
    db: DataFlow, scheduling: Scheduling, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    await db.schedules.add_async("often", "report", every=1, overlap="allow")
    async with scheduling(db, lock_time=1) as standby, scheduling(db, lock_time=1) as leader:
        await until(lambda: _stands_by(standby))
        monkeypatch.setattr(leader._link, "call", hang)
        await until(lambda: _leads(standby))
        queued = (await db.schedules.get_async("often")).queued
        await until(lambda: _has_more(db, queued))
        assert _ticker(standby).enqueued > 0  # type: ignore[attr-defined]
        monkeypatch.undo()
    info = await db.schedules.get_async("often")
    assert (info.missed, info.skipped) == (0, 0)
    assert info.last_due is not None
    assert info.created is not None
    seconds = (info.last_due - info.created.replace(microsecond=0)).total_seconds()
    assert info.queued == seconds, "each second one"


async def _stands_by(scheduler: Scheduler) -> bool:
    return not await _leads(scheduler)


async def _leads(scheduler: Scheduler) -> bool:
    return scheduler._leaders[0].leads.is_set()  # type: ignore[attr-defined,no-any-return]


async def _has_more(app: DataFlow, queued: int) -> bool:
    return (await app.schedules.get_async("often")).queued > queued


async def test_changes_while_it_ticks_lose_and_double_nothing(db: DataFlow, scheduling: Scheduling) -> None:
    await db.schedules.add_async("often", "report", every=1, misfire="run_all", overlap="allow")
    first = await put_back(db, "often", 1_000)

    async def change() -> None:
        for n in range(15):
            await db.schedules.update_async("often", queue=f"q{n % 3}", jitter=0)

    async with scheduling(db):
        await asyncio.gather(change(), change(), change())
        info = await until(lambda: _caught_up(db))
    client = await db.broker.client()
    queued = Counter(
        [item for n in range(3) for item in await client.lrange(f"rq:queue:q{n}", 0, -1)]  # type: ignore[misc]
        + await client.lrange("rq:queue:default", 0, -1)  # type: ignore[misc]
    )
    dues = int((info.last_due - first).total_seconds()) + 1
    assert len(queued) == queued.total() == dues == info.queued


async def _caught_up(app: DataFlow) -> object:
    info = await app.schedules.get_async("often")
    entry = await app.schedules.store().read("often")
    return info if info.next_due and info.next_due > entry.now else None


async def test_a_schedule_added_for_soon_is_found_at_once(db: DataFlow, scheduling: Scheduling) -> None:
    async with scheduling(db):
        await db.schedules.add_async("later", "report", every=HOUR)
        await db.schedules.add_async("soon", "report", every=1)
        info = await reached(db, "soon", queued=1)
    history = await db.schedules.history_async("soon")
    assert history[0].at - history[0].due < timedelta(seconds=1)
    assert info.last_due == history[0].due


async def test_delayed_jobs_of_any_queue_are_moved_without_a_worker(db: DataFlow, scheduling: Scheduling) -> None:
    async with scheduling(db):
        jobs = [await db.queue(name).enqueue_async("report", delay=0.2) for name in ("one", "two")]
        for job in jobs:
            await until(lambda job=job: _is_queued(job))
    assert [await db.queue(name).count_async() for name in ("one", "two")] == [1, 1]


async def _is_queued(job: object) -> bool:
    return (await job.refresh_async()).status is JobStatus.QUEUED  # type: ignore[attr-defined,no-any-return]


@pytest.fixture
def stock(redis_url: str) -> Iterator[Queue]:
    with redis.Redis.from_url(redis_url) as connection:
        connection.flushdb()
        yield Queue("legacy", connection=connection, serializer=RQSerializer)


async def test_delayed_jobs_of_stock_rq_are_moved_unless_its_own_scheduler_does(stock: Queue, redis_url: str) -> None:
    broker = Broker(redis_url)
    app = DataFlow(":memory:", name="shop")
    app._broker = broker
    job = stock.enqueue_in(timedelta(seconds=0.2), "some.function")
    served = Queue("served", connection=stock.connection)
    left = served.enqueue_in(timedelta(seconds=0.1), "some.function")
    stock.connection.set("rq:scheduler-lock:served", "x")
    scheduler = Scheduler([app], broker)
    task = asyncio.create_task(scheduler.run())

    async def moved() -> bool:
        return stock.job_ids == [job.id]

    await until(moved)
    assert job.get_status() == "queued"
    assert left.get_status() == "scheduled"
    scheduler.stop()
    await task
    await app.close_async()
