"""Our side: one-node workflows through AsyncLocalRuntime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.side import FIELDS, LISTED_AGE, Rows, one_of, values
from dataflow import AsyncLocalRuntime, DataFlow, Workflow, WorkflowBuilder


class Nodes:
    """See Side."""

    @classmethod
    async def open(cls, url: str, size: int) -> Nodes:
        """Also creates the table."""
        db = DataFlow(url, pool_size=size, max_overflow=0)

        @db.model
        class BenchRow:
            name: str
            email: str
            age: int
            score: float
            active: bool

        await db.create_tables_async()
        return cls(db)

    def __init__(self, db: DataFlow) -> None:
        self.db = db
        self.runtime = AsyncLocalRuntime(execution_timeout=600)
        self.create_one = _workflow("Create", {}, *FIELDS)
        self.read_one = _workflow("Read", {}, "id")
        self.update_one = _workflow("Update", {}, "id", "age")
        self.delete_one = _workflow("Delete", {}, "id")
        self.list_some = _workflow("List", {"filter": {"age": {"$gte": LISTED_AGE}}, "limit": 100})
        self.create_many = _workflow("BulkCreate", {}, "data")
        self.upsert_many = _workflow("BulkUpsert", {}, "data")
        self.update_many = _workflow("BulkUpdate", {}, "data")
        self.update_matching = _workflow("BulkUpdate", {}, "filter", "fields")
        self.delete_many = _workflow("BulkDelete", {}, "ids")

    async def create(self, number: int) -> object:
        return await self._run(self.create_one, values(number))

    async def read(self, number: int) -> object:
        return await self._run(self.read_one, {"id": one_of(number)})

    async def update(self, number: int) -> object:
        return await self._run(self.update_one, {"id": one_of(number), "age": number % 90})

    async def delete(self, number: int) -> object:
        return await self._run(self.delete_one, {"id": number + 1})

    async def list_rows(self, number: int) -> object:
        return await self._run(self.list_some, {})

    async def bulk_create(self, rows: Rows) -> int:
        return await self._bulk(self.create_many, {"data": rows})

    async def bulk_upsert(self, rows: Rows) -> int:
        return await self._bulk(self.upsert_many, {"data": rows})

    async def bulk_update(self, rows: Rows) -> int:
        return await self._bulk(self.update_many, {"data": rows})

    async def update_where(self, age: int, score: float) -> int:
        return await self._bulk(self.update_matching, {"filter": {"age": {"$gte": age}}, "fields": {"score": score}})

    async def bulk_delete(self, ids: Sequence[int]) -> int:
        return await self._bulk(self.delete_many, {"ids": ids})

    async def close(self) -> None:
        await self.db.close_async()

    async def _bulk(self, workflow: Workflow, inputs: dict[str, Any]) -> int:
        processed: int = (await self._run(workflow, inputs))["processed"]
        return processed

    async def _run(self, workflow: Workflow, inputs: dict[str, Any]) -> Any:
        results, _ = await self.runtime.execute_workflow_async(workflow, {"n": inputs})
        return results["n"]


def _workflow(operation: str, params: dict[str, Any], *inputs: str) -> Workflow:
    builder = WorkflowBuilder(name=operation)
    builder.add_node(f"BenchRow{operation}Node", "n", params)
    return builder.add_workflow_inputs("n", inputs).build()
