"""DataFlow: an actor for jobs that do nothing, a workflow of one create node for those that insert."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.peers.contract import DATABASE_URL, POOL, REDIS_URL, Kind, do_nothing
from dataflow import DataFlow, WorkflowBuilder

db = DataFlow(DATABASE_URL or ":memory:", redis_url=REDIS_URL, pool_size=POOL, max_overflow=0)


@db.model
class Order:
    """The row that a job inserts."""

    __tablename__ = "bench_orders"

    customer: str
    total: float


@db.actor(queue="default")
async def nothing(text: str) -> None:
    """A job that does nothing."""
    do_nothing()


@db.workflow
def insert() -> WorkflowBuilder:
    """A job that inserts one row."""
    workflow = WorkflowBuilder("insert")
    workflow.add_node("OrderCreateNode", "create", {"customer": "{{text}}", "total": 9.5})
    return workflow


class OurProducer:
    """See contract.Producer."""

    def __init__(self) -> None:
        self.queue = db.queue("default")

    async def open(self) -> None:
        await self.queue.count_async()

    async def enqueue(self, kind: Kind, payload: str) -> None:
        if kind == "nothing":
            await nothing.send_async(payload)
        else:
            await self.queue.enqueue_async("insert", {"text": payload}, exactly_once=kind == "insert")

    async def enqueue_many(self, kind: Kind, payloads: Sequence[str]) -> None:
        if kind == "nothing":
            await self.queue.enqueue_many_async(nothing.request(payload) for payload in payloads)
        else:
            once = kind == "insert"
            await self.queue.enqueue_many_async(
                {"workflow": "insert", "inputs": {"text": payload}, "exactly_once": once} for payload in payloads
            )

    def enqueue_sync(self, kind: Kind, payload: str) -> None:
        assert kind == "nothing"
        nothing.send(payload)

    async def create_tables(self) -> None:
        await db.create_tables_async()


producer = OurProducer()
