"""Workers that die or freeze while their jobs have half of their effects: each is there once, on each database."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dataflow import DataFlow
from dataflow.jobs import JobStatus
from dataflow.workflows import Edge, Step, Workflow
from tests.worker_process import App, node_runs

LEASE = 1.5
WORKER = ("--lease", str(LEASE), "--concurrency", "10", "--log-level", "info")

SOURCE = '''
import asyncio, os, signal
from pathlib import Path
from dataflow import BaseDataFlowNode, DataFlow

db = DataFlow()

@db.model
class Effect:
    job: str
    part: str
    times: int = 0

@db.register_node
class Die(BaseDataFlowNode):
    """Kills its process, once for each file."""

    async def execute(self, input_data):
        file = Path(input_data["file"])
        if not file.exists():
            file.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return {}

@db.register_node
class Hold(BaseDataFlowNode):
    """Goes on when the file is there."""

    async def execute(self, input_data):
        while not os.path.exists(input_data["file"]):
            await asyncio.sleep(0.01)
        return {}
'''


@pytest.fixture
async def app(tmp_path: Path, redis_url: str, database_url: str) -> AsyncIterator[App]:
    made = App(tmp_path, redis_url, database_url=database_url, source=SOURCE)
    await (await made.broker.client()).flushdb()
    yield made
    await made.broker.close()


@pytest.fixture
async def db(app: App) -> AsyncIterator[DataFlow]:
    """The database, seen from outside of the workers."""
    async with DataFlow(app.database_url, name="outside") as made:

        @made.model
        class Effect:
            job: str
            part: str
            times: int = 0

        await made.create_tables_async()
        yield made


def flow(job: str, between: Step) -> Workflow:
    """A row, a change of it and a bulk of rows; then what is between; then a row and the same change again."""
    steps = (
        Step("create", "EffectCreateNode", {"job": job, "part": "create"}),
        Step("first", "EffectUpdateNode", {"fields": {"times": {"$inc": 1}}}),
        Step("bulk", "EffectBulkCreateNode", {"data": [{"job": job, "part": f"bulk {n}"} for n in range(3)]}),
        between,
        Step("second", "EffectUpdateNode", {"fields": {"times": {"$inc": 1}}}),
        Step("last", "EffectCreateNode", {"job": job, "part": "last"}),
    )
    edges = (
        Edge("create", "id", "first", "id"),
        Edge("create", "id", "second", "id"),
        Edge("first", "id", "bulk", "input"),
        Edge("bulk", "processed", between.id, "after"),
        Edge(between.id, "result", "second", "input"),
        Edge("second", "id", "last", "input"),
    )
    return Workflow("effects", steps, edges)


def expected(jobs: list[str]) -> list[tuple[Any, ...]]:
    parts = [("create", 2), *((f"bulk {n}", 0) for n in range(3)), ("last", 0)]
    return sorted((job, part, times) for job in jobs for part, times in parts)


async def effects(db: DataFlow) -> list[tuple[Any, ...]]:
    rows = await db.database.fetch_all("SELECT job, part, times FROM effects")
    return sorted(tuple(row) for row in rows)


async def test_killed_between_two_effects(app: App, db: DataFlow, tmp_path: Path) -> None:
    die = Step("die", "Die", {"file": str(tmp_path / "died")})
    job = await app.queue.enqueue_async(flow("a", die))
    with app.worker(*WORKER) as victim:
        assert await victim.ended(20) == -signal.SIGKILL
    with app.worker(*WORKER):
        results = await job.wait_async(LEASE + 15)
    assert await effects(db) == expected(["a"])
    assert results["create"]["times"] == 0
    assert results["first"]["times"] == 1
    assert results["second"]["times"] == 2
    assert results["bulk"]["inserted"] == 3


async def test_killed_after_the_last_effect_and_before_the_end_is_recorded(
    app: App, db: DataFlow, tmp_path: Path
) -> None:
    steps = (
        Step("create", "EffectCreateNode", {"job": "a", "part": "only"}),
        Step("die", "Die", {"file": str(tmp_path / "died")}),
    )
    job = await app.queue.enqueue_async(Workflow("last", steps, (Edge("create", "id", "die", "after"),)))
    with app.worker(*WORKER) as victim:
        assert await victim.ended(20) == -signal.SIGKILL
    row = (await db.database.fetch_all("SELECT id FROM effects"))[0]
    with app.worker(*WORKER):
        results = await job.wait_async(LEASE + 15)
    assert await effects(db) == [("a", "only", 0)]
    assert results["create"]["id"] == row[0]


async def test_workers_killed_one_after_the_other(app: App, db: DataFlow, tmp_path: Path) -> None:
    names = [f"job-{number:03}" for number in range(60)]
    # Every 20th job kills its worker, with whatever the others are about.
    files = [tmp_path / (name if number % 20 == 5 else "never") for number, name in enumerate(names)]
    (tmp_path / "never").touch()
    requests = [
        {"workflow": flow(name, Step("die", "Die", {"file": str(file)})), "job_id": name}
        for name, file in zip(names, files, strict=True)
    ]
    jobs = await app.queue.enqueue_many_async(requests)

    async def all_done() -> None:
        for job in jobs:
            await job.wait_async(60)

    waiting = asyncio.create_task(all_done())
    deaths = 0
    while not waiting.done():
        with app.worker(*WORKER) as worker:
            ended = asyncio.create_task(worker.ended(60))
            await asyncio.wait([waiting, ended], return_when=asyncio.FIRST_COMPLETED)
            deaths += ended.done()
        await ended
    await waiting
    assert deaths >= 2
    assert await effects(db) == expected(names)


async def test_frozen_until_another_has_done_its_job(app: App, db: DataFlow, tmp_path: Path) -> None:
    job = await app.queue.enqueue_async(flow("a", Step("hold", "Hold", {"file": str(app.gate)})))
    with app.worker(*WORKER, "--name", "frozen") as frozen:
        await node_runs(job, "hold")
        frozen.signal(signal.SIGSTOP)
        app.open_gate()
        with app.worker(*WORKER, "--name", "peer"):
            await job.wait_async(LEASE + 15)
            frozen.signal(signal.SIGCONT)
            # Whichever it is told first: that the job is not its own, or that its end was not recorded.
            async with asyncio.timeout(20):
                while "no longer this worker's" not in frozen.output():
                    await asyncio.sleep(0.02)
            frozen.signal(signal.SIGTERM)
            assert await frozen.ended(20) == 0
    assert (await job.refresh_async()).status is JobStatus.FINISHED
    assert await effects(db) == expected(["a"])
