"""What becomes of ticks that come too late, or whose predecessor has not ended: every pair of policies."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dataflow import DataFlow
from dataflow.jobs import JobStatus
from tests.integration.schedules.conftest import Scheduling, decided, put_back, reached, work
from worker.options import WorkerOptions
from worker.worker import Worker

HOUR = 3600

#: Misfire policy → of the ticks two hours late, one hour late and on time: those that run, and how many are missed.
RUN = {"skip": ([2], 2), "run_once": ([1, 2], 1), "run_all": ([0, 1, 2], 0)}
PAIRS = [
    (misfire, overlap)
    for misfire in RUN
    for overlap in ("skip", "queue", "cancel_previous", "allow")
    if misfire != "run_all" or overlap in ("queue", "allow")
]


@pytest.mark.parametrize(("misfire", "overlap"), PAIRS)
async def test_late_ticks_while_a_job_has_not_ended(
    db: DataFlow, scheduling: Scheduling, misfire: Any, overlap: Any
) -> None:
    await db.schedules.add_async("hourly", "report", every=HOUR, misfire=misfire, overlap=overlap)
    previous = await db.schedules.run_now_async("hourly")
    first = await put_back(db, "hourly", 3 * HOUR)
    dues = [first + timedelta(hours=n) for n in range(3)]
    async with scheduling(db):
        info = await decided(db, "hourly")

    runs, missed = RUN[misfire]
    expected = [dues[n] for n in runs]
    ticks = [tick for tick in reversed(await db.schedules.history_async("hourly")) if tick.what != "by hand"]
    assert info.missed == missed
    assert info.last_missed == (dues[missed - 1] if missed else None)
    assert [tick.count for tick in ticks if tick.what == "missed"] == ([missed] if missed else [])
    assert [tick.due for tick in ticks if tick.what != "missed"] == expected
    assert info.next_due == dues[2] + timedelta(hours=1)
    assert (info.queued, info.skipped) == ((1, len(runs)) if overlap == "skip" else (1 + len(runs), 0))

    jobs = [db.job(f"shop-hourly-{due:%Y%m%dT%H%M%S}Z") for due in expected if overlap != "skip"]
    statuses = [(await job.refresh_async()).status for job in jobs]
    before = (await previous.refresh_async()).status
    if overlap == "cancel_previous":
        assert before is JobStatus.CANCELED
        assert statuses == [*[JobStatus.CANCELED] * (len(jobs) - 1), JobStatus.QUEUED]
        assert info.canceled == len(jobs)
    else:
        assert before is JobStatus.QUEUED
        assert statuses == [JobStatus.DEFERRED if overlap == "queue" else JobStatus.QUEUED] * len(jobs)

    await work(db)
    ends = [(await job.refresh_async()).ended_at for job in (previous, *jobs)]
    if overlap == "queue":
        assert ends == sorted(ends)  # type: ignore[type-var]
    info = await db.schedules.get_async("hourly")
    assert info.finished == 1 + (0 if overlap in ("skip", "cancel_previous") else len(jobs))
    assert info.last_outcome == "finished"


async def test_a_tick_runs_where_the_one_before_has_ended(db: DataFlow, scheduling: Scheduling) -> None:
    await db.schedules.add_async("hourly", "report", every=HOUR)
    async with scheduling(db):
        for _ in range(3):
            await put_back(db, "hourly", HOUR - 0.001)  # a tick of its own, later than the one before
            await decided(db, "hourly")
            await work(db)
    info = await db.schedules.get_async("hourly")
    assert (info.queued, info.finished, info.skipped, info.missed) == (3, 3, 0, 0)


async def test_a_skipped_schedule_runs_no_job_beside_one_started_by_hand(db: DataFlow, scheduling: Scheduling) -> None:
    await db.schedules.add_async("hourly", "report", every=HOUR)
    first, second = [await db.schedules.run_now_async("hourly") for _ in range(2)]
    assert [(await job.refresh_async()).status for job in (first, second)] == [JobStatus.QUEUED, JobStatus.DEFERRED]
    await put_back(db, "hourly", HOUR)
    async with scheduling(db):
        info = await decided(db, "hourly")
    assert info.skipped == 1


async def test_a_cancelled_run_has_stopped_before_the_next_begins(db: DataFlow, scheduling: Scheduling) -> None:
    running: list[str] = []
    begun = asyncio.Event()

    @db.actor
    async def endless(n: int = 0) -> None:
        assert not running, "two at once"
        running.append("x")
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            running.remove("x")

    await db.schedules.add_async("hourly", "endless", every=HOUR, overlap="cancel_previous")
    worker = Worker([db], db.broker, WorkerOptions(grace=0))
    task = asyncio.create_task(worker.run())
    async with scheduling(db), asyncio.timeout(20):
        for _ in range(3):
            begun.clear()
            await put_back(db, "hourly", HOUR - 0.001)
            await begun.wait()
    worker.stop()
    await task
    info = await db.schedules.get_async("hourly")
    assert (info.queued, info.canceled, info.failed) == (3, 2, 0)


async def test_a_backlog_is_run_in_order_and_in_batches(db: DataFlow, scheduling: Scheduling) -> None:
    await db.schedules.add_async("minutely", "report", every=60, misfire="run_all", overlap="queue")
    first = await put_back(db, "minutely", 60 * 450)
    async with scheduling(db):
        info = await decided(db, "minutely")
    assert (info.queued, info.missed) == (450, 0)
    line = await (await db.broker.client()).lrange("rq:dataflow:order:schedule:shop:minutely", 0, -1)  # type: ignore[misc]
    dues = [first + timedelta(minutes=n) for n in range(450)]
    assert [item.decode() for item in line] == [f"shop-minutely-{due:%Y%m%dT%H%M%S}Z" for due in dues]
    assert len(await db.schedules.history_async("minutely")) == 20


async def test_the_last_of_a_long_backlog_is_run_once(db: DataFlow, scheduling: Scheduling) -> None:
    await db.schedules.add_async("often", "report", every=10, grace=20, overlap="allow")
    first = await put_back(db, "often", 10 * 1_000)
    async with scheduling(db):
        info = await decided(db, "often")
    queued = [tick.due for tick in await db.schedules.history_async("often") if tick.what == "queued"]
    assert info.queued == len(queued)
    assert info.queued + info.missed >= 1_000
    steps = {(later - sooner).total_seconds() for later, sooner in itertools.pairwise(queued)}
    assert steps == {10.0}, "those on time, and before them the last that was missed"
    assert queued[-1] > first + timedelta(seconds=9_000)


async def test_moments_run_once_each_and_then_it_has_ended(db: DataFlow, scheduling: Scheduling) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=0.3)
    await db.schedules.add_async("twice", "report", at=[soon, soon + timedelta(seconds=0.2)], overlap="allow")
    async with scheduling(db):
        info = await reached(db, "twice", state="ended")
    assert (info.next_due, info.queued) == (None, 2)
    assert await work(db) == {"done": 2, "failed": 0, "stopped": 0, "retry": 0, "back": 0}


async def test_jitter_delays_the_start_and_not_the_tick(db: DataFlow, scheduling: Scheduling) -> None:
    info = await db.schedules.add_async("spread", "report", every=HOUR, jitter=HOUR / 2)
    assert info.next_due is not None
    assert info.next_start is not None
    late = (info.next_start - info.next_due).total_seconds()
    assert 0 <= late <= HOUR / 2
    due = await put_back(db, "spread", HOUR)
    async with scheduling(db):
        info = await decided(db, "spread")
    assert info.last_due == due
    job = db.job(info.last_job)
    assert (await job.refresh_async()).meta["due"] == due
