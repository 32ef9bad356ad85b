"""Stopping a job stops what it runs in the database."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from dataflow import BaseDataFlowNode, DataFlow, WorkflowBuilder
from dataflow.errors import JobFailedError
from dataflow.jobs import Broker, JobQueue
from tests.integration.jobs.conftest import LIMIT
from worker.options import WorkerOptions
from worker.worker import Worker

_RUNNING = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)' AND state = 'active'"


async def test_stop_cancels_the_statement_on_the_server(postgresql_db_url: str, redis_url: str) -> None:
    async with DataFlow(postgresql_db_url) as db:

        class Slow(BaseDataFlowNode):
            async def execute(self, input_data: dict[str, Any]) -> dict[str, Any]:
                await db.database.fetch_all("SELECT pg_sleep(600)")
                return {}

        db.register_node(Slow)
        builder = WorkflowBuilder("slow")
        builder.add_node("Slow", "slow", {})
        broker = Broker(redis_url)
        await (await broker.client()).flushdb()
        job = await JobQueue("default", broker).enqueue_async(builder)
        worker = Worker([db], broker, WorkerOptions(grace=0.0))
        working = asyncio.create_task(worker.run())
        watcher = await asyncpg.connect(postgresql_db_url)
        try:
            async with asyncio.timeout(LIMIT):
                while await watcher.fetchval(_RUNNING) != 1:
                    await asyncio.sleep(0.02)
                assert await job.stop_async() is True
                with pytest.raises(JobFailedError, match="Stopped on request"):
                    await job.wait_async()
                while await watcher.fetchval(_RUNNING):
                    await asyncio.sleep(0.02)
        finally:
            worker.stop()
            await working
            await watcher.close()
            await broker.close()
