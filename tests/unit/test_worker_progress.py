"""When the progress of a running job is written."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from worker.deliveries import Deliveries, Delivery
from worker.options import WorkerOptions
from worker.progress import ProgressWriter


class Writes:
    """Stands in for the connection: keeps the ids of jobs that are written."""

    def __init__(self) -> None:
        self.ids: asyncio.Queue[str] = asyncio.Queue()

    async def call(self, script: Any, args: list[Any]) -> None:
        for job_id in args[::4]:
            self.ids.put_nowait(job_id)


async def test_a_job_that_began_just_before_a_write_is_in_the_next() -> None:
    writes = Writes()
    deliveries = Deliveries(WorkerOptions())
    writer = ProgressWriter(writes, deliveries)  # type: ignore[arg-type]
    tasks = []
    for job_id, began in (("old", time.time() - 1), ("young", time.time() + 0.08)):
        delivery = Delivery("default", job_id, "e", b"", {}, started=began)
        delivery.task = asyncio.create_task(asyncio.Event().wait())
        tasks.append(delivery.task)
        deliveries.add(delivery)
        writer.note(delivery)
    await writer.start()
    try:
        async with asyncio.timeout(10):
            assert [await writes.ids.get(), await writes.ids.get()] == ["old", "young"]
    finally:
        await writer.stop()
        for task in tasks:
            task.cancel()
