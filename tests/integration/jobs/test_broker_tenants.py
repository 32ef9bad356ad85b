"""A job carries its tenant to the worker's run."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from dataflow import DataFlow, WorkflowBuilder
from dataflow.errors import JobFailedError
from dataflow.jobs import Broker, JobQueue, JobStatus
from dataflow.jobs.serializer import ENTRY, write_call
from dataflow.workflows import Workflow
from tests.integration.jobs.test_broker_worker import raw_job
from worker.options import WorkerOptions
from worker.worker import Worker


@pytest.fixture
async def db(broker: Broker) -> AsyncIterator[DataFlow]:
    async with DataFlow(":memory:") as db:

        @db.model
        class Note:
            text: str
            __dataflow__ = {"multi_tenant": True}  # noqa: RUF012

        db.register_workflow("named", workflow())
        yield db


def workflow() -> Workflow:
    builder = WorkflowBuilder("note")
    builder.add_node("NoteCreateNode", "create", {"text": "x"})
    builder.add_node("NoteCountNode", "count", {})
    builder.add_connection("create", "id", "count", "input")
    return builder.build()


async def work(db: DataFlow, broker: Broker) -> None:
    await Worker([db], broker, WorkerOptions(burst=True, concurrency=1)).run()


async def test_a_job_runs_for_its_tenant(db: DataFlow, queue: JobQueue, broker: Broker) -> None:
    jobs = [
        await queue.enqueue_async(workflow(), tenant_id="t1"),
        await queue.enqueue_async("named", tenant_id="t2"),
        *await queue.enqueue_many_async([{"workflow": "named", "tenant_id": "t1"}]),
    ]
    await work(db, broker)
    results = [await job.wait_async(1) for job in jobs]
    assert [result["create"]["tenant_id"] for result in results] == ["t1", "t2", "t1"]
    assert [result["count"] for result in results] == [{"count": 1}, {"count": 1}, {"count": 2}]


async def test_a_job_without_a_tenant_sees_no_rows(db: DataFlow, queue: JobQueue, broker: Broker) -> None:
    job = await queue.enqueue_async("named")
    smuggled = await queue.enqueue_async("named", {"count": {"tenant_id": "t2"}}, tenant_id="t1")
    await work(db, broker)
    for failed, node in [(job, "create"), (smuggled, "count")]:
        with pytest.raises(JobFailedError):
            await failed.wait_async(1)
        assert failed.error is not None
        assert (failed.error.code, failed.error.node_id) == ("DF-110", node)


@pytest.mark.parametrize(
    ("extra", "status"),
    [({}, JobStatus.FINISHED), ({"tenant_id": ""}, JobStatus.FAILED), ({"tenant_id": 7}, JobStatus.FAILED)],
)
async def test_payloads_of_others(db: DataFlow, broker: Broker, extra: dict[str, object], status: JobStatus) -> None:
    builder = WorkflowBuilder("count")
    builder.add_node("NoteCountNode", "count", {"tenant_id": "t1"})
    db.register_workflow("count", builder)
    call = (ENTRY, None, (), {"v": 1, "name": "count", "inputs": {}, **extra})
    job = await raw_job(broker, "old", write_call(call))
    await work(db, broker)
    assert (await job.refresh_async()).status is status
