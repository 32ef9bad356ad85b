"""``dataflow jobs``, ``dataflow workers`` and ``dataflow metrics`` as people use them, beside a real worker."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from dataflow.cli import command_line
from dataflow.errors import ConfigurationError, InputError, JobError, JobNotFoundError
from dataflow.jobs import Broker, JobStatus
from dataflow.jobs.metrics import Counts, read_counts
from dataflow.workflows import Step, Workflow
from tests.acceptance.programs import BIN, environment
from tests.worker_process import App, node_runs


@pytest.fixture
async def app(tmp_path: Path, broker_url: str) -> AsyncIterator[App]:
    made = App(tmp_path, broker_url)
    yield made
    await made.broker.close()


async def dataflow(app: App, *arguments: str) -> Result:
    """Run a command within this process, in a thread, since it has an event loop of its own."""
    group, *rest = arguments
    if group == "workers" and (not rest or rest[0].startswith("-")):
        line = [group, "--redis-url", app.redis_url, *rest]
    else:
        line = [*arguments, "--redis-url", app.redis_url]
    return await asyncio.to_thread(CliRunner().invoke, command_line(group), line, env={"COLUMNS": "250"})


async def answer(app: App, *arguments: str) -> Any:
    result = await dataflow(app, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def failing(job: str) -> Workflow:
    return Workflow("failing", (Step("block", "Block", {"seconds": job}),))


async def test_a_job_is_watched_from_the_queue_to_its_end(app: App) -> None:
    job = await app.queue.enqueue_async(app.held("one"), job_id="one")
    watching = await asyncio.create_subprocess_exec(
        BIN / "dataflow", "jobs", "watch", "one", "--url", app.redis_url,
        env=environment(), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert watching.stdout is not None
    assert b"queued" in await watching.stdout.readline()
    with app.worker():
        await node_runs(job, "hold")
        lines = [await asyncio.wait_for(watching.stdout.readline(), 20) for _ in range(2)]
        assert b"started" in lines[0]
        assert b"running" in lines[1]
        assert b"hold" in lines[1]
        app.open_gate()
        rest, _ = await asyncio.wait_for(watching.communicate(), 20)
    assert [line.split()[1] for line in rest.splitlines()] == [b"done", b"done", b"finished"]
    assert watching.returncode == 0


async def test_watch_tells_by_its_exit_code_how_the_job_ended(app: App) -> None:
    failed = await app.queue.enqueue_async(failing("no number"), job_id="failed")
    canceled = await app.queue.enqueue_async(app.workflow("x"), delay=3_600)
    with app.worker("--burst") as worker:
        assert await worker.ended(60) == 0
    result = await dataflow(app, "jobs", "watch", failed.id)
    assert result.exit_code == 1
    assert "Node 'block'" in result.stderr
    assert (await dataflow(app, "jobs", "watch", canceled.id, "--timeout", "0.1")).exit_code == 124
    assert (await dataflow(app, "jobs", "cancel", canceled.id)).exit_code == 0
    assert (await dataflow(app, "jobs", "cancel", failed.id)).exit_code == 1
    assert (await dataflow(app, "jobs", "watch", canceled.id)).exit_code == 4


async def test_list_show_and_requeue(app: App) -> None:
    job = await app.queue.enqueue_async(failing("a secret"), {"block": {"note": "a secret"}}, job_id="bad")
    child = await app.queue.enqueue_async(app.workflow("child"), depends_on=job, job_id="child")
    alone = (await answer(app, "jobs", "show", "bad"))["waits"]
    assert "No worker serves the queue default" in alone
    with app.worker("--burst") as worker:
        assert await worker.ended(60) == 0

    page = await answer(app, "jobs", "list", "--queue", "default")
    assert [(one["id"], one["status"]) for one in page["jobs"]] == [("child", "deferred"), ("bad", "failed")]
    table = (await dataflow(app, "jobs", "list", "--limit", "1")).stdout
    assert "1–1 of 2 jobs" in table
    assert "child" in table

    told = await answer(app, "jobs", "show", "bad")
    assert (told["status"], told["dependents"], told["nodes"]["block"]["state"]) == ("failed", ["child"], "failed")
    assert "a secret" not in json.dumps(told["inputs"])
    assert told["inputs"] == {"block": {"note": "str(8)"}}
    assert (await answer(app, "jobs", "show", "bad", "--values"))["inputs"] == {"block": {"note": "a secret"}}
    assert "It waits for bad (failed)" in (await dataflow(app, "jobs", "show", "child")).stdout
    assert "Traceback" in (await dataflow(app, "jobs", "show", "bad")).stdout

    assert "default: 1 job(s) queued again" in (await dataflow(app, "jobs", "requeue", "--all")).stdout
    assert (await job.refresh_async()).status is JobStatus.QUEUED
    assert (await dataflow(app, "jobs", "requeue", "bad")).exit_code == 1
    assert await child.cancel_async()
    assert (await dataflow(app, "jobs", "requeue", "child")).exit_code == 0


async def test_stop_workers_stats_and_drain(app: App) -> None:
    jobs = await app.queue.enqueue_many_async([{"workflow": app.held(name), "job_id": name} for name in "ab"])
    with app.worker("--name", "one", "--queues", "high,default:2", "--lease", "1") as worker:
        for job in jobs:
            await node_runs(job, "hold")
        (told,) = await answer(app, "workers")
        assert (told["name"], told["queues"], told["held"]) == ("one", ["high", "default"], 2)
        assert "one" in (await dataflow(app, "workers")).stdout

        assert "a: told to stop" in (await dataflow(app, "jobs", "stop", "a")).stdout
        assert (await dataflow(app, "jobs", "watch", "a")).exit_code == 3
        assert (await dataflow(app, "jobs", "stop", "a")).exit_code == 1

        draining = asyncio.create_task(dataflow(app, "workers", "drain", "--all", "--wait"))
        while "Drained" not in worker.output():
            await asyncio.sleep(0.01)
        app.open_gate()
        assert "one: ended" in (await draining).stdout
        assert await worker.ended(20) == 0
    assert (await jobs[1].refresh_async()).status is JobStatus.FINISHED
    stats = await answer(app, "jobs", "stats")
    assert (stats["total"]["done"], stats["total"]["stopped"], stats["workers"]) == (1, 1, 0)
    assert [(one["queue"], one["workflow"]) for one in stats["series"]] == [("default", "effect")]
    assert "effect" in (await dataflow(app, "jobs", "stats")).stdout


async def test_stats_of_an_interval_tell_rates(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = threading.Event()

    async def look(broker: Broker) -> Counts:
        counts = await read_counts(broker)
        looked.set()
        return counts

    with app.worker("--lease", "0.6"):
        first = await app.queue.enqueue_async(app.workflow("before"))
        await first.wait_async(20)
        while not (await answer(app, "jobs", "stats"))["total"]["done"]:
            await asyncio.sleep(0.05)
        monkeypatch.setattr("dataflow.cli.stats.read_counts", look)
        looking = asyncio.create_task(answer(app, "jobs", "stats", "--interval", "2"))
        assert await asyncio.to_thread(looked.wait, 20)
        jobs = await app.queue.enqueue_many_async([{"workflow": app.workflow(str(i))} for i in range(10)])
        for job in jobs:
            await job.wait_async(20)
        told = await looking
        pools = told["pools"][0]["default"]
    assert told["total"]["done"] in (10, 11)
    assert told["total"]["per_second"] == pytest.approx(told["total"]["done"] / told["seconds"])
    assert pools["max_size"] >= 1


async def test_metrics_over_http_of_the_fleet_and_of_one_worker(app: App) -> None:
    exporting = await asyncio.create_subprocess_exec(
        BIN / "dataflow", "metrics", "--port", "0", "--url", app.redis_url,
        env=environment(), stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert exporting.stderr is not None
    try:
        url = (await asyncio.wait_for(exporting.stderr.readline(), 20)).split()[1].decode()
        with app.worker("--metrics-port", "0", "--lease", "0.6") as worker:
            await (await app.queue.enqueue_async(app.workflow("one"))).wait_async(20)
            port = worker.output().partition("Metrics at port ")[2].partition(".")[0]
            own = await asyncio.to_thread(_get, f"http://127.0.0.1:{port}/metrics")
            async with asyncio.timeout(20):
                while 'outcome="done"} 1' not in (fleet := await asyncio.to_thread(_get, url)):
                    await asyncio.sleep(0.05)
        assert 'dataflow_queue_jobs{queue="default",status="finished"} 1.0' in fleet
        assert "dataflow_workers 1" in fleet
        assert 'dataflow_jobs_total{queue="default",workflow="effect",outcome="done"} 1' in own
        assert 'dataflow_pool_connections{database="default",state="in_use"}' in own
        with pytest.raises(urllib.error.HTTPError, match="404"):
            await asyncio.to_thread(_get, url.replace("/metrics", "/"))
    finally:
        exporting.terminate()
        assert await asyncio.wait_for(exporting.wait(), 10) == 0


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text: str = response.read().decode()
        return text


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["jobs", "show", "nobody"], JobNotFoundError, "There is no job 'nobody'"),
        (["jobs", "requeue", "nobody"], JobNotFoundError, "There is no job 'nobody'"),
        (["jobs", "requeue"], InputError, "--all"),
        (["jobs", "list", "--status", "fialed"], InputError, "Did you mean 'failed'"),
        (["workers", "drain", "nobody"], JobError, "nobody does not listen"),
        (["workers", "drain"], InputError, "--all"),
        (["jobs", "list", "--app", "nothing:db"], ConfigurationError, "no module 'nothing'"),
    ],
)
async def test_what_is_wrong_is_said(app: App, arguments: list[str], error: type[Exception], words: str) -> None:
    result = await dataflow(app, *arguments)
    assert isinstance(result.exception, error)
    assert words in str(result.exception)


async def test_without_a_broker_the_command_says_how_to_name_one() -> None:
    process = await asyncio.create_subprocess_exec(
        BIN / "dataflow", "jobs", "list", env=environment(), stderr=asyncio.subprocess.PIPE
    )
    _, message = await process.communicate()
    assert process.returncode == 2
    assert b"--redis-url" in message
