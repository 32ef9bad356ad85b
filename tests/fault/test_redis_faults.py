"""Redis restarts, forgets, refuses and starts slowly; workers go on by themselves and no job pays for it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from rq.command import send_shutdown_command, send_stop_job_command

from dataflow.errors import BrokerUnavailableError
from dataflow.jobs import Job, JobStatus
from dataflow.jobs.serializer import RQSerializer
from tests.fault.proxy import proxied
from tests.servers import RedisServer, Server
from tests.worker_process import App, node_runs

LEASE = 1.5


async def hold(app: App, count: int) -> list[Job]:
    requests = [{"workflow": app.held(f"job-{i}"), "job_id": f"job-{i}", "retry": 1} for i in range(count)]
    return await app.queue.enqueue_many_async(requests)


async def test_a_crash_of_redis_that_keeps_its_data_costs_nothing_and_commands_are_heard_again(
    durable_app: App, durable_redis: RedisServer
) -> None:
    app = durable_app
    jobs = await hold(app, 5)
    with app.worker("--lease", str(LEASE), "--name", "survivor") as worker:
        await node_runs(jobs[4], "hold")
        await app.queue.enqueue_async(app.workflow("waiting"), job_id="waiting")
        await asyncio.to_thread(durable_redis.kill)
        await worker.said("Lost the broker")
        await asyncio.to_thread(durable_redis.start)
        back = time.monotonic()
        await Job("waiting", app.broker).wait_async(20)
        assert time.monotonic() - back < 5
        with redis.Redis.from_url(app.redis_url) as client:
            async with asyncio.timeout(20):
                while not client.pubsub_numsub("rq:pubsub:survivor")[0][1]:
                    await asyncio.sleep(0.02)
            send_stop_job_command(client, "job-0", serializer=RQSerializer)
            async with asyncio.timeout(20):
                while (await jobs[0].refresh_async()).status is not JobStatus.STOPPED:
                    await asyncio.sleep(0.02)
            app.open_gate()
            for job in jobs[1:]:
                await job.wait_async(20)
            send_shutdown_command(client, "survivor")
        assert await worker.ended(20) == 0
    assert await app.effects() == ["job-1", "job-2", "job-3", "job-4", "waiting"], "each once"
    assert [job.retries_left for job in jobs] == [1] * 5


async def test_a_redis_that_forgot_everything_is_served_again(forgetful_app: App, forgetful_redis: RedisServer) -> None:
    app = forgetful_app
    jobs = await hold(app, 2)
    with app.worker("--lease", str(LEASE), "--name", "survivor") as worker:
        await node_runs(jobs[1], "hold")
        await asyncio.to_thread(forgetful_redis.kill)
        await worker.said("Lost the broker")
        await asyncio.to_thread(forgetful_redis.start)
        await worker.said("no longer this worker's")
        late = await app.queue.enqueue_async(app.workflow("late"))
        await late.wait_async(20)
        with redis.Redis.from_url(app.redis_url) as client:
            assert client.hget("rq:worker:survivor", "queues") == b"default", "it is registered again"
            assert client.smembers("rq:workers") == {b"rq:worker:survivor"}
        worker.signal(signal.SIGTERM)
        assert await worker.ended(20) == 0
    assert await app.effects() == ["late"], "what Redis forgot is interrupted"


def read_only(client: redis.Redis) -> Callable[[], object]:
    client.execute_command("REPLICAOF", "127.0.0.1", "1")
    return lambda: client.execute_command("REPLICAOF", "NO", "ONE")


def out_of_memory(client: redis.Redis) -> Callable[[], object]:
    client.config_set("maxmemory", 1)
    return lambda: client.config_set("maxmemory", 0)


def disk_broken(client: redis.Redis) -> Callable[[], object]:
    """Redis stops writes after a snapshot that failed: something is where the file should be."""
    (Path(client.config_get("dir")["dir"]) / "dump.rdb").mkdir()
    client.config_set("save", "3600 1")
    client.bgsave()
    while client.info("persistence")["rdb_last_bgsave_status"] != "err":
        time.sleep(0.01)
    return lambda: client.config_set("save", "")


def no_replicas(client: redis.Redis) -> Callable[[], object]:
    client.config_set("min-replicas-to-write", 1)
    return lambda: client.config_set("min-replicas-to-write", 0)


@pytest.mark.parametrize("fault", [read_only, out_of_memory, disk_broken, no_replicas])
async def test_a_redis_that_refuses_for_longer_than_the_lease_costs_no_job(
    forgetful_app: App, fault: Callable[[redis.Redis], Callable[[], object]]
) -> None:
    app = forgetful_app
    jobs = await hold(app, 3)
    with (
        app.worker("--lease", str(LEASE), "--concurrency", "2") as first,
        app.worker("--lease", str(LEASE), "--concurrency", "2") as second,
        redis.Redis.from_url(app.redis_url) as client,
    ):
        for job in jobs:
            await node_runs(job, "hold")
        heal = fault(client)
        with pytest.raises(BrokerUnavailableError):
            await app.queue.enqueue_async(app.workflow("refused"))
        over = time.monotonic() + 2 * LEASE
        while time.monotonic() < over:
            await asyncio.sleep(0.05)
        app.open_gate()
        while len(await app.effects()) < 3:
            await asyncio.sleep(0.05)
        heal()
        late = await app.queue.enqueue_async(app.workflow("late"), job_id="late")
        for job in (*jobs, late):
            await job.wait_async(20)
        for worker in (first, second):
            assert "is dead" not in worker.output()
            worker.signal(signal.SIGTERM)
            assert await worker.ended(20) == 0
    assert await app.effects() == ["job-0", "job-1", "job-2", "late"], "each once"
    assert [job.retries_left for job in jobs] == [1] * 3


async def test_a_failover_to_a_replica_costs_no_job(
    tmp_path: Path, forgetful_redis: RedisServer, new_server: Callable[[type[Server]], Server]
) -> None:
    replica = new_server(RedisServer)
    async with proxied(forgetful_redis.url) as proxy:
        app = App(tmp_path, proxy.url)
        with redis.Redis.from_url(replica.url) as second, redis.Redis.from_url(forgetful_redis.url) as first:
            second.replicaof("127.0.0.1", str(forgetful_redis.port))
            jobs = await hold(app, 3)
            with app.worker("--lease", str(LEASE), "--name", "survivor") as worker:
                for job in jobs:
                    await node_runs(job, "hold")
                async with asyncio.timeout(20):
                    while second.info("replication")["master_link_status"] != "up":
                        await asyncio.sleep(0.02)
                assert first.wait(1, 20_000) == 1
                await asyncio.to_thread(forgetful_redis.kill)
                await worker.said("Lost the broker")
                second.replicaof("NO", "ONE")
                proxy.switch(replica.url)
                app.open_gate()
                late = await app.queue.enqueue_async(app.workflow("late"), job_id="late")
                for job in (*jobs, late):
                    await job.wait_async(20)
                assert "is dead" not in worker.output()
                worker.signal(signal.SIGTERM)
                assert await worker.ended(20) == 0
        await app.broker.close()
    assert await app.effects() == ["job-0", "job-1", "job-2", "late"], "each once"
    assert [job.retries_left for job in jobs] == [1] * 3


async def test_forgotten_scripts_are_loaded_again(app: App) -> None:
    jobs = await hold(app, 2)
    with app.worker("--lease", str(LEASE)), redis.Redis.from_url(app.redis_url) as client:
        await node_runs(jobs[1], "hold")
        client.script_flush()
        app.open_gate()
        for job in jobs:
            await job.wait_async(20)
    assert await app.effects() == ["job-0", "job-1"]


async def test_a_redis_that_still_loads_its_data_is_waited_for(durable_app: App, durable_redis: RedisServer) -> None:
    app = durable_app
    jobs = await hold(app, 2)
    with app.worker("--lease", str(LEASE)) as worker, redis.Redis.from_url(app.redis_url) as client:
        await node_runs(jobs[1], "hold")
        client.mset({f"ballast:{i}": "x" for i in range(1_500)})
        client.bgrewriteaof()
        async with asyncio.timeout(20):
            while client.info("persistence")["aof_rewrite_in_progress"]:
                await asyncio.sleep(0.02)
        await asyncio.to_thread(durable_redis.kill)
        durable_redis.options = {"key-load-delay": "2000", "loading-process-events-interval-bytes": "1024"}
        app.open_gate()
        starting = asyncio.create_task(asyncio.to_thread(durable_redis.start))
        refusals = 0
        while not starting.done():
            try:
                client.ping()
            except redis.exceptions.BusyLoadingError:
                refusals += 1
            except redis.ConnectionError:
                pass
            await asyncio.sleep(0.1)
        await starting
        assert refusals > 2
        for job in jobs:
            await job.wait_async(20)
        assert worker.process.poll() is None
    assert await app.effects() == ["job-0", "job-1"], "each once"
