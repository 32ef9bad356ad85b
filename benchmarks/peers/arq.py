"""arq. It looks for jobs each ``poll_delay`` and starts them one after the other. No bulk form: 100 at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

import uvloop
from arq import create_pool
from arq.connections import RedisSettings

from benchmarks.peers import core_insert
from benchmarks.peers.contract import AT_ONCE, REDIS_URL, Kind, do_nothing

# Its worker takes the loop of the policy.
asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


async def nothing(context: dict[str, Any], text: str) -> None:
    """A job that does nothing."""
    do_nothing()


async def insert(context: dict[str, Any], text: str) -> int:
    """A job that inserts one row."""
    return await core_insert.insert_order(context["database"], text)


async def _startup(context: dict[str, Any]) -> None:
    if core_insert.DATABASE_URL:
        context["database"] = core_insert.engine()


#: For its option ``--custom-log-dict``: without a line for each job.
QUIET = {"version": 1, "disable_existing_loggers": False, "loggers": {"arq": {"level": "WARNING"}}}


class WorkerSettings:
    """What ``arq`` is started with."""

    functions: ClassVar = [nothing, insert]
    redis_settings = RedisSettings.from_dsn(REDIS_URL)
    on_startup = _startup
    max_jobs = 100
    poll_delay = 0.01
    log_results = False


class ArqProducer:
    """See contract.Producer."""

    async def open(self) -> None:
        self.redis = await create_pool(RedisSettings.from_dsn(REDIS_URL))

    async def enqueue(self, kind: Kind, payload: str) -> None:
        await self.redis.enqueue_job(kind, payload)

    async def enqueue_many(self, kind: Kind, payloads: Sequence[str]) -> None:
        for start in range(0, len(payloads), AT_ONCE):
            await asyncio.gather(*(self.enqueue(kind, payload) for payload in payloads[start : start + AT_ONCE]))


producer = ArqProducer()
