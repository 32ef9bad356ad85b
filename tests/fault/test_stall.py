"""A job that blocks the event loop of its worker."""

from __future__ import annotations

import asyncio

from dataflow.jobs import Job
from dataflow.workflows import Step
from tests.worker_process import App, node_runs
from worker.options import WorkerOptions

LEASE = 1.0


async def stall(app: App, seconds: float) -> Job:
    step = Step("stall", "Stall", {"seconds": seconds, "reached": str(app.folder / "reached")})
    return await app.queue.enqueue_async(app.workflow("stalled", step), job_id="stalled")


async def reached(app: App) -> None:
    async with asyncio.timeout(20):
        while not (app.folder / "reached").exists():
            await asyncio.sleep(0.02)


async def test_a_loop_blocked_for_longer_than_the_lease_leads_to_no_second_run(app: App) -> None:
    job = await stall(app, 5 * LEASE)
    with app.worker("--lease", str(LEASE), "--name", "stalled") as stalled:
        await reached(app)
        with app.worker("--lease", str(LEASE), "--name", "peer") as peer:
            await job.wait_async(20)
            assert "is dead" not in peer.output()
        assert (await job.refresh_async()).worker_name == "stalled"
        assert "The event loop has been blocked for" in stalled.output()
        assert "time.sleep(input_data" in stalled.output(), "the log says where"
    assert await app.effects() == ["stalled"]


async def test_sync_code_runs_beside_the_loop(app: App) -> None:
    block = Step("block", "Block", {"seconds": 3 * LEASE, "file": str(app.gate)})
    blocking = await app.queue.enqueue_async(app.workflow("slow", block))
    with app.worker("--lease", str(LEASE)) as worker:
        await node_runs(blocking, "block")
        quick = await app.queue.enqueue_async(app.workflow("quick"))
        await quick.wait_async(20)
        app.open_gate()
        await blocking.wait_async(20)
        assert "blocked" not in worker.output()
    assert await app.effects() == ["quick", "slow"]


async def test_a_loop_that_hangs_for_ever_counts_as_dead_in_the_end(app: App) -> None:
    assert WorkerOptions().max_stall == 300
    job = await stall(app, 3_600)
    with app.worker("--lease", str(LEASE), "--max-stall", "2", "--name", "hung") as hung:
        await reached(app)
        with app.worker("--lease", str(LEASE), "--name", "peer", "--max-stall", "2") as peer:
            await peer.said("Job stalled of dead worker hung is queued again")
            await hung.said("after 2 s others take over")
    assert job.id == "stalled"
