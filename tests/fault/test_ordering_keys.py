"""Ordering keys with real worker processes that are killed while jobs fail, wait and are canceled."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dataflow.jobs import Job, JobQueue, JobStatus
from tests.worker_process import App, WorkerProcess

LEASE = 1.5
KEYS, EACH, TRIES = 10, 20, 3

#: Each run notes its beginning and its end in one file; some fail by chance, one of them as often as it is tried.
ACTORS = """
import asyncio, os, random, time
from dataflow import DataFlow, current_job

db = DataFlow()
log = os.open("runs.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def note(what, key, number):
    os.write(log, f"{key} {number} {os.getpid()} {what}\\n".encode())

def maybe_fail(key, number):
    if (key, number) == (0, 3) or (random.random() < 0.3 and current_job().retries_left):
        note("failed", key, number)
        raise ValueError("by chance")

@db.actor
async def take(key: int, number: int) -> int:
    note("began", key, number)
    await asyncio.sleep(random.uniform(0, 0.02))
    maybe_fail(key, number)
    note("done", key, number)
    return number

@db.actor
def take_in_thread(key: int, number: int) -> int:
    note("began", key, number)
    time.sleep(random.uniform(0, 0.02))
    maybe_fail(key, number)
    note("done", key, number)
    return number
"""


@pytest.fixture
async def app(tmp_path: Path, broker_url: str) -> AsyncIterator[App]:
    made = App(tmp_path, broker_url)
    (tmp_path / "effects.py").write_text(ACTORS)
    yield made
    await made.broker.close()


async def test_one_at_a_time_and_in_order_though_workers_are_killed(app: App) -> None:
    jobs = await _enqueue(app)
    options = ("--lease", str(LEASE), "--concurrency", "20", "--queues", "q0,q1")
    killed: set[int] = set()
    with ExitStack() as stack:
        workers: list[WorkerProcess] = [stack.enter_context(app.worker(*options)) for _ in range(3)]
        canceled = await _cancel_some(jobs)
        for count in (20, 50, 80, 110):
            await _runs_done(app, count)
            victim = workers.pop(0)
            victim.signal(signal.SIGKILL)
            killed.add(victim.process.pid)
            workers.append(stack.enter_context(app.worker(*options)))
        async with asyncio.timeout(60):
            for job in jobs.values():
                while not (await job.refresh_async()).status.is_final:
                    await asyncio.sleep(0.02)

    ended = {place: job.status for place, job in jobs.items()}
    assert ended.pop((0, 3)) is JobStatus.FAILED
    assert {place for place, status in ended.items() if status is JobStatus.CANCELED} == canceled
    assert all(status in (JobStatus.FINISHED, JobStatus.CANCELED) for status in ended.values())
    _check_order(app, killed, canceled)
    client = await app.broker.client()
    assert await client.keys("*:dataflow:order*") == []
    assert [await client.zcard(f"rq:deferred:q{n}") for n in (0, 1)] == [0, 0]


async def _enqueue(app: App) -> dict[tuple[int, int], Job]:
    jobs: dict[tuple[int, int], Job] = {}
    for number in range(EACH):
        for key in range(KEYS):
            name = "take" if number % 2 else "take_in_thread"
            jobs[key, number] = await JobQueue(f"q{random.randrange(2)}", app.broker).enqueue_async(
                name, {name: {"key": key, "number": number}}, ordering_key=f"key:{key}", retry=TRIES
            )
    return jobs


async def _cancel_some(jobs: dict[tuple[int, int], Job]) -> set[tuple[int, int]]:
    """Those in the middle of some lines, which have not begun."""
    places = {(1, 10), (2, 10), (2, 11), (3, EACH - 1)}
    for place in places:
        assert await jobs[place].cancel_async() is True
    return places


async def _runs_done(app: App, count: int) -> None:
    log = app.folder / "runs.log"
    async with asyncio.timeout(60):
        while not log.exists() or log.read_text().count("done") < count:
            await asyncio.sleep(0.01)


def _check_order(app: App, killed: set[int], canceled: set[tuple[int, int]]) -> None:
    """In each line a run begins only when the one before has ended, or its process was killed."""
    lines: dict[int, list[tuple[int, int, str]]] = defaultdict(list)
    for text in (app.folder / "runs.log").read_text().splitlines():
        key, number, process, what = text.split()
        lines[int(key)].append((int(number), int(process), what))
    assert len(lines) == KEYS
    cut_off = 0
    for key, events in lines.items():
        expected = [number for number in range(EACH) if (key, number) not in canceled]
        assert sorted({number for number, _, _ in events}) == expected
        assert [number for number, _, _ in events] == sorted(number for number, _, _ in events), key
        running: tuple[int, int] | None = None
        for number, process, what in events:
            if what == "began":
                if running is not None:
                    assert running[0] == number, "a later job began before this one had ended"
                    assert running[1] in killed, "two runs of one key at once"
                    cut_off += 1
                running = (number, process)
            else:
                assert running == (number, process)
                running = None
        assert running is None
    assert cut_off > 0, "no run was cut off: the kills proved nothing"
