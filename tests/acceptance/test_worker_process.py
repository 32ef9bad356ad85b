"""``dataflow worker`` as people start and stop it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dataflow.jobs import JobStatus
from dataflow.workflows import Step
from tests.acceptance.programs import BIN, environment
from tests.worker_process import App, node_runs


@pytest.fixture
async def app(tmp_path: Path, broker_url: str) -> AsyncIterator[App]:
    made = App(tmp_path, broker_url)
    yield made
    await made.broker.close()


async def test_a_burst_runs_everything_and_ends(app: App) -> None:
    jobs = await app.queue.enqueue_many_async([{"workflow": app.workflow(f"job-{i:02}")} for i in range(50)])
    with app.worker("--burst", "--queues", "high, default") as worker:
        assert await worker.ended(60) == 0
    assert [(await job.refresh_async()).status for job in jobs] == [JobStatus.FINISHED] * 50
    assert (await jobs[7].wait_async(1))["write"]["job"] == "job-07"
    assert await app.effects() == [f"job-{i:02}" for i in range(50)]
    output = worker.output()
    assert "queues high, default at redis://" in output
    assert "50 done, 0 failed" in output


async def test_sigterm_lets_running_jobs_finish(app: App) -> None:
    job = await app.queue.enqueue_async(app.held("one"))
    with app.worker("--grace", "60") as worker:
        await node_runs(job, "hold")
        worker.signal(signal.SIGTERM)
        app.open_gate()
        assert await worker.ended(20) == 0
    assert (await job.refresh_async()).status is JobStatus.FINISHED
    assert await app.effects() == ["one"]


async def test_after_the_grace_jobs_go_back_unharmed(app: App) -> None:
    job = await app.queue.enqueue_async(app.held("one"), retry=2)
    with app.worker("--grace", "0.2") as worker:
        await node_runs(job, "hold")
        worker.signal(signal.SIGTERM)
        assert await worker.ended(10) == 0
    await job.refresh_async()
    assert (job.status, job.retries_left) == (JobStatus.QUEUED, 2)
    app.open_gate()
    with app.worker("--burst") as worker:
        assert await worker.ended(60) == 0
    assert await app.effects() == ["one"]


async def test_a_second_signal_ends_it_at_once_even_while_a_thread_is_blocked(app: App) -> None:
    workflow = app.workflow("one", Step("block", "Block", {"seconds": 600}))
    job = await app.queue.enqueue_async(workflow)
    with app.worker("--grace", "600") as worker:
        await node_runs(job, "block")
        worker.signal(signal.SIGINT)
        while "Got SIGINT" not in worker.output():
            await asyncio.sleep(0.01)
        began = time.monotonic()
        worker.signal(signal.SIGINT)
        assert await worker.ended(10) == 0
        assert time.monotonic() - began < 5
    assert (await job.refresh_async()).status is JobStatus.QUEUED


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        (["nothing:db"], {}, "no module 'nothing'"),
        (["effects:bd"], {}, "Did you mean 'db'"),
        (["effects:db"], {}, "REDIS_URL"),
        (["effects:db", "--url", "redis://:secret@127.0.0.1:1/0"], {}, "redis://:***@127.0.0.1:1/0"),
        (["effects:db", "--url", "redis://127.0.0.1:1/0", "--log-level", "loud"], {}, "log level"),
    ],
)
async def test_what_is_wrong_is_one_line_and_exit_code_2(
    tmp_path: Path, arguments: list[str], variables: dict[str, str], words: str
) -> None:
    App(tmp_path, "redis://127.0.0.1:1/0")
    process = await asyncio.create_subprocess_exec(
        BIN / "dataflow",
        "worker",
        *arguments,
        cwd=tmp_path,
        env=environment(DATABASE_URL="sqlite:///effects.db", **variables),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 2, output.decode()
    assert words in output.decode()
    assert "Traceback" not in output.decode()
    assert "secret" not in output.decode()
