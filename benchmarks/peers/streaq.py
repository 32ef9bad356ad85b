"""streaq, on coredis and anyio. Bulk: ``Worker.enqueue_many``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncEngine
from streaq import Worker

from benchmarks.peers import core_insert
from benchmarks.peers.contract import REDIS_URL, Kind, do_nothing


@asynccontextmanager
async def _lifespan() -> AsyncGenerator[AsyncEngine | None]:
    yield core_insert.engine() if core_insert.DATABASE_URL else None


worker = Worker(redis_url=REDIS_URL, concurrency=32, lifespan=_lifespan, anyio_kwargs={"use_uvloop": True})


@worker.task(silent=True)
async def nothing(text: str) -> None:
    """A job that does nothing."""
    do_nothing()


@worker.task(silent=True)
async def insert(text: str) -> int:
    """A job that inserts one row."""
    return await core_insert.insert_order(worker.context, text)


_TASKS = {"nothing": nothing, "insert": insert}


class StreaqProducer:
    """See contract.Producer."""

    async def open(self) -> None:
        await worker.__aenter__()

    async def enqueue(self, kind: Kind, payload: str) -> None:
        await _TASKS[kind].enqueue(payload)

    async def enqueue_many(self, kind: Kind, payloads: Sequence[str]) -> None:
        await worker.enqueue_many([_TASKS[kind].enqueue(payload) for payload in payloads])


producer = StreaqProducer()
