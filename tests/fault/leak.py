"""Measures what many jobs leave behind in Redis and in the memory of their worker."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import psutil
import redis

from dataflow.workflows import Step, Workflow
from tests.fault.keyspace import lasting
from tests.worker_process import App

#: Keys that stay: registries and sets of which there is one, however many jobs there are.
STANDING = {"rq:queues", "rq:finished:default", "rq:workers", "rq:workers:default", "rq:dataflow:leases"}


@dataclass
class Leak:
    """What was left.

    Attributes:
        sizes: Resident size of the worker in MB, after each tenth of the jobs.
        lasting: Keys that never expire, besides those that stand.
    """

    sizes: list[float] = field(default_factory=list)
    lasting: list[str] = field(default_factory=list)


async def measure_leak(app: App, jobs: int) -> Leak:
    """Run jobs that do nothing, a tenth at a time."""
    leak = Leak()
    request = {"workflow": Workflow("nothing", (Step("hold", "Hold", {}),)), "result_ttl": 60}
    with app.worker("--concurrency", "100") as worker, redis.Redis.from_url(app.redis_url) as client:
        process = psutil.Process(worker.process.pid)
        for _ in range(10):
            await app.queue.enqueue_many_async([request] * (jobs // 10))
            while client.llen("rq:queue:default") or client.zcard("rq:wip:default"):
                await asyncio.sleep(0.05)
            leak.sizes.append(round(process.memory_info().rss / 1e6, 1))
    leak.lasting = sorted(lasting(app.redis_url) - STANDING)
    return leak
