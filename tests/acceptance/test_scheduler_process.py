"""``dataflow scheduler`` and ``dataflow worker --with-scheduler`` as people start and stop them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from dataflow import DataFlow
from dataflow.jobs import keys
from tests.acceptance.programs import BIN, environment

APP = """
from dataflow import DataFlow, current_job

db = DataFlow(":memory:", name="clock")

@db.schedule(every=1, inputs={"word": "tick"})
@db.actor
def say(word: str) -> str:
    job = current_job()
    return f"{word} of {job.schedule}, due {job.due:%S}"
"""


@pytest.fixture
async def db(tmp_path: Path, redis_url: str) -> AsyncIterator[DataFlow]:
    (tmp_path / "clock.py").write_text(APP)
    async with DataFlow(":memory:", name="clock", redis_url=redis_url) as made:
        await (await made.broker.client()).flushdb()
        yield made


@contextmanager
def running(folder: Path, redis_url: str, *command: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [BIN / "dataflow", *command],
        cwd=folder,
        env=environment(REDIS_URL=redis_url),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = await asyncio.to_thread(process.communicate, None, 20)
    return process.returncode, output


async def first_job(db: DataFlow) -> str:
    """Id of the first job of the schedule that was queued."""
    async with asyncio.timeout(30):
        while True:
            if found := [info.last_job for info in await db.schedules.list_async() if info.last_job]:
                return str(found[0])
            await asyncio.sleep(0.02)


async def test_a_scheduler_enqueues_and_ends_in_good_order(db: DataFlow, tmp_path: Path, redis_url: str) -> None:
    with running(tmp_path, redis_url, "scheduler", "clock:db", "--name", "one", "--log-level", "debug") as process:
        job_id = await first_job(db)
        client = await db.broker.client()
        assert await client.get(keys.leader("clock")) == b"one"
        os.kill(process.pid, signal.SIGTERM)
        code, output = await ended(process)
    assert code == 0, output
    assert "Scheduler one serves clock:db at redis://" in output
    assert "1, of which the code declares 1 (1 added)" in output
    assert f"job {job_id} is queued" in output
    assert await client.get(keys.leader("clock")) is None, "the lead is left to others at once"


async def test_a_worker_with_a_scheduler_needs_no_other_process(db: DataFlow, tmp_path: Path, redis_url: str) -> None:
    with running(tmp_path, redis_url, "worker", "clock:db", "--with-scheduler") as process:
        job = db.job(await first_job(db))
        await job.wait_async(20)
        assert str(job.result).startswith("tick of say, due ")
        os.kill(process.pid, signal.SIGTERM)
        code, output = await ended(process)
    assert code == 0, output
    info = await db.schedules.get_async("say")
    assert info.finished >= 1
    assert info.last_outcome == "finished"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("nothing:db",), "There is no module 'nothing'"),
        (("clock:db", "--log-level", "loud"), "log level 'loud'"),
        (("clock:db", "--url", "redis://127.0.0.1:1/0"), "cannot be used"),
        (("clock:db", "--lock-time", "0.1"), "--lock-time"),
    ],
)
async def test_what_is_wrong_is_said_at_the_start(
    db: DataFlow, tmp_path: Path, redis_url: str, options: Sequence[str], reason: str
) -> None:
    with running(tmp_path, redis_url, "scheduler", *options) as process:
        code, output = await ended(process)
    assert code == 2
    assert reason in output
    assert "Traceback" not in output
