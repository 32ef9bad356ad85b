"""Jobs that are started again, on every broker: their effects happen once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from dataflow import BaseDataFlowNode, DataFlow, WorkflowBuilder
from dataflow.jobs import Broker, JobQueue, keys
from dataflow.nodes.generated.ledger import TABLE
from dataflow.workflows import Workflow
from tests.integration.jobs.conftest import Burst


@pytest.fixture
async def app(sqlite_url: str) -> AsyncIterator[DataFlow]:
    async with DataFlow(sqlite_url) as db:
        runs: list[str] = []

        @db.model
        class Effect:
            job: str

        @db.register_node
        class Stumble(BaseDataFlowNode):
            """Fails, the first so many times."""

            def __init__(self, node_id: str, times: int = 1) -> None:
                super().__init__(node_id)
                self.times = times

            async def execute(self, input_data: dict[str, Any]) -> dict[str, Any]:
                runs.append(self.idempotency_key)
                if runs.count(self.idempotency_key) <= self.times:
                    raise ValueError("stumbled")
                return {"runs": len(runs)}

        await db.create_tables_async()
        yield db


def flow(times: int = 1, *, exactly_once: bool = True) -> Workflow:
    """An effect, then a failure, then an effect."""
    builder = WorkflowBuilder(exactly_once=exactly_once)
    builder.add_node("EffectCreateNode", "before", {"job": "{{job}}"})
    builder.add_node("Stumble", "stumble", {"times": times})
    builder.add_node("EffectCreateNode", "after", {"job": "{{job}}"})
    builder.add_connection("before", "id", "stumble", "after")
    builder.add_connection("stumble", "runs", "after", "input")
    return builder.build()


async def effects(app: DataFlow) -> list[tuple[int, str]]:
    return [tuple(row) for row in await app.database.fetch_all("SELECT id, job FROM effects ORDER BY id")]  # type: ignore[misc]


async def entries(app: DataFlow) -> int:
    row = await app.database.fetch_one(f"SELECT count(*) FROM {TABLE}")
    assert row is not None
    return int(row[0])


async def test_a_retried_job_goes_on_where_it_failed(queue: JobQueue, app: DataFlow, burst: Burst) -> None:
    job = await queue.enqueue_async(flow(times=2), {"job": "a"}, retry=3)
    counts = await burst()
    assert (counts["retry"], counts["done"]) == (2, 1)
    results = await job.wait_async(1)
    assert await effects(app) == [(1, "a"), (2, "a")]
    assert (results["before"]["id"], results["after"]["id"]) == (1, 2)


async def test_a_failed_job_that_is_requeued_goes_on_where_it_failed(
    queue: JobQueue, app: DataFlow, broker: Broker, burst: Burst
) -> None:
    job = await queue.enqueue_async(flow(), {"job": "a"})
    assert (await burst())["failed"] == 1
    client = await broker.client()
    # What `rq requeue` does.
    await client.hset(keys.job(job.id), "status", "queued")
    await client.rpush(keys.queue("default"), job.id)
    assert (await burst())["done"] == 1
    assert await effects(app) == [(1, "a"), (2, "a")]


async def test_jobs_that_finish_at_once_leave_no_entry(queue: JobQueue, app: DataFlow, burst: Burst) -> None:
    await queue.enqueue_many_async({"workflow": flow(0), "inputs": {"job": str(number)}} for number in range(50))
    assert (await burst())["done"] == 50
    assert len(await effects(app)) == 100
    assert await entries(app) == 0


async def test_entries_stay_while_another_worker_may_still_have_the_job(
    queue: JobQueue, app: DataFlow, burst: Burst
) -> None:
    job = await queue.enqueue_async(flow(), {"job": "a"}, retry=1)
    await burst()
    assert await job.wait_async(1)
    assert await entries(app) == 2
    await app.database.execute(f"UPDATE {TABLE} SET created_at = created_at - 100")
    await queue.enqueue_async(flow(0), {"job": "b"})
    await burst(effects_kept=50.0)
    assert await entries(app) == 0


async def test_an_id_that_is_used_again_is_another_job(queue: JobQueue, app: DataFlow, burst: Burst) -> None:
    for _ in range(2):
        job = await queue.enqueue_async(flow(), {"job": "a"}, job_id="same", retry=1)
        await burst()
        assert await job.wait_async(1)
    assert [name for _, name in await effects(app)] == ["a"] * 4


async def test_each_repetition_has_effects_of_its_own(
    queue: JobQueue, app: DataFlow, broker: Broker, burst: Burst
) -> None:
    job = await queue.enqueue_async(flow(0), {"job": "a"})
    await (await broker.client()).hset(keys.job(job.id), mapping={"repeats_left": 2, "repeat_intervals": "[0]"})
    assert (await burst())["done"] == 3
    assert len(await effects(app)) == 6
    assert await entries(app) == 0, "each was started once"


@pytest.mark.parametrize(("workflow", "enqueued"), [(False, True), (True, False)], ids=["workflow", "enqueue"])
async def test_it_can_be_switched_off(
    queue: JobQueue, app: DataFlow, burst: Burst, workflow: bool, enqueued: bool
) -> None:
    off = flow(exactly_once=workflow)
    app.register_workflow("off", off)
    for target in (off, "off"):
        job = await queue.enqueue_async(target, {"job": "a"}, retry=1, exactly_once=enqueued)
        await burst()
        assert await job.wait_async(1)
    assert len(await effects(app)) == 6
    assert not await app.database.existing_columns([TABLE])
