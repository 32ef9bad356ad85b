"""Replies of Redis that never arrive, and a network that is cut while jobs run."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest
import redis

from dataflow.jobs import Job, JobStatus
from dataflow.workflows import Step
from tests.fault.keyspace import running
from tests.fault.proxy import proxied
from tests.worker_process import App, node_runs
from worker.scripts import load_script

LEASE = 1.5


async def enqueue(app: App, count: int) -> list[Job]:
    return await app.queue.enqueue_many_async(
        [{"workflow": app.workflow(f"job-{i}"), "job_id": f"job-{i}"} for i in range(count)]
    )


async def test_a_claim_whose_reply_is_lost_is_made_again_at_once(app: App) -> None:
    async with proxied(app.redis_url) as proxy:
        proxy.lose_reply(load_script("claim"))
        jobs = await enqueue(app, 5)
        with app.worker("--url", proxy.url, "--lease", "60", "--burst") as worker:
            async with asyncio.timeout(20):
                await proxy.lost.wait()
            began = time.monotonic()
            assert await worker.ended(20) == 0
            assert time.monotonic() - began < 10, "long before the lease runs out"
    assert await app.effects() == [job.id for job in jobs], "each once"
    assert running(app.redis_url) == set()


async def test_a_finish_whose_reply_is_lost_is_recorded_once(app: App) -> None:
    async with proxied(app.redis_url) as proxy:
        proxy.lose_reply(load_script("finish"))
        jobs = await enqueue(app, 1)
        with app.worker("--url", proxy.url, "--name", "finisher", "--burst") as worker:
            async with asyncio.timeout(20):
                await proxy.lost.wait()
            assert await worker.ended(20) == 0
    assert await app.effects() == ["job-0"]
    assert (await jobs[0].refresh_async()).status is JobStatus.FINISHED
    assert running(app.redis_url) == set()
    with redis.Redis.from_url(app.redis_url) as client:
        assert client.hget("rq:worker:finisher", "successful_job_count") == b"1"
        assert client.xlen("rq:results:job-0") == 1


async def test_killed_between_claim_and_start_nothing_is_lost(app: App) -> None:
    async with proxied(app.redis_url) as proxy:
        proxy.lose_reply(load_script("claim"), hang=True)
        jobs = await enqueue(app, 5)
        with app.worker("--url", proxy.url, "--lease", str(LEASE)) as victim:
            async with asyncio.timeout(20):
                await proxy.lost.wait()
            assert [(await job.refresh_async()).status for job in jobs] == [JobStatus.STARTED] * 5
            victim.signal(signal.SIGKILL)
            with app.worker("--lease", str(LEASE)) as peer:
                await peer.said("serves")
                began = time.monotonic()
                for job in jobs:
                    await job.wait_async(LEASE + 15)
            assert time.monotonic() - began < LEASE + 5
    assert await app.effects() == [job.id for job in jobs], "each once: none had begun"


@pytest.mark.parametrize("node", ["OnceUpsertNode", "OnceCreateNode"])
async def test_killed_between_effect_and_finish_an_effect_with_a_key_happens_once(app: App, node: str) -> None:
    once = str(app.folder / "died")
    params = {"where": {"job": "a"}, "create": {"job": "a"}} if node == "OnceUpsertNode" else {"job": "a"}
    workflow = app.chain(Step("write", node, params), Step("die", "Die", {"once": once}))
    job = await app.queue.enqueue_async(workflow, exactly_once=False)
    with app.worker("--lease", str(LEASE)) as victim:
        await victim.ended(20)
    with app.worker("--lease", str(LEASE)):
        await asyncio.wait([asyncio.create_task(job.wait_async(LEASE + 15))])
    assert await app.effects("onces") == ["a"]
    await job.refresh_async()
    if node == "OnceUpsertNode":
        assert job.status is JobStatus.FINISHED
    else:
        assert job.error is not None
        assert job.error.node_id == "write", "a second run that is refused by the key says so"


async def test_a_network_cut_longer_than_the_lease_leads_to_one_end(app: App) -> None:
    async with proxied(app.redis_url) as proxy:
        (job,) = await app.queue.enqueue_many_async([{"workflow": app.held("one"), "job_id": "one"}])
        with app.worker("--url", proxy.url, "--lease", str(LEASE), "--name", "cut-off") as cut_off:
            await node_runs(job, "hold")
            proxy.partition()
            with app.worker("--lease", str(LEASE), "--name", "peer") as peer:
                await peer.said("Job one of dead worker cut-off is queued again")
                async with asyncio.timeout(20):
                    while (await job.refresh_async()).worker_name != "peer":
                        await asyncio.sleep(0.02)
                app.open_gate()
                await job.wait_async(20)
                proxy.heal()
                await cut_off.said("no longer this worker's", 30)
                assert (await job.refresh_async()).worker_name == "peer"
                with redis.Redis.from_url(app.redis_url) as client:
                    assert client.xlen("rq:results:one") == 1, "the first worker's end was fenced off"
                # It serves again.
                peer.signal(signal.SIGTERM)
                await peer.ended(20)
                late = await app.queue.enqueue_async(app.workflow("late"))
                await late.wait_async(20)
    assert running(app.redis_url) == set()
