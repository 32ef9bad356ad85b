"""Jobs that wait for a dependency halfway: what they did before is done once, and nothing of theirs is overtaken."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from dataflow import BaseDataFlowNode, DataFlow, WorkflowBuilder
from dataflow.errors import DatabaseUnavailableError
from dataflow.jobs import JobStatus
from dataflow.nodes.generated.ledger import TABLE
from dataflow.resilience import CircuitBreakerConfig
from tests.integration.jobs.test_outages import Open, creates, eventually, opened, working

__all__ = ["opened"]  # a fixture


class Payments:
    """A service behind an open breaker, and a workflow that needs it between two effects."""

    def __init__(self, app: DataFlow) -> None:
        self.answers = asyncio.Event()
        config = CircuitBreakerConfig(failure_threshold=1, success_threshold=1, timeout=0.3)
        self.breaker = breaker = app.breaker("payments", config)
        ask = self.ask

        @app.register_node
        class Pay(BaseDataFlowNode):
            async def execute(self, input_data: dict[str, Any]) -> dict[str, Any]:
                answer: dict[str, Any] = await breaker.execute(ask)
                return answer

        self.workflow = WorkflowBuilder("pay")
        self.workflow.add_node("EventCreateNode", "before", {"title": "before"})
        self.workflow.add_node("Pay", "pay", {})
        self.workflow.add_node("EventCreateNode", "after", {"title": "after"})
        self.workflow.add_connection("before", "id", "pay", "order")
        self.workflow.add_connection("pay", "receipt", "after", "input")

    async def ask(self) -> dict[str, Any]:
        if not self.answers.is_set():
            raise OSError("no answer")
        return {"receipt": 1}

    async def trip(self) -> None:
        with pytest.raises(OSError, match="no answer"):
            await self.breaker.execute(self.ask)


@pytest.fixture
async def app(opened: Open, sqlite_url: str) -> DataFlow:
    app = opened(sqlite_url)
    await app.create_tables_async()
    return app


async def titles(app: DataFlow) -> list[str]:
    return [row[0] for row in await app.database.fetch_all("SELECT title FROM events ORDER BY id")]


async def test_a_job_that_waits_halfway_repeats_no_effect_and_spends_no_retry(app: DataFlow) -> None:
    payments = Payments(app)
    await payments.trip()
    async with working(app) as worker:
        job = await app.queue().enqueue_async(payments.workflow, retry=1)
        await eventually(lambda: worker.counts["defer"] > 0)
        payments.answers.set()
        results = await job.wait_async(10)
    assert (results["before"]["id"], results["after"]["id"]) == (1, 2)
    assert await titles(app) == ["before", "after"]
    assert (await job.refresh_async()).retries_left == 1
    assert worker.counts["failed"] == worker.counts["retry"] == 0


async def test_a_job_that_waits_keeps_the_turn_of_its_ordering_key(app: DataFlow) -> None:
    payments = Payments(app)
    await payments.trip()
    queue = app.queue()
    async with working(app) as worker:
        await queue.enqueue_async(payments.workflow, ordering_key="customer-1")
        await eventually(lambda: worker.counts["defer"] > 0)
        second = await queue.enqueue_async(creates("second"), ordering_key="customer-1")
        assert (await second.refresh_async()).status is JobStatus.DEFERRED
        payments.answers.set()
        await second.wait_async(10)
    assert await titles(app) == ["before", "after", "second"]


async def test_a_job_that_waited_before_it_began_leaves_no_entry(opened: Open, sqlite_url: str) -> None:
    app = opened(sqlite_url, breaker_timeout=0.3, breaker_failure_threshold=1)
    await app.create_tables_async()
    (breaker,) = app.breakers.values()
    await breaker.leave(0, DatabaseUnavailableError("away"))
    async with working(app) as worker:
        job = await app.queue().enqueue_async(creates("late"))
        await eventually(lambda: worker.counts["defer"] > 0)
        assert re.search(r'outcome="defer"} [1-9]', await worker.metrics_text())
        assert f'dataflow_breakers{{breaker="{breaker.name}"' in await worker.metrics_text()
        await job.wait_async(10)
    assert await titles(app) == ["late"]
    assert [tuple(row) for row in await app.database.fetch_all(f"SELECT * FROM {TABLE}")] == []
